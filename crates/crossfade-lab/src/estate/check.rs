//! Whether a database holds what the application was promised.

use std::collections::BTreeSet;

use tokio_postgres::{Client, Error, Row};

use super::application::Story;
use super::schema::BALANCE;

/// So many numbers of each kind are named.
const NUMBERS_MAX: usize = 10;

/// Writers whose count of commits is not that of their ledger: a transaction is there in part.
const TORN: &str = "SELECT format('writer %s counted %s commits, and has %s in the ledger',
                   coalesce(w.writer, l.writer), coalesce(w.commits, 0), coalesce(l.commits, 0))
    FROM shop.writers AS w
    FULL JOIN (SELECT writer, count(*) AS commits FROM shop.ledger GROUP BY writer) AS l ON l.writer = w.writer
    WHERE w.commits IS DISTINCT FROM l.commits ORDER BY 1";

/// New orders that the trigger did not note once.
const NOTES: &str = "SELECT format('order %s was noted %s times', o.id, count(a.id))
    FROM shop.orders AS o LEFT JOIN shop.order_audit AS a ON a.order_id = o.id
    WHERE o.id > $1 GROUP BY o.id HAVING count(a.id) <> 1 ORDER BY o.id LIMIT 10";

/// What is wrong with the database of `client`, in words, after what `story` tells; nothing if nothing is.
///
/// Every sure number is in the ledger; every number there is sure or unknown; no transaction is there in part; the
/// sum of the accounts is what it was; the trigger on orders fired once for each.
///
/// # Errors
/// What the server answered.
pub async fn check_ledger(client: &Client, story: &Story) -> Result<Vec<String>, Error> {
    let rows = client
        .query("SELECT writer, number FROM shop.ledger", &[])
        .await?;
    let there: BTreeSet<(i32, i64)> = rows.iter().map(number).collect();
    let mut wrong = ledger(&there, story);
    wrong.extend(texts(&client.query(TORN, &[]).await?));
    wrong.extend(accounts(client, story.rows).await?);
    wrong.extend(texts(&client.query(NOTES, &[&story.rows]).await?));
    Ok(wrong)
}

fn ledger(there: &BTreeSet<(i32, i64)>, story: &Story) -> Vec<String> {
    let is_before = |(writer, number): &(i32, i64)| *number <= story.before.get(writer).copied().unwrap_or(0);
    let missing: Vec<_> = story.sure.difference(there).collect();
    let unasked: Vec<_> = there
        .iter()
        .filter(|number| {
            !is_before(number) && !story.sure.contains(number) && !story.unknown.contains(number)
        })
        .collect();
    [
        ("acknowledged commits are not there", missing),
        ("commits are there that nobody was told of", unasked),
    ]
    .into_iter()
    .filter(|(_, numbers)| !numbers.is_empty())
    .map(|(what, numbers)| {
        let named: Vec<String> = numbers
            .iter()
            .take(NUMBERS_MAX)
            .map(|(writer, number)| format!("{number} of writer {writer}"))
            .collect();
        format!("{} {what}: {}", numbers.len(), named.join(", "))
    })
    .collect()
}

async fn accounts(client: &Client, rows: i64) -> Result<Option<String>, Error> {
    let query = "SELECT count(*), coalesce(sum(balance), 0)::text, coalesce(sum(balance), 0) = $1::bigint
                 FROM shop.accounts";
    let row = client.query_one(query, &[&(rows * BALANCE)]).await?;
    let (count, sum, is_right): (i64, String, bool) = (row.get(0), row.get(1), row.get(2));
    let wrong = !is_right || count != rows;
    Ok(wrong.then(|| format!("{count} accounts hold {sum}, and {rows} held {}", rows * BALANCE)))
}

fn number(row: &Row) -> (i32, i64) {
    (row.get(0), row.get(1))
}

fn texts(rows: &[Row]) -> Vec<String> {
    rows.iter().map(|row| row.get(0)).collect()
}

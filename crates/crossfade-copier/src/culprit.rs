//! Which row stands in the way: found by halves, each tried in a transaction that is rolled back, and named by its
//! key. Its values are nobody's business.

use crossfade_core::plan::Source;
use crossfade_postgres::copy::{self, CtidRange, Tid};
use crossfade_postgres::session::{Prepared, Session, SqlError};

use crate::CopyError;
use crate::keeper::Kept;

/// The key of the first row of the range that cannot be copied, such as `id = 42`; where the row is, if the table has
/// no key. `statements` take the bounds of a range. It takes about as long as the range again.
pub(crate) async fn find(
    session: &Session,
    source: &Source,
    statements: &[Prepared],
    range: CtidRange,
    kept: &Kept,
) -> Result<Option<String>, CopyError> {
    session.batch_execute(&copy::begin_reading(source)).await?;
    session.batch_execute(&copy::import_snapshot(&kept.name)).await?;
    let (mut first, mut end) = (range.lower().number(), range.upper().number());
    while end - first > 1 {
        let middle = first + (end - first) / 2;
        if fails(session, statements, first, middle).await? {
            end = middle;
        } else {
            first = middle;
        }
    }
    let row = session
        .query_opt(&copy::show_key(source), &[&Tid::from_number(first)])
        .await?;
    session.batch_execute("ROLLBACK").await?;
    Ok(row.map(|row| row.get(0)))
}

async fn fails(session: &Session, statements: &[Prepared], first: u64, end: u64) -> Result<bool, SqlError> {
    let (lower, upper) = (Tid::from_number(first), Tid::from_number(end));
    session.batch_execute("SAVEPOINT half").await?;
    let mut failed = false;
    for statement in statements {
        match session.execute(statement, &[&lower, &upper]).await {
            Ok(_) => {}
            Err(error) if error.lies_in_a_row() => {
                failed = true;
                break;
            }
            Err(error) => return Err(error),
        }
    }
    session.batch_execute("ROLLBACK TO SAVEPOINT half").await?;
    Ok(failed)
}

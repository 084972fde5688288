//! Targets of which a filter and a set-returning call decide over the rows (R20).

use crossfade_applier::ApplyError;
use crossfade_core::name::TableName;
use crossfade_core::plan::{Derived, Rows, TargetColumn};

use super::scene::{Scene, Table, assert_applied, batch, expression, keeping, not_applied};

/// `public.t (id, u, note)`; the target has only the rows with a positive `u`.
async fn filtered(constraints: &str) -> Scene {
    filtered_of(Table {
        constraints,
        ..Table::default()
    })
    .await
}

async fn filtered_of(table: Table<'_>) -> Scene {
    let mut scene = Scene::new(table).await;
    let target = &mut scene.step.targets[0];
    target.filter = Some(expression("u > 0", &[1]));
    target.derived = Some(Derived {
        key: vec![0],
        rows: None,
    });
    scene
}

/// Its target has a row for each word of the note.
async fn words() -> Scene {
    let mut scene = Scene::new(Table::default()).await;
    scene
        .run(
            "CREATE TABLE shadow.words (t_id integer, n bigint, word text NOT NULL, added bigserial, PRIMARY KEY (t_id, n)); \
             INSERT INTO shadow.words VALUES (1, 1, 'one', 101), (1, 2, 'two', 102), (2, 1, 'alone', 201), (3, 1, 'x', 301)",
        )
        .await;
    let column = |name: &str, type_name: &str, sql: &str, reads: &[usize]| TargetColumn {
        name: name.to_owned(),
        type_name: type_name.to_owned(),
        value: expression(sql, reads),
    };
    let target = &mut scene.step.targets[0];
    target.shadow = TableName::new("shadow", "words");
    target.columns = vec![
        column("t_id", "integer", "id", &[0]),
        column("n", "bigint", "n", &[]),
        column("word", "text", "lower(word)", &[]),
    ];
    target.key = Some(vec![0]);
    target.derived = Some(Derived {
        key: vec![0, 1],
        rows: Some(Rows {
            call: expression("string_to_table(note, ' ')", &[2]),
            columns: vec!["word".to_owned(), "n".to_owned()],
        }),
    });
    scene
}

#[tokio::test]
async fn a_filter_moves_rows_in_and_out() {
    let scene = filtered("").await;
    scene
        .run("INSERT INTO shadow.t VALUES (1, 1, 'in'), (2, 2, 'in'), (3, 3, 'in'), (6, 6, 'goes'), (7, 7, 'stays')")
        .await;
    let puts = scene
        .puts("VALUES (1, -1, 'out'), (2, NULL, 'out'), (3, 5, 'x'), (4, 4, 'new'), (5, 0, 'never')")
        .await;
    let deletes = scene.keys("VALUES (6)").await;
    let mut applier = scene.applier().await;
    assert_applied(applier.apply(&batch(2, deletes, puts)).await);
    assert_eq!(scene.target().await, ["(3,5,x)", "(4,4,new)", "(7,7,stays)"]);
}

#[tokio::test]
async fn a_value_that_a_filter_may_need_has_to_come_with_the_row() {
    let scene = filtered("").await;
    let puts = scene.puts("VALUES (1, 1, 'x')").await;
    let puts = puts.into_iter().map(|put| keeping(put, &[2])).collect();
    let mut applier = scene.applier().await;
    let error = not_applied(applier.apply(&batch(2, Vec::new(), puts)).await);
    assert!(matches!(error, ApplyError::Encode(_)), "{error}");
}

/// R19: the rows that leave, those that stay and those that come exchange their unique values.
#[tokio::test]
async fn unique_values_exchanged_between_filtered_rows_are_applied() {
    let scene = filtered(", UNIQUE (note)").await;
    scene
        .run("INSERT INTO shadow.t VALUES (1, 1, 'a'), (2, 2, 'b'), (3, 3, 'c'), (4, 4, 'd')")
        .await;
    let puts = scene
        .puts("VALUES (1, 1, 'b'), (2, 2, 'a'), (3, -3, 'c'), (5, 5, 'c'), (6, 6, 'd')")
        .await;
    let deletes = scene.keys("VALUES (4)").await;
    let mut applier = scene.applier().await;
    assert_applied(applier.apply(&batch(2, deletes, puts)).await);
    assert_eq!(scene.target().await, ["(1,1,b)", "(2,2,a)", "(5,5,c)", "(6,6,d)"]);
}

#[tokio::test]
async fn rows_that_are_produced_no_more_go_and_the_others_keep_what_is_not_written() {
    let scene = words().await;
    // One word less, one more, another one, none at all, and a new row.
    let puts = scene
        .puts("VALUES (1, 0, 'One'), (2, 0, 'not alone now'), (3, 0, NULL), (4, 0, 'new ones')")
        .await;
    let mut applier = scene.applier().await;
    assert_applied(applier.apply(&batch(2, Vec::new(), puts)).await);
    let rows = "SELECT format('%s %s %s %s', t_id, n, word, CASE WHEN added > 100 THEN added END) \
                  FROM shadow.words ORDER BY t_id, n";
    let found = scene.texts(rows).await;
    assert_eq!(
        found,
        [
            "1 1 one 101",
            "2 1 not 201",
            "2 2 alone ",
            "2 3 now ",
            "4 1 new ",
            "4 2 ones "
        ]
    );
}

/// A key change is a delete of the old key and a put of the new one.
#[tokio::test]
async fn all_rows_of_a_key_go_with_it() {
    let scene = words().await;
    let puts = scene.puts("VALUES (9, 0, 'one two')").await;
    let deletes = scene.keys("VALUES (1), (3)").await;
    let mut applier = scene.applier().await;
    assert_applied(applier.apply(&batch(2, deletes, puts)).await);
    let rows = "SELECT t_id || word FROM shadow.words ORDER BY t_id, n";
    let found = scene.texts(rows).await;
    assert_eq!(found, ["2alone", "9one", "9two"]);
}

/// Its rows are only inserted: two of one key are two, whatever the target's key says.
#[tokio::test]
async fn of_a_source_without_a_key_a_duplicate_is_an_error() {
    let scene = filtered_of(Table {
        key: None,
        constraints: ", PRIMARY KEY (id)",
        ..Table::default()
    })
    .await;
    let mut applier = scene.applier().await;
    let puts = scene
        .puts("VALUES (1, 1, 'one'), (2, -1, 'out'), (3, 3, 'three')")
        .await;
    assert_applied(applier.apply(&batch(2, Vec::new(), puts)).await);
    let puts = scene.puts("VALUES (1, 1, 'again')").await;
    let error = not_applied(applier.apply(&batch(3, Vec::new(), puts)).await);
    assert!(matches!(error, ApplyError::Violation { .. }), "{error}");
    assert_eq!(scene.target().await, ["(1,1,one)", "(3,3,three)"]);
}

/// Two rows of one key that come of one source row: the row is named.
#[tokio::test]
async fn a_row_of_which_two_rows_of_one_key_come_is_named() {
    let mut scene = words().await;
    scene
        .run("ALTER TABLE shadow.words DROP CONSTRAINT words_pkey, ADD UNIQUE (t_id, word)")
        .await;
    let derived = scene.step.targets[0].derived.as_mut().unwrap();
    derived.key = vec![0, 2];
    let puts = scene
        .puts("VALUES (4, 0, 'fine'), (5, 0, 'twice Twice'), (6, 0, 'also fine')")
        .await;
    let piece = batch(2, Vec::new(), puts);
    let mut applier = scene.applier().await;
    let error = not_applied(applier.apply(&piece).await);
    assert!(error.lies_in_a_row(), "{error}");
    let row = applier.find_refused(&piece).await.unwrap();
    assert_eq!(row.as_deref(), Some("id = 5"));
}

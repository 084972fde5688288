//! Columns that the stream did not carry: kept where the row is, an error where it is not (R16, T10).

use crossfade_applier::ApplyError;

use super::scene::{Scene, Table, assert_applied, batch, expression, keeping, not_applied};

#[tokio::test]
async fn kept_columns_keep_their_value_and_others_are_written() {
    for binary in [true, false] {
        let scene = Scene::new(Table {
            binary,
            ..Table::default()
        })
        .await;
        scene
            .run("INSERT INTO shadow.t VALUES (1, 1, repeat('long', 10)), (2, 2, 'two'), (3, 3, 'three')")
            .await;
        let puts = scene
            .puts("VALUES (1, 7, ''), (2, 0, 'deux'), (4, 4, 'four')")
            .await;
        let kept: [&[usize]; 3] = [&[2], &[1], &[]];
        let puts = puts
            .into_iter()
            .zip(kept)
            .map(|(put, kept)| keeping(put, kept))
            .collect();
        let mut applier = scene.applier().await;
        assert_applied(applier.apply(&batch(2, Vec::new(), puts)).await);
        let long = "long".repeat(10);
        let expected = [
            format!("(1,7,{long})"),
            "(2,2,deux)".into(),
            "(3,3,three)".into(),
            "(4,4,four)".into(),
        ];
        assert_eq!(scene.target().await, expected);
    }
}

/// A value of a megabyte that did not change is not written again.
#[tokio::test]
async fn kept_toast_is_not_rewritten() {
    let scene = Scene::new(Table::default()).await;
    scene
        .run(
            "ALTER TABLE shadow.t ALTER note SET STORAGE EXTERNAL; \
             INSERT INTO shadow.t VALUES (1, 1, repeat('x', 1000000))",
        )
        .await;
    let size = "SELECT pg_relation_size(reltoastrelid)::text FROM pg_class WHERE oid = 'shadow.t'::regclass";
    let before = scene.texts(size).await;
    let mut applier = scene.applier().await;
    for number in 2..6 {
        let puts = scene.puts(&format!("VALUES (1, {number}, '')")).await;
        let puts = puts.into_iter().map(|put| keeping(put, &[2])).collect();
        assert_applied(applier.apply(&batch(number, Vec::new(), puts)).await);
    }
    assert_eq!(scene.texts(size).await, before);
    assert_eq!(
        scene.texts("SELECT u || ' ' || length(note) FROM shadow.t").await,
        ["5 1000000"]
    );
}

#[tokio::test]
async fn keeping_a_row_that_is_not_there_is_an_error() {
    let scene = Scene::new(Table::default()).await;
    scene.run("INSERT INTO shadow.t VALUES (1, 1, 'one')").await;
    let puts = scene.puts("VALUES (1, 7, ''), (2, 7, '')").await;
    let puts = puts.into_iter().map(|put| keeping(put, &[2])).collect();
    let mut applier = scene.applier().await;
    let error = not_applied(applier.apply(&batch(2, Vec::new(), puts)).await);
    assert!(
        matches!(error, ApplyError::KeepWithoutRow { missing: 1, .. }),
        "{error}"
    );
    assert_eq!(scene.target().await, ["(1,1,one)"]);
}

/// The same after a violation, where the rows are taken out first.
#[tokio::test]
async fn a_retry_does_not_invent_a_row_either() {
    let scene = Scene::new(Table {
        constraints: ", UNIQUE (u)",
        ..Table::default()
    })
    .await;
    scene
        .run("INSERT INTO shadow.t VALUES (1, 1, 'one'), (2, 2, 'two')")
        .await;
    let puts = scene.puts("VALUES (1, 2, 'x'), (2, 1, 'x'), (3, 3, 'x')").await;
    let kept: [&[usize]; 3] = [&[], &[], &[2]];
    let puts = puts
        .into_iter()
        .zip(kept)
        .map(|(put, kept)| keeping(put, kept))
        .collect();
    let mut applier = scene.applier().await;
    let error = not_applied(applier.apply(&batch(2, Vec::new(), puts)).await);
    assert!(
        matches!(error, ApplyError::KeepWithoutRow { missing: 1, .. }),
        "{error}"
    );
    assert_eq!(scene.target().await, ["(1,1,one)", "(2,2,two)"]);
}

/// An expression over a kept and a changed column cannot be evaluated: the row should have been fetched.
#[tokio::test]
async fn an_expression_over_kept_and_given_columns_is_refused() {
    let mut scene = Scene::new(Table::default()).await;
    scene.step.targets[0].columns[2].value = expression("u || note", &[1, 2]);
    let puts = scene.puts("VALUES (1, 7, '')").await;
    let puts = puts.into_iter().map(|put| keeping(put, &[2])).collect();
    let mut applier = scene.applier().await;
    let error = not_applied(applier.apply(&batch(2, Vec::new(), puts)).await);
    assert!(matches!(error, ApplyError::Encode(_)), "{error}");
}

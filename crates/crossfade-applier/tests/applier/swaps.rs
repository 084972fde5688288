//! Values that exchange places under unique and exclusion constraints (M4, R19).

use crossfade_applier::{ApplyError, ApplyErrorClass};
use crossfade_core::piece::Piece;

use super::scene::{Scene, Table, assert_applied, batch, keeping, not_applied};

#[tokio::test]
async fn unique_values_exchanged_between_rows_are_applied() {
    let scene = Scene::new(Table {
        constraints: ", UNIQUE (u)",
        ..Table::default()
    })
    .await;
    scene
        .run(
            "ALTER TABLE shadow.t ADD added text DEFAULT 'default'; \
             INSERT INTO shadow.t VALUES (1, 10, 'one'), (2, 20, 'two'), (3, 30, 'three'), (9, 90, 'nine'); \
             UPDATE shadow.t SET added = 'mine' WHERE id < 3",
        )
        .await;
    let puts = scene
        .puts("VALUES (1, 20, 'x'), (2, 10, 'new'), (4, 30, 'four')")
        .await;
    let mut puts = puts.into_iter();
    let first = keeping(puts.next().unwrap(), &[2]);
    let puts = [first].into_iter().chain(puts).collect();
    let deletes = scene.keys("VALUES (3)").await;
    let mut applier = scene.applier().await;
    assert_applied(applier.apply(&batch(2, deletes, puts)).await);
    let expected = [
        "(1,20,one,mine)",
        "(2,10,new,mine)",
        "(4,30,four,default)",
        "(9,90,nine,default)",
    ];
    assert_eq!(scene.target().await, expected);
}

#[tokio::test]
async fn ranges_exchanged_under_an_exclusion_constraint_are_applied() {
    let columns = [("id", "integer"), ("during", "int4range")];
    let scene = Scene::new(Table {
        columns: &columns,
        constraints: ", EXCLUDE USING gist (during WITH &&)",
        ..Table::default()
    })
    .await;
    scene
        .run("INSERT INTO shadow.t VALUES (1, '[1,5)'), (2, '[5,9)')")
        .await;
    let puts = scene.puts("VALUES (1, '[5,9)'::int4range), (2, '[1,5)')").await;
    let mut applier = scene.applier().await;
    assert_applied(applier.apply(&batch(2, Vec::new(), puts)).await);
    assert_eq!(scene.target().await, ["(1,\"[5,9)\")", "(2,\"[1,5)\")"]);
}

/// Deferrable constraints are judged at the end of the batch, by the server.
#[tokio::test]
async fn a_deferrable_constraint_waits_for_the_batch() {
    let scene = Scene::new(Table {
        constraints: ", UNIQUE (u) DEFERRABLE",
        ..Table::default()
    })
    .await;
    scene
        .run("INSERT INTO shadow.t VALUES (1, 10, ''), (2, 20, '')")
        .await;
    let mut applier = scene.applier().await;
    let mut first = batch(2, Vec::new(), scene.puts("VALUES (1, 20, '')").await);
    first.applied = None;
    assert!(matches!(
        applier.apply(&first).await,
        crossfade_applier::Outcome::Pending
    ));
    let mut last = batch(2, Vec::new(), scene.puts("VALUES (2, 10, '')").await);
    last.first = false;
    assert_applied(applier.apply(&last).await);
    assert_eq!(scene.target().await, ["(1,20,\"\")", "(2,10,\"\")"]);
}

#[tokio::test]
async fn a_real_violation_names_the_constraint_and_no_value() {
    let scene = Scene::new(Table {
        constraints: ", CONSTRAINT only_one UNIQUE (note)",
        ..Table::default()
    })
    .await;
    scene.run("INSERT INTO shadow.t VALUES (1, 10, 'secret')").await;
    let puts = scene.puts("VALUES (2, 10, 'secret'), (3, 11, 'other')").await;
    let mut applier = scene.applier().await;
    let error = not_applied(applier.apply(&batch(2, Vec::new(), puts)).await);
    assert_eq!(error.class(), ApplyErrorClass::Real);
    let ApplyError::Violation { constraint, rows, .. } = &error else {
        panic!("{error}")
    };
    assert_eq!((constraint.as_str(), *rows), ("only_one", 2));
    assert!(!format!("{error:?} {error}").contains("secret"));
    assert_eq!(scene.target().await, ["(1,10,secret)"]);
    assert_eq!(scene.applied().await.0, 1);

    // The session is as good as new.
    let puts = scene.puts("VALUES (2, 10, 'fine')").await;
    assert_applied(applier.apply(&batch(2, Vec::new(), puts)).await);
}

/// R19: a fetched row comes from the future, and who has its unique value now may give it up in a later piece.
#[tokio::test]
async fn a_violation_in_a_batch_with_fetched_rows_is_not_the_last_word() {
    let scene = Scene::new(Table {
        constraints: ", UNIQUE (u)",
        ..Table::default()
    })
    .await;
    scene
        .run("INSERT INTO shadow.t VALUES (1, 10, 'owner'), (2, 20, 'heir')")
        .await;
    let mut applier = scene.applier().await;
    for (fetched, class) in [(true, ApplyErrorClass::Transient), (false, ApplyErrorClass::Real)] {
        let heir = Piece {
            fetched,
            ..batch(2, Vec::new(), scene.puts("VALUES (2, 10, 'heir')").await)
        };
        let error = not_applied(applier.apply(&heir).await);
        assert_eq!(error.class(), class, "{error}");
        assert!(!fetched || !error.lies_in_a_row());
    }
    // Taken anew, the batch holds both.
    let both = scene.puts("VALUES (1, 30, 'owner'), (2, 10, 'heir')").await;
    assert_applied(applier.apply(&batch(2, Vec::new(), both)).await);
    assert_eq!(scene.target().await, ["(1,30,owner)", "(2,10,heir)"]);
}

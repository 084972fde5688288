//! Batches: several pieces in one transaction, their end, and who may write.

use crossfade_applier::{ApplyError, ApplyErrorClass, Outcome};
use crossfade_core::piece::Piece;
use crossfade_core::position::Lsn;

use super::scene::{Scene, Table, assert_applied, batch, keeping, not_applied};

fn part(piece: Piece, first: bool, applied: Option<u64>) -> Piece {
    Piece {
        first,
        applied: applied.map(Lsn),
        ..piece
    }
}

#[tokio::test]
async fn pieces_of_a_batch_commit_together() {
    let scene = Scene::new(Table::default()).await;
    scene.run("INSERT INTO shadow.t VALUES (1, 1, 'old')").await;
    let mut applier = scene.applier().await;
    for round in 1..4 {
        let one = batch(
            0,
            scene.keys("VALUES (1)").await,
            scene.puts("VALUES (2, 2, 'two'), (3, 3, 'x')").await,
        );
        let two = batch(
            0,
            scene.keys("VALUES (3)").await,
            scene.puts("VALUES (4, 4, 'four')").await,
        );
        let three = batch(0, Vec::new(), scene.puts("VALUES (2, 22, '')").await);
        let three = Piece {
            puts: three.puts.into_iter().map(|put| keeping(put, &[2])).collect(),
            ..three
        };
        assert!(matches!(
            applier.apply(&part(one, true, None)).await,
            Outcome::Pending
        ));
        assert!(matches!(
            applier.apply(&part(two, false, None)).await,
            Outcome::Pending
        ));
        let seen_outside = scene.texts("SELECT count(*)::text FROM shadow.t").await;
        assert_eq!(seen_outside, [if round == 1 { "1" } else { "2" }]);
        assert_applied(applier.apply(&part(three, false, Some(1 + round))).await);
        assert_eq!(scene.target().await, ["(2,22,two)", "(4,4,four)"]);
        assert_eq!(scene.applied().await, Lsn(1 + round));
    }
}

/// T11: a truncate empties the target before the piece's rows go in, and is undone with its batch.
#[tokio::test]
async fn a_truncate_comes_first_and_rolls_back_with_its_batch() {
    let scene = Scene::new(Table::default()).await;
    scene
        .run("INSERT INTO shadow.t VALUES (1, 1, 'one'), (2, 2, 'two')")
        .await;
    let mut applier = scene.applier().await;
    let mut piece = part(
        batch(0, Vec::new(), scene.puts("VALUES (2, 3, 'new')").await),
        true,
        None,
    );
    piece.truncate = true;
    assert!(matches!(applier.apply(&piece).await, Outcome::Pending));
    applier.roll_back().await;
    assert_eq!(scene.target().await, ["(1,1,one)", "(2,2,two)"]);
    piece.applied = Some(Lsn(2));
    assert_applied(applier.apply(&piece).await);
    assert_eq!(scene.target().await, ["(2,3,new)"]);
}

#[tokio::test]
async fn a_failing_piece_undoes_its_whole_batch() {
    let scene = Scene::new(Table::default()).await;
    let mut applier = scene.applier().await;
    let one = part(
        batch(0, Vec::new(), scene.puts("VALUES (1, 1, 'one')").await),
        true,
        None,
    );
    assert!(matches!(applier.apply(&one).await, Outcome::Pending));
    let keeps = scene
        .puts("VALUES (5, 5, '')")
        .await
        .into_iter()
        .map(|put| keeping(put, &[2]))
        .collect();
    let two = part(batch(0, Vec::new(), keeps), false, Some(2));
    assert!(matches!(
        not_applied(applier.apply(&two).await),
        ApplyError::KeepWithoutRow { .. }
    ));
    assert_eq!(scene.target().await, Vec::<String>::new());
    assert_eq!(scene.applied().await, Lsn(1));
    assert!(matches!(
        not_applied(applier.apply(&two).await),
        ApplyError::OutOfOrder
    ));
}

#[tokio::test]
async fn a_position_does_not_move_back() {
    let scene = Scene::new(Table::default()).await;
    let mut applier = scene.applier().await;
    assert_applied(applier.apply(&batch(9, Vec::new(), Vec::new())).await);
    let puts = scene.puts("VALUES (1, 1, 'one')").await;
    let error = not_applied(applier.apply(&batch(8, Vec::new(), puts)).await);
    assert!(
        matches!(error, ApplyError::PositionNotMoved { to: Lsn(8) }),
        "{error}"
    );
    assert_eq!(scene.target().await, Vec::<String>::new());
    assert_eq!(scene.applied().await, Lsn(9));
}

/// R24: once another engine has raised the generation, nothing of this one commits.
#[tokio::test]
async fn a_superseded_engine_writes_nothing() {
    let scene = Scene::new(Table::default()).await;
    let mut applier = scene.applier().await;
    scene
        .run("UPDATE crossfade.generation SET generation = generation + 1")
        .await;
    let puts = scene.puts("VALUES (1, 1, 'one')").await;
    let error = not_applied(applier.apply(&batch(2, Vec::new(), puts)).await);
    assert_eq!(error.class(), ApplyErrorClass::Superseded);
    assert_eq!(scene.target().await, Vec::<String>::new());
}

/// R24, the other order: raising waits for a batch that has begun, and sees its rows.
#[tokio::test]
async fn raising_the_generation_waits_for_an_open_batch() {
    let scene = Scene::new(Table::default()).await;
    let mut applier = scene.applier().await;
    let one = part(
        batch(0, Vec::new(), scene.puts("VALUES (1, 1, 'one')").await),
        true,
        None,
    );
    assert!(matches!(applier.apply(&one).await, Outcome::Pending));
    let raise = "SET lock_timeout = '50ms'; UPDATE crossfade.generation SET generation = generation + 1";
    assert!(scene.session.batch_execute(raise).await.is_err());
    assert_applied(
        applier
            .apply(&part(batch(0, Vec::new(), Vec::new()), false, Some(2)))
            .await,
    );
    scene.run(raise).await;
    assert_eq!(scene.target().await, ["(1,1,one)"]);
}

#[tokio::test]
async fn a_lost_connection_is_told_from_other_errors() {
    let scene = Scene::new(Table::default()).await;
    let mut applier = scene.applier().await;
    let one = part(
        batch(0, Vec::new(), scene.puts("VALUES (1, 1, 'one')").await),
        true,
        None,
    );
    assert!(matches!(applier.apply(&one).await, Outcome::Pending));
    let end = "SELECT pg_terminate_backend($1, 60000)";
    assert!(
        scene
            .session
            .query_one(end, &[&applier.session().pid()])
            .await
            .unwrap()
            .get::<_, bool>(0)
    );
    let last = part(batch(0, Vec::new(), Vec::new()), false, Some(2));
    let error = not_applied(applier.apply(&last).await);
    assert_eq!(error.class(), ApplyErrorClass::Lost, "{error}");
    assert_eq!(scene.target().await, Vec::<String>::new());
}

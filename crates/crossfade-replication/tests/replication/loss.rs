//! Connections, slots and definitions that are lost on the way.

use std::time::Duration;

use crossfade_core::change::{Cell, Change};
use crossfade_replication::assemble::AssembleError;
use crossfade_replication::reader::{History, ReadError, ReadErrorClass};
use crossfade_replication::shape::SourceChange;
use crossfade_replication::slot;
use crossfade_replication::transport::Connection;

use crate::scene::{self, Following, Scene, narrow};

/// The number in the first column of an insert.
fn id(change: &Change) -> u32 {
    let Change::Insert { new } = change else {
        panic!("only inserts were made");
    };
    let Cell::Text(text) = &new.0[0] else {
        panic!("in text");
    };
    std::str::from_utf8(text).unwrap().parse().unwrap()
}

#[tokio::test]
async fn killed_walsenders_cost_no_change_and_repeat_none() {
    const COUNT: u32 = 600;
    let scene = Scene::new().await;
    let mut following = scene.follow().await;
    let writer = scene.server.connect(scene::ROLE, scene::DATABASE).await.unwrap();
    let writing = tokio::spawn(async move {
        for id in 1..=COUNT {
            writer
                .execute("INSERT INTO t VALUES ($1, 'x')", &[&(id as i32)])
                .await
                .unwrap();
        }
    });
    let mut seen = Vec::new();
    let mut last = None;
    while seen.len() < COUNT as usize {
        let part = following.part().await.unwrap();
        assert!(part.commit_lsn > last, "commits come in order, each once");
        last = part.commit_lsn;
        following.handle.acknowledge_now(part.commit_lsn.unwrap());
        seen.extend(part.changes.iter().map(id));
        if seen.len() % 100 == 50 {
            let walsender = scene.walsender(None).await;
            scene.terminate(&walsender).await;
            scene.walsender(Some(&walsender)).await;
        }
    }
    writing.await.unwrap();
    assert!(seen.into_iter().eq(1..=COUNT));
    following.stop().await;
}

#[tokio::test]
async fn a_crashed_server_is_waited_for() {
    let mut scene = Scene::new().await;
    let mut following = scene.follow().await;
    scene.run("INSERT INTO t VALUES (1, 'a')").await;
    following.change().await;
    scene.server.restart(true).await.unwrap();
    scene.client = scene.server.connect(scene::ROLE, scene::DATABASE).await.unwrap();
    scene.run("INSERT INTO t VALUES (2, 'b')").await;
    assert_eq!(id(&following.change().await), 2);
    following.stop().await;
}

#[tokio::test]
async fn a_loss_within_a_transaction_is_the_owners_affair() {
    let scene = Scene::new().await;
    let mut options = scene.options().await;
    options.limits = narrow();
    let mut following = Following::start(options);
    // Far more than all buffers hold, so that its end cannot be out.
    scene
        .run("INSERT INTO t SELECT i, repeat(md5(i::text), 30) FROM generate_series(1, 50000) i")
        .await;
    assert!(following.part().await.unwrap().first);
    let walsender = scene.walsender(None).await;
    scene.terminate(&walsender).await;
    let error = following.error().await;
    assert!(
        matches!(error, ReadError::LostInsideTransaction { .. }),
        "{error}"
    );
    assert_eq!(error.class(), ReadErrorClass::Lost);
}

#[tokio::test]
async fn the_search_for_a_lost_server_has_an_end() {
    let mut scene = Scene::new().await;
    let mut options = scene.options().await;
    options.limits.lost_max = Duration::from_millis(200);
    let following = Following::start(options);
    scene.walsender(None).await;
    scene.server.kill().unwrap();
    assert_eq!(following.error().await.class(), ReadErrorClass::Lost);
}

#[tokio::test]
async fn a_slot_that_is_gone_is_not_waited_for() {
    let scene = Scene::new().await;
    let mut connection = Connection::open(&scene::config(&scene.server)).await.unwrap();
    slot::drop(&mut connection, "s").await.unwrap();
    let error = scene.follow().await.error().await;
    assert_eq!(error.class(), ReadErrorClass::SlotGone, "{error}");
}

#[tokio::test]
async fn a_publication_that_is_gone_is_not_waited_for() {
    let scene = Scene::new().await;
    // From 18 on the server goes on without a word: the engine looks at the publication itself (R34).
    if scene.server.installation().major >= 18 {
        let again = "DROP PUBLICATION p; INSERT INTO t VALUES (1, 'a'); CREATE PUBLICATION p FOR TABLE t";
        scene.run(again).await;
        scene.run("INSERT INTO t VALUES (2, 'b')").await;
        // Only the second one comes.
        let change = scene.follow().await.change().await;
        assert!(
            matches!(&change, Change::Insert { new } if new.0[1] == Cell::Text("b".into())),
            "{change:?}"
        );
        return;
    }
    scene
        .run("DROP PUBLICATION p; INSERT INTO t VALUES (1, 'a')")
        .await;
    let error = scene.follow().await.error().await;
    assert_eq!(error.class(), ReadErrorClass::SlotGone, "{error}");
}

#[tokio::test]
async fn another_history_is_refused() {
    let scene = Scene::new().await;
    let mut connection = Connection::open(&scene::config(&scene.server)).await.unwrap();
    let identity = connection.identify_system().await.unwrap();
    let here = History::from(&identity);
    let other_cluster = History {
        system_identifier: 1,
        ..here
    };
    let other_timeline = History { timeline: 7, ..here };
    for (history, class) in [
        (other_cluster, ReadErrorClass::SlotGone),
        (other_timeline, ReadErrorClass::Promoted),
    ] {
        let mut options = scene.options().await;
        options.history = Some(history);
        let error = Following::start(options).error().await;
        assert!(matches!(error, ReadError::OtherHistory { .. }), "{error}");
        assert_eq!(error.class(), class);
    }
}

#[tokio::test]
async fn a_slot_in_use_is_waited_for() {
    let scene = Scene::new().await;
    let first = scene.follow().await;
    scene.walsender(None).await;
    let mut second = scene.follow().await;
    first.stop().await;
    scene.run("INSERT INTO t VALUES (1, 'a')").await;
    second.change().await;
    second.stop().await;
}

#[tokio::test]
async fn a_changed_definition_stops_the_reader_after_what_came_before() {
    let scene = Scene::new().await;
    let mut following = scene.follow().await;
    scene.run("INSERT INTO t VALUES (1, 'a')").await;
    scene.run("ALTER TABLE t ADD more int").await;
    scene.run("INSERT INTO t VALUES (2, 'b', 3)").await;
    assert_eq!(id(&following.change().await), 1);
    let error = following.error().await;
    assert_eq!(error.class(), ReadErrorClass::SourceChanged);
    let ReadError::Assemble(AssembleError::SourceChanged { what }) = error else {
        panic!("{error}");
    };
    assert_eq!(
        what,
        SourceChange::ColumnAdded {
            column: "more".to_owned()
        }
    );
}

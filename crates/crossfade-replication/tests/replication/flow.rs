//! Positions: where a reader begins, what is acknowledged, and that a slow owner loses nothing.

use std::time::Duration;

use crossfade_core::change::StreamItem;
use crossfade_core::position::Lsn;
use crossfade_lab::server::ServerOptions;
use crossfade_replication::reader::ReadErrorClass;

use crate::scene::{Following, Scene, narrow};

#[tokio::test]
async fn a_reader_begins_exactly_after_its_start() {
    let scene = Scene::new().await;
    for id in 1..=5 {
        scene.run(&format!("INSERT INTO t VALUES ({id}, 'x')")).await;
    }
    let mut following = scene.follow().await;
    let mut commits = Vec::new();
    for _ in 1..=5 {
        commits.push(following.part().await.unwrap().commit_lsn.unwrap());
    }
    following.stop().await;
    for (applied, commit) in commits.iter().enumerate() {
        let mut options = scene.options().await;
        options.start = *commit;
        let mut following = Following::start(options);
        scene
            .run(&format!("INSERT INTO t VALUES ({}, 'more')", 10 + applied))
            .await;
        for expected in commits.iter().skip(applied + 1) {
            assert_eq!(
                following.part().await.unwrap().commit_lsn.as_ref(),
                Some(expected)
            );
        }
        following.stop().await;
    }
}

#[tokio::test]
async fn only_what_was_acknowledged_is_confirmed() {
    let scene = Scene::new().await;
    let mut options = scene.options().await;
    options.limits.status_interval = Duration::from_millis(10);
    let mut following = Following::start(options);
    let before = scene.confirmed().await;
    scene.run("INSERT INTO t VALUES (1, 'a')").await;
    let first = following.part().await.unwrap().commit_lsn.unwrap();
    scene.run("INSERT INTO t VALUES (2, 'b')").await;
    let second = following.part().await.unwrap().commit_lsn.unwrap();
    // A status has been sent and received after both, since the server shows when.
    let replied = "SELECT max(reply_time)::text FROM pg_stat_replication";
    let at = scene.ask(replied).await;
    scene.wait_until(replied, |now| now > at.as_deref()).await;
    assert_eq!(scene.confirmed().await, before);

    following.handle.acknowledge(first);
    let confirmed = "SELECT confirmed_flush_lsn::text FROM pg_replication_slots";
    let first_text = first.to_string();
    scene.wait_until(confirmed, |lsn| lsn == Some(&first_text)).await;
    // It never goes back.
    following.handle.acknowledge(Lsn(1));
    following.handle.acknowledge_now(second);
    let second_text = second.to_string();
    scene.wait_until(confirmed, |lsn| lsn == Some(&second_text)).await;
    let positions =
        "SELECT (write_lsn = flush_lsn AND flush_lsn = replay_lsn)::text FROM pg_stat_replication";
    assert_eq!(scene.ask(positions).await.as_deref(), Some("true"));
    following.stop().await;
}

#[tokio::test]
async fn an_acknowledgement_can_be_sent_at_once() {
    let scene = Scene::new().await;
    let mut options = scene.options().await;
    options.limits.status_interval = Duration::from_secs(3600);
    let mut following = Following::start(options);
    scene.run("INSERT INTO t VALUES (1, 'a')").await;
    let commit = following.part().await.unwrap().commit_lsn.unwrap();
    following.handle.acknowledge_now(commit);
    let wished = commit.to_string();
    let confirmed = "SELECT confirmed_flush_lsn::text FROM pg_replication_slots";
    scene.wait_until(confirmed, |lsn| lsn == Some(&wished)).await;
    following.stop().await;
}

#[tokio::test]
async fn the_position_moves_when_only_other_tables_change() {
    let scene = Scene::new().await;
    let mut following = scene.follow().await;
    scene
        .run("CREATE TABLE other (i int); INSERT INTO other VALUES (1)")
        .await;
    let target: Lsn = scene
        .ask("SELECT pg_current_wal_flush_lsn()::text")
        .await
        .unwrap()
        .parse()
        .unwrap();
    loop {
        match following.item().await.unwrap() {
            StreamItem::Keepalive { wal_end } if wal_end >= target => break,
            StreamItem::Keepalive { .. } => {}
            StreamItem::Transaction(part) => panic!("nothing of ours was changed: {part:?}"),
        }
    }
    following.stop().await;
}

#[tokio::test]
async fn a_slow_owner_holds_the_server_back_without_losing_it() {
    let scene = Scene::with(ServerOptions::default().setting("wal_sender_timeout", "1s")).await;
    let mut options = scene.options().await;
    options.limits = narrow();
    let mut following = Following::start(options);
    let walsender = scene.walsender(None).await;
    // More than fits into the socket's buffers.
    scene
        .run("INSERT INTO t SELECT i, repeat(md5(i::text), 30) FROM generate_series(1, 20000) i")
        .await;
    // Nobody receives, and the server hears from us for several times its patience.
    let since = scene.ask("SELECT clock_timestamp()::text").await.unwrap();
    let patient = format!(
        "SELECT (reply_time > '{since}'::timestamptz + interval '3500 ms')::text FROM pg_stat_replication \
         WHERE pid = {walsender}"
    );
    scene.wait_until(&patient, |answer| answer == Some("true")).await;
    let held_back = "SELECT (sent_lsn < pg_current_wal_flush_lsn())::text FROM pg_stat_replication";
    assert_eq!(scene.ask(held_back).await.as_deref(), Some("true"));

    let mut changes = 0;
    loop {
        let part = following.part().await.unwrap();
        changes += part.changes.len();
        if part.commit_lsn.is_some() {
            break;
        }
    }
    assert_eq!(changes, 20_000);
    assert_eq!(
        scene.walsender(None).await,
        walsender,
        "the connection should never have been lost"
    );
    following.stop().await;
}

#[tokio::test]
async fn an_idle_server_is_asked_and_answers() {
    let scene = Scene::new().await;
    let mut options = scene.options().await;
    options.limits.silence_max = Duration::from_millis(400);
    options.limits.status_interval = Duration::from_secs(3600);
    let mut following = Following::start(options);
    let walsender = scene.walsender(None).await;
    let since = scene.ask("SELECT clock_timestamp()::text").await.unwrap();
    let asked = format!(
        "SELECT (reply_time > '{since}'::timestamptz + interval '1 s')::text FROM pg_stat_replication"
    );
    scene.wait_until(&asked, |answer| answer == Some("true")).await;
    assert_eq!(scene.walsender(None).await, walsender);
    scene.run("INSERT INTO t VALUES (1, 'a')").await;
    following.change().await;
    following.stop().await;
}

#[tokio::test]
async fn an_owner_that_goes_away_ends_the_reader() {
    let scene = Scene::new().await;
    let following = scene.follow().await;
    scene.walsender(None).await;
    drop(following.batches);
    let error = following.handle.join().await.unwrap_err();
    assert_eq!(error.class(), ReadErrorClass::Stopped);
    let following = scene.follow().await;
    drop(following.handle);
    let inactive = "SELECT 'yes' FROM pg_replication_slots WHERE NOT active";
    scene.wait_until(inactive, |answer| answer.is_some()).await;
}

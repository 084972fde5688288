//! Ranges: every row once, whatever the table looks like (T15, T16).

use crossfade_postgres::copy::{CtidRange, ranges};

use super::scene::{Scene, done};

async fn copies_every_row_once(fill: &str, grow: &str, range_bytes: u64, at_least: usize) {
    let scene = Scene::new(fill).await;
    // Sizes are read, then the table grows, then the snapshot is taken: the last range has no end.
    let sizes = scene.keeper().await;
    let (pages, bytes) = (sizes.kept().heap_pages, sizes.kept().total_bytes);
    sizes.release().await.unwrap();
    scene.run(grow).await;
    let keeper = scene.keeper().await;
    let cut = ranges(pages, bytes, range_bytes);
    assert!(
        cut.len() >= at_least,
        "{} ranges of {pages} pages and {bytes} bytes",
        cut.len()
    );
    let copier = scene.copier().await;
    let mut copied = 0;
    for range in cut {
        copied += done(copier.copy_range(range, keeper.kept()).await);
    }
    let rows = scene.count("SELECT count(*) FROM t").await;
    assert_eq!(copied, rows.cast_unsigned());
    let difference = "SELECT count(*) FROM (SELECT * FROM t EXCEPT ALL SELECT * FROM shadow.t) AS d";
    assert_eq!(scene.count(difference).await, 0);
    assert_eq!(scene.count("SELECT count(*) FROM shadow.t").await, rows);
}

#[tokio::test]
async fn empty_one_page_and_growing_tables() {
    copies_every_row_once("", "", 8192, 1).await;
    copies_every_row_once("INSERT INTO t VALUES (1, 'one')", "", 1, 1).await;
    let fill = "INSERT INTO t SELECT i, repeat('x', 100) FROM generate_series(1, 20000) i; DELETE FROM t WHERE id % 7 = 0";
    let grow = "INSERT INTO t SELECT i, 'later' FROM generate_series(20001, 60000) i";
    copies_every_row_once(fill, grow, 100_000, 20).await;
}

#[tokio::test]
async fn a_small_heap_with_large_toast_is_split() {
    let fill = "ALTER TABLE t ALTER note SET STORAGE EXTERNAL; \
                INSERT INTO t SELECT i, repeat('x', 30000) FROM generate_series(1, 1000) i";
    copies_every_row_once(fill, "", 2 << 20, 5).await;
}

/// A plan that reads the whole table for every range would be right, and useless.
#[tokio::test]
async fn a_range_reads_only_its_pages() {
    let scene = Scene::new("INSERT INTO t SELECT i, repeat('x', 100) FROM generate_series(1, 50000) i").await;
    let explain = format!(
        "EXPLAIN {}",
        crossfade_postgres::copy::copy_template(&scene.step.source, &scene.step.targets[0])
    );
    scene.run(crossfade_postgres::copy::COPIER_SETTINGS).await;
    let range = CtidRange {
        start: 3,
        end: Some(5),
    };
    let plan = scene
        .session
        .query(&explain, &[&range.lower(), &range.upper()])
        .await
        .unwrap();
    let plan: Vec<String> = plan.iter().map(|row| row.get(0)).collect();
    assert!(
        plan.iter().any(|line| line.contains("Tid Range Scan")),
        "{plan:?}"
    );
}

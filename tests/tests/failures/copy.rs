//! The copy: which rows a range has, and which the stream has.

use crossfade_core::migration::Activity;

use super::scene::{GATED, How, Scene, both};
use super::writers::Writers;

/// Rows of 4 kB that stay in the heap: two on a page.
const WIDE: &str = "CREATE TABLE public.t (id integer PRIMARY KEY, gate integer NOT NULL DEFAULT 0, filler text);
                    ALTER TABLE public.t ALTER COLUMN filler SET STORAGE PLAIN, SET (autovacuum_enabled = off)";

/// Changes `public.t`, which nobody writes to, and compares with the retired table.
async fn changed_alike(tables: &str) -> u64 {
    let scene = Scene::new(tables).await;
    let report = scene.change("public.t", &[GATED]).await;
    scene
        .assert_same("TABLE public.t", &format!("TABLE {}", scene.retired()))
        .await;
    report.rows_copied
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn t15_an_empty_table() {
    assert_eq!(changed_alike(WIDE).await, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn t15_a_table_of_one_page_and_dead_rows() {
    let rows = "INSERT INTO public.t SELECT i, 0, 'x' FROM generate_series(1, 100) i;
                DELETE FROM public.t WHERE id <> 57";
    assert_eq!(changed_alike(&format!("{WIDE}; {rows}")).await, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn t15_many_ranges_of_mostly_dead_rows() {
    // 160 MB of heap with rows in its first and last places.
    let rows = "INSERT INTO public.t SELECT i, 0, repeat('x', 3900) FROM generate_series(1, 40000) i;
                DELETE FROM public.t WHERE id % 20 <> 0 AND id BETWEEN 3 AND 39997";
    assert_eq!(changed_alike(&format!("{WIDE}; {rows}")).await, 2_004);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn t15_a_table_that_grows_while_it_is_planned_and_copied() {
    let scene = Scene::with_twin(
        "n integer",
        "INSERT INTO {t} SELECT i, 0, i FROM generate_series(1, 2000) i",
    )
    .await;
    let writers = Writers::of_the_app(&scene, 2).await;
    writers.commit_more(20).await;
    let copying = scene.shut(1).await;
    both(&scene.app, "UPDATE {t} SET gate = 1 WHERE id = 1000").await;
    let engine = scene.run(How::default()).await;
    copying.reached(&scene).await;
    both(
        &scene.app,
        "INSERT INTO {t} SELECT i, 0, i FROM generate_series(10001, 14000) i",
    )
    .await;
    writers.commit_more(50).await;
    copying.open().await;
    engine.done().await;
    writers.commit_more(20).await;
    writers.stop().await;
    scene.assert_twins().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn t16_a_tiny_heap_with_huge_toast_is_split_by_all_its_bytes() {
    let scene = Scene::new(
        "CREATE TABLE public.t (id integer PRIMARY KEY, gate integer NOT NULL DEFAULT 0, big text)
           WITH (fillfactor = 10, autovacuum_enabled = off);
         ALTER TABLE public.t ALTER COLUMN big SET STORAGE EXTERNAL;
         INSERT INTO public.t SELECT i, 0, repeat(md5(i::text), 32768) FROM generate_series(1, 200) i",
    )
    .await;
    let copying = scene.shut(1).await;
    scene
        .app
        .batch_execute("UPDATE public.t SET gate = 1 WHERE id = 1")
        .await
        .unwrap();
    let mut engine = scene.run(How::default()).await;
    copying.reached(&scene).await;
    let status = engine
        .until(|status| status.activity == Some(Activity::Copying))
        .await;
    assert!(status.progress.ranges.0 >= 3, "{:?}", status.progress.ranges);
    copying.open().await;
    engine.done().await;
    let compared = "SELECT id, gate, md5(big) FROM";
    scene
        .assert_same(
            &format!("{compared} public.t"),
            &format!("{compared} {}", scene.retired()),
        )
        .await;
}

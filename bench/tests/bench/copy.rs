//! Copying: every cell, and a run that goes on.

use crossfade_bench::BenchError;
use crossfade_bench::copy::{CopyOptions, measure};
use crossfade_bench::ground::GroundError;
use crossfade_bench::record::Suite;

use crate::scene::{Scene, Told};

fn small() -> CopyOptions {
    CopyOptions {
        rows: vec![2_000],
        sessions: vec![1, 2],
        range_mb: vec![1],
        width: vec![50, 500],
        toast: vec![1, 5],
        indexes: vec![0, 2],
        rounds: 2,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_cell_is_measured_and_a_run_goes_on_where_it_was() {
    let scene = Scene::start().await;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("results.json");
    let few = CopyOptions {
        toast: vec![1],
        ..small()
    };
    let mut record = scene.record(Some(&path), &[]).await;
    measure(&scene.ground, &few, &mut record, &mut |_| {})
        .await
        .unwrap();
    let first = record.report.copy.clone();
    assert_eq!(first.len(), 6);
    assert!(
        first
            .iter()
            .all(|cell| cell.samples.len() == 2 && cell.figures.len() == 2)
    );
    assert!(first[0].is_baseline() && first[0].figures[0].ratio == Some(1.0));
    assert!(first.iter().all(|cell| cell.figures[0].spread.min > 0.0));

    // From the file: only what is new is measured.
    let mut told = Told::default();
    let mut record = scene.record(Some(&path), &[]).await;
    measure(&scene.ground, &small(), &mut record, &mut told.hear())
        .await
        .unwrap();
    let rounds: Vec<&String> = told.0.iter().filter(|what| what.contains("round")).collect();
    assert_eq!(rounds.len(), 2, "{rounds:?}");
    assert!(rounds.iter().all(|what| what.ends_with("5 % of rows TOASTed")));
    let samples = |position: usize| record.report.copy[position].samples.clone();
    assert_eq!(samples(0), first[0].samples);
    assert_eq!(record.report.copy.len(), 7);

    let mut told = Told::default();
    measure(&scene.ground, &small(), &mut record, &mut told.hear())
        .await
        .unwrap();
    assert_eq!(told.0, ["copy: every cell is there"]);
    let record = scene.record(Some(&path), &[Suite::Copy]).await;
    assert!(record.report.copy.is_empty());
    assert_eq!(scene.traces().await, [""; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_of_somebody_else_is_left_alone() {
    let scene = Scene::start().await;
    scene.execute("CREATE DATABASE crossfade_bench").await;
    let mut record = scene.record(None, &[]).await;
    let measured = measure(&scene.ground, &small(), &mut record, &mut |_| {}).await;
    let refused = matches!(measured, Err(BenchError::Ground(GroundError::NotOurs { .. })));
    assert!(refused, "{measured:?}");
    assert_eq!(scene.traces().await, ["crossfade_bench"]);
}

//! Draining a backlog: what each of the three drained is checked by the measurement itself, row by row.

use crossfade_bench::BenchError;
use crossfade_bench::apply::{ApplyOptions, Reader, measure};
use crossfade_bench::mix::Mix;

use crate::scene::{Scene, Told};

fn small() -> ApplyOptions {
    ApplyOptions {
        changes: 1_000,
        transaction: 10,
        mix: Mix::default(),
        rows: 1_000,
        width: 50,
        toast: 5,
        rounds: 2,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn all_three_drain_the_same_backlog() {
    let scene = Scene::start().await;
    let mut record = scene.record(None, &[]).await;
    measure(&scene.ground, &small(), &mut record, &mut |_| {})
        .await
        .unwrap();
    let cells = &record.report.apply;
    let readers: Vec<Reader> = cells.iter().map(|cell| cell.parameters.reader).collect();
    assert_eq!(readers.len(), 3, "{readers:?}, {:?}", record.report.notes);
    for cell in cells {
        assert_eq!(cell.samples.len(), 2, "{}", cell.id);
        for sample in &cell.samples {
            assert_eq!(sample.points.last().unwrap().changes, 1_000, "{}", cell.id);
            assert!(sample.changes_per_second > 0.0);
        }
        assert!(cell.figures[0].ratio.is_some(), "{}", cell.id);
    }
    assert_eq!(record.report.notes, [""; 0]);
    assert_eq!(scene.traces().await, [""; 0]);

    let mut told = Told::default();
    measure(&scene.ground, &small(), &mut record, &mut told.hear())
        .await
        .unwrap();
    assert_eq!(told.0, ["apply: every cell is there"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_subscription_the_others_are_measured() {
    let scene = Scene::start().await;
    // The server would have to connect by it to itself, and cannot.
    let ground = scene.ground_by("host=/nowhere user=nobody password=hush");
    let mut record = scene.record(None, &[]).await;
    let options = ApplyOptions { rounds: 1, ..small() };
    measure(&ground, &options, &mut record, &mut |_| {})
        .await
        .unwrap();
    assert_eq!(record.report.apply.len(), 2);
    assert!(
        record
            .report
            .apply
            .iter()
            .all(|cell| cell.figures[0].ratio.is_none())
    );
    let notes = &record.report.notes;
    assert!(
        notes.len() == 1 && notes[0].contains("no native subscription"),
        "{notes:?}"
    );
    assert!(!notes[0].contains("hush"), "{notes:?}");
    assert_eq!(scene.traces().await, [""; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn changes_that_cannot_be_made_are_refused_first() {
    let scene = Scene::start().await;
    let mut record = scene.record(None, &[]).await;
    let mix = Mix {
        updates: 0,
        inserts: 0,
        deletes: 100,
        hot: 0,
    };
    let options = ApplyOptions { mix, ..small() };
    let measured = measure(&scene.ground, &options, &mut record, &mut |_| {}).await;
    assert!(matches!(measured, Err(BenchError::Mix(_))), "{measured:?}");
}

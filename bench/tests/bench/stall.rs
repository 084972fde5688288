//! A writer through whole changes: all phases, and no transaction missing.

use crossfade_bench::stall::{Phase, StallOptions, StallParameters, measure};

use crate::scene::{Scene, Told};

#[tokio::test(flavor = "multi_thread")]
async fn a_writer_is_watched_through_whole_changes() {
    let scene = Scene::start().await;
    let mut record = scene.record(None, &[]).await;
    let parameters = StallParameters {
        rows: 2_000,
        rate: 50,
        sessions: 4,
        width: 50,
        toast: 1,
    };
    let options = StallOptions { parameters, swaps: 1 };
    measure(&scene.ground, &options, &mut record, &mut |_| {})
        .await
        .unwrap();
    let [cell] = record.report.stall.as_slice() else {
        panic!("one cell: {:?}", record.report.stall);
    };
    let sample = &cell.samples[0];
    let phases: Vec<Phase> = sample.phases.iter().map(|phase| phase.phase).collect();
    assert_eq!(phases, Phase::ALL);
    for pair in sample.phases.windows(2) {
        assert!(
            (pair[0].begin + pair[0].seconds - pair[1].begin).abs() < 0.002,
            "{pair:?}"
        );
    }
    // Everything that was due is in a phase, but for the moments before the first and behind the last.
    let counted: usize = sample.phases.iter().map(|phase| phase.latencies.count).sum();
    assert!(sample.failed == 0 && counted > 50 && counted <= sample.transactions as usize);
    assert!(sample.attempts >= 1 && sample.lock_held_ms > 0.0);
    assert!(sample.over_time.len() > 5);
    assert_eq!(cell.figures.len(), 3 + 5 * 4);
    assert_eq!(scene.traces().await, [""; 0]);

    let mut told = Told::default();
    measure(&scene.ground, &options, &mut record, &mut told.hear())
        .await
        .unwrap();
    assert_eq!(told.0, ["stall: every cell is there"]);
}

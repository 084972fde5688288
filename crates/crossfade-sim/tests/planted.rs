//! Each bug planted in the shell is caught, and by the checker that is meant to catch it: a checker that no
//! planted bug trips is not a checker.

use crossfade_sim::{Breach, Place, Planted, run};

/// Within so many seeds.
const SEEDS: u64 = 3_000;

fn caught(bug: Planted, expected: impl Fn(&Breach) -> bool) {
    let breaches = (0..SEEDS).filter_map(|seed| run(seed, Some(bug), false).result.err());
    let mut others = Vec::new();
    for breach in breaches.take(20) {
        if expected(&breach) {
            return;
        }
        others.push(breach.to_string());
    }
    panic!("{bug:?} was not caught as expected in {SEEDS} seeds, but so: {others:#?}");
}

fn differs(breach: &Breach) -> bool {
    matches!(breach, Breach::Differs { .. })
}

#[test]
fn an_acknowledgement_of_what_was_only_received() {
    caught(Planted::AcknowledgesReceived, |breach| {
        matches!(breach, Breach::AcknowledgedTooMuch { .. })
    });
}

#[test]
fn statements_of_a_dead_engine_that_commit_late() {
    caught(Planted::NoGuard, |breach| {
        differs(breach) || matches!(breach, Breach::AcknowledgedTooMuch { .. })
    });
}

#[test]
fn a_lock_that_lets_writers_through() {
    caught(Planted::LockIsShared, differs);
}

#[test]
fn an_applied_lsn_that_commits_before_its_rows() {
    caught(Planted::ApplyNotAtomic, differs);
}

#[test]
fn a_fence_from_before_the_lock() {
    caught(Planted::MarkerBeforeLock, |breach| {
        matches!(
            breach,
            Breach::Differs {
                place: Place::Swap,
                ..
            }
        )
    });
}

#[test]
fn a_reach_from_before_the_snapshot() {
    caught(Planted::ReachBeforeSnapshot, |breach| {
        differs(breach) || matches!(breach, Breach::KeptNothing { .. } | Breach::NotUnique { .. })
    });
}

#[test]
fn a_commit_that_begins_where_another_ends() {
    caught(Planted::SkipsCommitAtApplied, differs);
}

#[test]
fn a_fetch_that_meets_a_truncate() {
    caught(Planted::FetchWithoutLock, |_| true);
}

#[test]
fn readers_with_old_snapshots_that_are_not_waited_for() {
    caught(Planted::OldReadersUnlisted, |breach| {
        matches!(breach, Breach::OldReader { .. })
    });
}

#[test]
fn a_copy_that_begins_again_on_the_rows_of_the_former() {
    caught(Planted::TargetNotEmptied, |breach| {
        matches!(breach, Breach::CopyMetDuplicate { .. })
    });
}

#[test]
fn a_swap_that_is_tried_again_after_a_lost_answer() {
    caught(Planted::SwapsAgain, |breach| {
        matches!(breach, Breach::SwappedTwice)
    });
}

#[test]
fn deletes_that_run_after_puts() {
    caught(Planted::PutsBeforeDeletes, differs);
}

#[test]
fn a_snapshot_that_misses_what_the_slot_will_not_send() {
    caught(Planted::SnapshotMissesDecoded, |breach| {
        differs(breach) || matches!(breach, Breach::KeptNothing { .. })
    });
}

#[test]
fn keys_compared_by_their_bytes() {
    caught(Planted::ClassifiesByBytes, |breach| {
        differs(breach) || matches!(breach, Breach::RepeatedInPiece { .. })
    });
}

#[test]
fn a_range_reported_before_it_is_committed() {
    caught(Planted::RangeReportedEarly, |_| true);
}

#[test]
fn drops_that_a_crash_forgets() {
    caught(Planted::DropsNotRecorded, differs);
}

#[test]
fn a_chunk_read_without_a_lock_meets_a_truncate() {
    caught(Planted::ChunkWithoutLock, |breach| {
        differs(breach) || matches!(breach, Breach::KeptNothing { .. })
    });
}

#[test]
fn a_verification_without_a_lock_meets_a_truncate() {
    caught(Planted::PairWithoutLock, |breach| {
        matches!(
            breach,
            Breach::Differs {
                place: Place::Pair,
                ..
            }
        )
    });
}

#[test]
fn a_fetch_of_an_alignment_under_a_later_snapshot() {
    caught(Planted::AlignedFetchReadsLater, differs);
}

#[test]
fn a_repair_under_a_later_snapshot() {
    caught(Planted::RepairReadsLater, differs);
}

#[test]
fn an_applier_that_goes_on_after_the_swap() {
    caught(Planted::Echoes, differs);
}

#[test]
fn a_retry_that_forgets_what_is_kept() {
    caught(Planted::RetryForgetsKept, differs);
}

#[test]
fn a_retry_that_forgets_columns_which_only_the_target_has() {
    caught(Planted::RetryForgetsColumns, differs);
}

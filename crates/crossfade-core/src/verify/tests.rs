//! The machine against hand-written answers; the simulator covers its interleavings.

use super::*;
use crate::position::Xid;

const PAIR: Duration = Duration::from_millis(400);

struct Scene {
    machine: Verification,
    now: Instant,
    file: Option<u32>,
}

#[expect(clippy::disallowed_methods, reason = "a test has to begin at some moment")]
fn start() -> Instant {
    Instant::now()
}

fn bound(number: u64) -> Option<Bound> {
    let key = vec![number.to_string()];
    Some(Bound {
        source: key.clone(),
        targets: vec![key],
    })
}

impl Scene {
    /// At the first slice.
    fn new() -> Self {
        Scene::started(false)
    }

    fn started(repair: bool) -> Self {
        let mut scene = Scene {
            machine: Verification::new(PAIR, true),
            now: start(),
            file: Some(1),
        };
        scene.machine.start(repair);
        scene.open_pair();
        scene
    }

    fn open_pair(&mut self) {
        self.open_pair_with(Vec::new());
    }

    fn open_pair_with(&mut self, suspects: Vec<Suspects>) {
        assert!(self.machine.is_due());
        self.machine.open(self.now);
        assert_eq!(self.command(), Some(VerifyCommand::Open { suspects }));
        self.machine.align(Lsn(100), 0, self.file);
        self.machine.aligned();
        assert_eq!(self.command(), Some(VerifyCommand::Pin));
        self.tell(VerifyEvent::Pinned);
    }

    fn command(&mut self) -> Option<VerifyCommand> {
        self.machine.poll_command()
    }

    fn tell(&mut self, event: VerifyEvent) {
        self.machine.handle_event(self.now, event, false);
    }

    /// Answers the slice that is asked for; both sides have `rows.0` and `rows.1` rows.
    fn compared(&mut self, lower: Option<Bound>, upper: Option<Bound>, rows: (u64, u64)) {
        let totals = |rows| Totals { rows, hashes: [7, 7] };
        self.tell(VerifyEvent::Compared(Compared {
            slice: Slice { lower, upper },
            source: totals(rows.0),
            target: totals(rows.1),
            not_once: 0,
            ordered: true,
        }));
    }

    /// Answers the only slice with a row that differs.
    fn differs(&mut self, more: bool) {
        self.asked();
        self.compared(None, None, (10, 9));
        assert!(matches!(self.command(), Some(VerifyCommand::Drill { .. })));
        self.tell(VerifyEvent::Drilled {
            differences: vec![Difference {
                key: "3".to_owned(),
                kind: Kind::Missing,
            }],
            suspects: vec![three()],
            more,
        });
    }

    fn asked(&mut self) -> (Option<Bound>, Option<u64>) {
        match self.command() {
            Some(VerifyCommand::Compare { lower, rows }) => (lower, rows),
            other => panic!("expected a slice, not {other:?}"),
        }
    }

    fn result(&mut self) -> Verified {
        assert_eq!(self.command(), Some(VerifyCommand::Release));
        match self.command() {
            Some(VerifyCommand::Record(found)) => *found,
            other => panic!("expected a result, not {other:?}"),
        }
    }
}

fn three() -> TargetKey {
    TargetKey {
        target: 0,
        key: vec!["3".to_owned()],
    }
}

#[test]
fn slices_follow_each_other_from_open_end_to_open_end() {
    let mut scene = Scene::new();
    assert_eq!(scene.asked(), (None, Some(SLICE_ROWS)));
    scene.compared(None, bound(10), (10, 10));
    assert_eq!(scene.asked().0, bound(10));
    scene.compared(bound(10), None, (5, 5));
    let found = scene.result();
    assert!(found.is_equal());
    assert_eq!((found.slices, found.rows, found.pairs), (2, 15, 1));
    scene.tell(VerifyEvent::Recorded);
    assert_eq!(scene.machine.take_outcome(), Some(found));
    assert_eq!(scene.machine.take_outcome(), None);
}

#[test]
fn a_slice_that_is_left_out_is_no_success() {
    let mut scene = Scene::new();
    scene.asked();
    scene.compared(None, bound(10), (10, 10));
    scene.asked();
    scene.compared(bound(20), None, (5, 5));
    let found = scene.result();
    assert!(!found.whole && !found.is_equal());
}

#[test]
fn a_difference_is_drilled_and_the_rest_is_compared() {
    let mut scene = Scene::new();
    scene.asked();
    scene.compared(None, bound(10), (10, 9));
    let Some(VerifyCommand::Drill { limit, .. }) = scene.command() else {
        panic!("it is not drilled");
    };
    assert_eq!(limit, DIFFERENCES_MAX);
    let difference = Difference {
        key: "3".to_owned(),
        kind: Kind::Missing,
    };
    scene.tell(VerifyEvent::Drilled {
        differences: vec![difference.clone()],
        suspects: Vec::new(),
        more: false,
    });
    scene.asked();
    scene.compared(bound(10), None, (5, 5));
    let found = scene.result();
    assert!(found.whole && !found.is_equal() && !found.more);
    assert_eq!((found.slices_different, found.differences), (1, vec![difference]));
}

#[test]
fn a_pair_is_let_go_when_its_time_has_passed_and_when_held_back() {
    let mut scene = Scene::new();
    scene.asked();
    scene.now += PAIR;
    scene.compared(None, bound(10), (10, 10));
    assert_eq!(scene.command(), Some(VerifyCommand::Release));
    scene.open_pair();
    assert_eq!(scene.asked().0, bound(10));
    let compared = Compared {
        slice: Slice {
            lower: bound(10),
            upper: bound(20),
        },
        source: Totals::default(),
        target: Totals::default(),
        not_once: 0,
        ordered: true,
    };
    let now = scene.now;
    scene
        .machine
        .handle_event(now, VerifyEvent::Compared(compared), true);
    assert_eq!(scene.command(), Some(VerifyCommand::Release));
    scene.open_pair();
    assert_eq!(scene.asked().0, bound(20));
}

#[test]
fn keys_in_another_order_are_compared_as_a_whole() {
    let mut scene = Scene::new();
    scene.asked();
    scene.compared(None, bound(10), (10, 10));
    scene.asked();
    scene.tell(VerifyEvent::Compared(Compared {
        slice: Slice {
            lower: bound(10),
            upper: None,
        },
        source: Totals::default(),
        target: Totals::default(),
        not_once: 0,
        ordered: false,
    }));
    assert_eq!(scene.asked(), (None, None), "from the beginning, without an end");
    scene.compared(None, None, (20, 20));
    let found = scene.result();
    assert!(found.is_equal());
    assert_eq!((found.slices, found.rows), (1, 20));
}

#[test]
fn slices_grow_and_shrink_with_the_time_they_take() {
    let mut scene = Scene::new();
    scene.asked();
    scene.now += Duration::from_millis(10);
    scene.compared(None, bound(10), (10, 10));
    assert_eq!(scene.asked().1, Some(4 * SLICE_ROWS), "no more than fourfold");
    scene.now += Duration::from_millis(200);
    scene.compared(bound(10), bound(20), (10, 10));
    assert_eq!(scene.asked().1, Some(2 * SLICE_ROWS));
}

#[test]
fn no_alignment_is_another_snapshot_a_moment_later() {
    let mut scene = Scene {
        machine: Verification::new(PAIR, true),
        now: start(),
        file: Some(1),
    };
    scene.machine.start(false);
    scene.machine.open(scene.now);
    scene.command();
    scene
        .machine
        .give_up_pair(scene.now, Obstacle::Invisible(Invisible { xid: Xid(7) }));
    assert_eq!(scene.command(), Some(VerifyCommand::Release));
    assert_eq!(
        scene.machine.progress().obstacle,
        Some(Obstacle::Invisible(Invisible { xid: Xid(7) }))
    );
    let due = scene.machine.poll_timeout().unwrap();
    scene.machine.handle_timeout(due);
    assert!(scene.machine.is_due());
}

#[test]
fn a_repair_that_is_asked_for_comes_with_the_next_pair_and_is_compared() {
    let mut scene = Scene::started(true);
    scene.differs(false);
    let found = scene.result();
    assert!(found.repair_follows && !found.is_equal());
    scene.tell(VerifyEvent::Recorded);
    assert_eq!(scene.machine.take_outcome(), None, "not the last word");
    let suspects = vec![Suspects {
        slice: Slice::default(),
        keys: vec![three()],
    }];
    // A pair that does not come about takes nothing with it.
    scene.machine.open(scene.now);
    scene.command();
    scene.machine.align(Lsn(90), 0, Some(1));
    scene.machine.give_up_pair(scene.now, Obstacle::Late);
    scene.command();
    let due = scene.machine.poll_timeout().unwrap();
    scene.machine.handle_timeout(due);
    scene.open_pair_with(suspects);
    scene.asked();
    scene.compared(None, None, (10, 10));
    let found = scene.result();
    assert!(found.is_equal() && found.differences.is_empty());
    assert_eq!(found.repaired, 1);
    scene.tell(VerifyEvent::Recorded);
    assert_eq!(scene.machine.take_outcome(), Some(found));
}

#[test]
fn a_repair_is_tried_once() {
    let mut scene = Scene::started(true);
    scene.differs(false);
    assert!(scene.result().repair_follows);
    scene.tell(VerifyEvent::Recorded);
    scene.open_pair_with(vec![Suspects {
        slice: Slice::default(),
        keys: vec![three()],
    }]);
    scene.differs(false);
    let found = scene.result();
    assert!(!found.is_equal() && !found.repair_follows);
}

#[test]
fn rows_that_are_not_all_known_are_not_repaired() {
    let mut scene = Scene::started(true);
    scene.differs(true);
    assert!(!scene.result().repair_follows);
    let mut scene = Scene::new();
    scene.differs(false);
    assert!(!scene.result().repair_follows, "nobody asked for it");
}

#[test]
fn a_file_that_was_replaced_meanwhile_is_not_the_one_that_was_compared() {
    for (second, expected) in [(Some(1), Some(1)), (Some(2), None)] {
        let mut scene = Scene::new();
        scene.asked();
        scene.now += PAIR;
        scene.compared(None, bound(10), (10, 10));
        assert_eq!(scene.command(), Some(VerifyCommand::Release));
        scene.file = second;
        scene.open_pair();
        scene.asked();
        scene.compared(bound(10), None, (5, 5));
        let found = scene.result();
        assert!(found.is_equal());
        assert_eq!(found.file, expected);
    }
}

#[test]
fn a_row_that_is_not_in_exactly_one_target_is_a_difference() {
    let mut scene = Scene::new();
    scene.asked();
    scene.tell(VerifyEvent::Compared(Compared {
        slice: Slice::default(),
        source: Totals::default(),
        target: Totals::default(),
        not_once: 1,
        ordered: true,
    }));
    assert!(matches!(scene.command(), Some(VerifyCommand::Drill { .. })));
}

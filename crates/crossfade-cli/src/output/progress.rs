//! Progress while a run goes on: a bar on a terminal, plain lines now and then elsewhere, JSON lines for programs.

use std::io::IsTerminal as _;
use std::time::{Duration, Instant};

use crossfade_coordinator::report::Status;
use crossfade_core::migration::Activity;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde_json::{Value, json};
use tokio::sync::watch;

use super::rate::Rate;
use super::units::{bytes, count, counted, duration};
use super::{Console, advise};

const REDRAW_INTERVAL: Duration = Duration::from_millis(200);
const LINE_INTERVAL: Duration = Duration::from_secs(5);

/// Shows `status` until its sender is gone.
///
/// # Cancel safety
/// Dropping the future removes the bar.
pub(crate) async fn show(console: Console, mut status: watch::Receiver<Option<Status>>) {
    let Some(mut display) = Display::of(console) else {
        return;
    };
    let mut speeds = Speeds::default();
    let mut ticks = tokio::time::interval(REDRAW_INTERVAL);
    // A lagging terminal shall not be made up for.
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
    loop {
        ticks.tick().await;
        let now = Instant::now();
        let current = status.borrow_and_update().clone();
        if let Some(current) = &current {
            speeds.see(now, current);
            display.draw(now, current, &speeds);
        }
        if status.has_changed().is_err() {
            return display.finish();
        }
    }
}

/// How fast rows are copied and changes applied.
#[derive(Debug, Default)]
struct Speeds {
    rows: Rate,
    changes: Rate,
}

impl Speeds {
    fn see(&mut self, now: Instant, status: &Status) {
        self.rows.see(now, status.progress.rows_copied);
        self.changes.see(now, status.progress.feed.applied);
    }
}

enum Display {
    Bar { bar: ProgressBar, note: Option<String> },
    Lines(Pulse),
    Json(Pulse),
}

/// When the last line was, and what it was about.
#[derive(Default)]
struct Pulse {
    last: Option<(Instant, Activity, bool)>,
    note: Option<String>,
}

impl Pulse {
    /// Whether it is time for a line: at once when another activity begins, or the gate for pace closes or opens.
    fn is_due(&mut self, now: Instant, activity: Activity, held_back: bool) -> bool {
        let due = self.last.is_none_or(|(at, last, last_held_back)| {
            let changed = last != activity || last_held_back != held_back;
            changed || now.saturating_duration_since(at) >= LINE_INTERVAL
        });
        if due {
            self.last = Some((now, activity, held_back));
        }
        due
    }
}

impl Display {
    fn of(console: Console) -> Option<Display> {
        match (console.json, console.quiet, std::io::stderr().is_terminal()) {
            (true, ..) => console.verbose.then(|| Display::Json(Pulse::default())),
            (false, true, _) => None,
            (false, false, true) => Some(Display::Bar {
                bar: bar(),
                note: None,
            }),
            (false, false, false) => Some(Display::Lines(Pulse::default())),
        }
    }

    fn draw(&mut self, now: Instant, status: &Status, speeds: &Speeds) {
        let activity = status.activity.unwrap_or(Activity::Preparing);
        let held_back = status.held_back.is_some();
        match self {
            Display::Bar { bar, note } => {
                if is_new(note, status) {
                    bar.suspend(|| note.as_deref().map(advise));
                }
                draw_bar(bar, activity, status, speeds);
            }
            Display::Lines(pulse) => {
                if is_new(&mut pulse.note, status) {
                    pulse.note.as_deref().map(advise);
                }
                if pulse.is_due(now, activity, held_back) {
                    advise(&format!(
                        "{}: {}",
                        word(activity),
                        details(activity, status, speeds)
                    ));
                }
            }
            Display::Json(pulse) => {
                if pulse.is_due(now, activity, held_back) {
                    advise(&object(activity, status, speeds).to_string());
                }
            }
        }
    }

    fn finish(&self) {
        match self {
            Display::Bar { bar, .. } => bar.finish_and_clear(),
            Display::Lines(_) | Display::Json(_) => {}
        }
    }
}

impl Drop for Display {
    fn drop(&mut self) {
        self.finish();
    }
}

/// Takes the status's note; whether it says something new.
fn is_new(note: &mut Option<String>, status: &Status) -> bool {
    let changed = status.note.is_some() && *note != status.note;
    if changed {
        note.clone_from(&status.note);
    }
    changed
}

fn bar() -> ProgressBar {
    let bar = ProgressBar::with_draw_target(Some(0), ProgressDrawTarget::stderr());
    bar.set_style(plain_style());
    bar
}

/// The templates are constants: should indicatif not like one, its default does.
fn counting_style() -> ProgressStyle {
    ProgressStyle::with_template("{prefix:>20.bold} [{bar:24}] {percent:>3} %  {msg}").map_or_else(
        |_| ProgressStyle::default_bar(),
        |style| style.progress_chars("=> "),
    )
}

fn plain_style() -> ProgressStyle {
    ProgressStyle::with_template("{prefix:>20.bold} {spinner}  {msg}")
        .unwrap_or_else(|_| ProgressStyle::default_spinner())
}

fn draw_bar(bar: &ProgressBar, activity: Activity, status: &Status, speeds: &Speeds) {
    if activity == Activity::Copying {
        bar.set_style(counting_style());
        bar.set_length(expected(status));
        bar.set_position(status.progress.rows_copied);
    } else {
        bar.set_style(plain_style());
    }
    bar.set_prefix(word(activity));
    bar.set_message(details(activity, status, speeds));
    bar.tick();
}

/// The estimate may be too small; a bar is never more than full.
fn expected(status: &Status) -> u64 {
    status.rows_expected.max(status.progress.rows_copied)
}

/// An activity, to its reader.
fn word(activity: Activity) -> &'static str {
    match activity {
        Activity::Preparing => "preparing",
        Activity::OpeningSnapshot => "opening snapshot",
        Activity::Copying => "copying",
        Activity::RecordingChunk => "recording the copy",
        Activity::BuildingKeyIndex => "building key index",
        Activity::DrainingBacklog => "applying backlog",
        Activity::BuildingIndexes => "building indexes",
        Activity::Draining => "catching up",
        Activity::Analyzing => "analyzing",
        Activity::Verifying => "comparing every row",
        Activity::Ready => "ready, following",
        Activity::PreparingBack => "preparing the way back",
        Activity::CuttingOver => "cutting over",
        Activity::Finishing => "finishing",
        Activity::SeekingSwap => "seeking the swap",
        Activity::FollowingBack => "old table follows",
        Activity::BackClosed => "way back closed",
        Activity::Stopped => "stopped",
    }
}

fn details(activity: Activity, status: &Status, speeds: &Speeds) -> String {
    let progress = &status.progress;
    let lag = format!("lag {}", bytes(status.lag_bytes));
    let mut parts = match activity {
        Activity::Copying => copying(status, speeds),
        Activity::Preparing | Activity::OpeningSnapshot | Activity::Stopped => Vec::new(),
        Activity::Verifying => verifying(status, lag),
        Activity::RecordingChunk | Activity::BuildingKeyIndex => {
            vec![format!("{} rows copied", count(progress.rows_copied)), lag]
        }
        Activity::DrainingBacklog
        | Activity::BuildingIndexes
        | Activity::Draining
        | Activity::Analyzing
        | Activity::Ready
        | Activity::PreparingBack
        | Activity::CuttingOver
        | Activity::Finishing
        | Activity::SeekingSwap
        | Activity::FollowingBack
        | Activity::BackClosed => {
            let speed = per_second(&speeds.changes).map(|speed| format!("{speed} changes/s"));
            let applied = format!("{} changes applied", count(progress.feed.applied));
            std::iter::once(applied).chain(speed).chain([lag]).collect()
        }
    };
    if progress.strays.count > 0 {
        parts.push(format!(
            "{} by others to the old table",
            counted(progress.strays.count, "write")
        ));
    }
    if activity == Activity::CuttingOver {
        parts.push(format!("attempt {}", progress.attempts));
    }
    if status.paused {
        parts.push("paused".to_owned());
    }
    if let Some(why) = &status.held_back {
        parts.push(format!("held back: {why}"));
    }
    if let Some(invisible) = progress.invisible.filter(|_| progress.verify.obstacle.is_none()) {
        parts.push(invisible.to_string());
    }
    parts.join("  ")
}

fn verifying(status: &Status, lag: String) -> Vec<String> {
    let verify = &status.progress.verify;
    let slices = counted(verify.slices, "slice");
    let expected = status.rows_expected.max(verify.rows);
    let rows = format!("{} of {} rows", count(verify.rows), count(expected));
    let different = (verify.slices_different > 0).then(|| format!("{} differ", verify.slices_different));
    let obstacle = verify.obstacle.map(|obstacle| obstacle.to_string());
    [Some(slices), different, Some(rows), Some(lag), obstacle]
        .into_iter()
        .flatten()
        .collect()
}

fn copying(status: &Status, speeds: &Speeds) -> Vec<String> {
    let rows = format!(
        "{} of {} rows",
        count(status.progress.rows_copied),
        count(expected(status))
    );
    let speed = per_second(&speeds.rows).map(|speed| format!("{speed} rows/s"));
    let left = speeds.rows.time_to(expected(status));
    let left = left.map(|time| format!("{} left", duration(time)));
    let lag = format!("lag {}", bytes(status.lag_bytes));
    std::iter::once(rows)
        .chain(speed)
        .chain(left)
        .chain([lag])
        .collect()
}

fn per_second(rate: &Rate) -> Option<String> {
    rate.per_second().map(|speed| count(speed.round() as u64))
}

fn object(activity: Activity, status: &Status, speeds: &Speeds) -> Value {
    let left = speeds.rows.time_to(expected(status));
    json!({
        "activity": word(activity),
        "phase": status.phase,
        "paused": status.paused,
        "held_back": status.held_back,
        "rows_copied": status.progress.rows_copied,
        "rows_expected": status.rows_expected,
        "rows_per_second": speeds.rows.per_second(),
        "seconds_left": left.map(|time| time.as_secs()),
        "changes_applied": status.progress.feed.applied,
        "changes_per_second": speeds.changes.per_second(),
        "lag_bytes": status.lag_bytes,
        "retained_bytes": status.retained_bytes,
        "strays": status.progress.strays.count,
        "slices_compared": status.progress.verify.slices,
        "rows_compared": status.progress.verify.rows,
        "waits_for": status.waits_for,
        "note": status.note,
    })
}

//! A writer at a fixed rate, whose latencies count from when each transaction should have begun.
//!
//! A writer that waits for an answer before it begins the next transaction leaves out exactly those that a stall would have
//! hit (coordinated omission). Here transaction number `n` is due at `n / rate`, whatever became of those before it: a
//! thread of its own says when each is due, sessions take them in turn, and who had to wait for a session has waited.
//!
//! The sessions live in a runtime of their own thread, so that the engine's work in this process is not in their way; the
//! cores are shared with it as those of one machine are.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crossfade_postgres::connect::ConnectConfig;
use crossfade_postgres::session::{Prepared, Session, SessionOptions, SqlError, SynchronousCommit};
use tokio::sync::{Mutex, mpsc, oneshot};
use tokio::task::JoinSet;

use crate::BenchError;

const WRITE: &str = "SELECT write($1, $2)";

/// One transaction.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Latency {
    /// When it should have begun, since the writer's beginning.
    pub(super) due: Duration,
    /// From then to its answer.
    pub(super) took: Duration,
}

/// What a writer did.
#[derive(Debug, Default)]
pub(super) struct Written {
    /// In the order of their answers.
    pub(super) latencies: Vec<Latency>,
    /// Transactions that failed, or changed nothing.
    pub(super) failed: u64,
    /// Why the first one failed.
    pub(super) failure: Option<String>,
}

/// See the module. Dropping it ends it.
pub(super) struct Writer {
    /// When the first transaction was due.
    pub(super) began: Instant,
    stopped: Stopped,
    pacer: JoinHandle<()>,
    sessions: JoinHandle<Result<Written, BenchError>>,
}

/// Becomes true at the latest when it is dropped.
struct Stopped(Arc<AtomicBool>);

impl Drop for Stopped {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[derive(Clone, Copy)]
struct Due {
    number: u64,
    at: Instant,
}

type Queue = Arc<Mutex<mpsc::UnboundedReceiver<Due>>>;

impl Writer {
    /// Opens the sessions, then begins.
    pub(super) async fn start(
        config: &ConnectConfig,
        rate: u32,
        sessions: usize,
    ) -> Result<Writer, BenchError> {
        let (ready, opened) = oneshot::channel();
        let (due, queue) = mpsc::unbounded_channel();
        let config = config.clone();
        let working = thread::spawn(move || work(config, sessions, queue, ready));
        let Ok(began) = opened.await else {
            // It has ended before it was ready.
            let ended = joined(working).await??;
            return Err(BenchError::Wrong {
                what: "a writer's sessions".to_owned(),
                found: format!("{} transactions", ended.latencies.len()),
                expected: "a beginning".to_owned(),
            });
        };
        let stopped = Stopped(Arc::default());
        let asked = Arc::clone(&stopped.0);
        let pacer = thread::spawn(move || pace(began, rate, &asked, &due));
        Ok(Writer {
            began,
            stopped,
            pacer,
            sessions: working,
        })
    }

    /// Begins nothing more, and waits for what is due.
    pub(super) async fn stop(self) -> Result<Written, BenchError> {
        drop(self.stopped);
        joined(self.pacer).await?;
        joined(self.sessions).await?
    }
}

async fn joined<T: Send + 'static>(thread: JoinHandle<T>) -> Result<T, BenchError> {
    let ended = tokio::task::spawn_blocking(move || thread.join()).await?;
    ended.map_err(|_| BenchError::Died(std::io::Error::other("a thread panicked")))
}

/// Says when each transaction is due. A thread's sleep is good to some tens of microseconds, a runtime's timer to a
/// millisecond.
fn pace(began: Instant, rate: u32, stopped: &AtomicBool, due: &mpsc::UnboundedSender<Due>) {
    for number in 0.. {
        let at = began + Duration::from_secs_f64(number as f64 / f64::from(rate));
        thread::sleep(at.saturating_duration_since(Instant::now()));
        // Nobody takes them any more once all sessions have ended.
        if stopped.load(Ordering::Relaxed) || due.send(Due { number, at }).is_err() {
            return;
        }
    }
}

fn work(
    config: ConnectConfig,
    sessions: usize,
    queue: mpsc::UnboundedReceiver<Due>,
    ready: oneshot::Sender<Instant>,
) -> Result<Written, BenchError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(BenchError::Died)?;
    runtime.block_on(async move {
        let mut opened = Vec::new();
        for _ in 0..sessions {
            opened.push(open(&config).await?);
        }
        let queue = Arc::new(Mutex::new(queue));
        let began = Instant::now();
        let mut tasks = JoinSet::new();
        for (session, write) in opened {
            tasks.spawn(take_turns(session, write, began, Arc::clone(&queue)));
        }
        // Who started us may be gone.
        ready.send(began).ok();
        let mut all = Written::default();
        while let Some(ended) = tasks.join_next().await {
            let one = ended??;
            all.latencies.extend(one.latencies);
            all.failed += one.failed;
            all.failure = all.failure.or(one.failure);
        }
        Ok(all)
    })
}

/// A session as an application has it, whose commits are flushed.
async fn open(config: &ConnectConfig) -> Result<(Session, Prepared), BenchError> {
    let options = SessionOptions {
        search_path: crate::SCHEMA.to_owned(),
        synchronous_commit: SynchronousCommit::On,
        ..SessionOptions::default()
    };
    let session = Session::open(config, &options).await?;
    let write = session.prepare(WRITE).await?;
    Ok((session, write))
}

async fn take_turns(
    session: Session,
    write: Prepared,
    began: Instant,
    queue: Queue,
) -> Result<Written, SqlError> {
    let mut written = Written::default();
    loop {
        let next = queue.lock().await.recv().await;
        let Some(due) = next else {
            return Ok(written);
        };
        let bounds = (due.number.cast_signed(), due.number.cast_signed() + 1);
        let answer = session.query_one(&write, &[&bounds.0, &bounds.1]).await;
        written.latencies.push(Latency {
            due: due.at - began,
            took: due.at.elapsed(),
        });
        match answer {
            Ok(row) if row.get::<_, i64>(0) == 1 => {}
            Ok(_) => written.failed(|| "a change found no row".to_owned()),
            Err(error) if session.is_closed() => return Err(error),
            Err(error) => written.failed(|| crossfade_postgres::causes::in_one_line(&error)),
        }
    }
}

impl Written {
    fn failed(&mut self, why: impl Fn() -> String) {
        self.failed += 1;
        self.failure.get_or_insert_with(why);
    }
}

#[cfg(test)]
mod tests {
    use crossfade_lab::server::{Server, ServerOptions};

    use super::*;
    use crate::ground::{Ground, MAIN};
    use crate::mix::Mix;
    use crate::table;

    const RATE: u32 = 100;
    const STALL: Duration = Duration::from_millis(600);

    /// At 100 a second, in a stall of 600 ms some 60 are due, of which half have to wait for 300 ms and longer. A writer of
    /// two sessions that counted from when it sent would have seen two.
    #[tokio::test(flavor = "multi_thread")]
    async fn a_planted_stall_counts_for_all_that_should_have_begun_in_it() {
        let server = Server::start(ServerOptions::default()).await.unwrap();
        let connection = server.superuser();
        let ground = Ground::new(ConnectConfig::parse(&connection).unwrap(), connection);
        ground.make(MAIN).await.unwrap();
        let session = ground.session(MAIN).await.unwrap();
        table::build(&session, 1_000, 10, 0).await.unwrap();
        session
            .batch_execute(&Mix::default().function(1_000, 10))
            .await
            .unwrap();

        let writer = Writer::start(&ground.config(MAIN), RATE, 2).await.unwrap();
        let lock = "BEGIN; LOCK TABLE items IN ACCESS EXCLUSIVE MODE";
        session.batch_execute(lock).await.unwrap();
        // The stall has a length of its own; nothing is waited for.
        tokio::time::sleep(STALL).await;
        session.batch_execute("COMMIT").await.unwrap();
        let written = writer.stop().await.unwrap();
        assert_eq!((written.failed, &written.failure), (0, &None));
        let longer = |than: Duration| written.latencies.iter().filter(|one| one.took >= than).count();
        assert!(longer(STALL / 2) >= 25, "{:?}", written.latencies);
        assert!(longer(STALL.mul_f64(0.8)) >= 8, "{:?}", written.latencies);
        let rows: i64 = session
            .query_one("SELECT count(*) FROM items", &[])
            .await
            .unwrap()
            .get(0);
        let (inserts, deletes) = Mix::default().inserts_and_deletes(0..written.latencies.len() as u64);
        assert_eq!(rows.cast_unsigned(), 1_000 + inserts - deletes);
    }
}

//! The stream read by the engine's own reader, and nothing done with it.

use crossfade_core::change::{Change, StreamItem};
use crossfade_core::plan::Source;
use crossfade_core::position::Lsn;
use crossfade_postgres::connect::ConnectConfig;
use crossfade_postgres::session::Session;
use crossfade_replication::reader::{Reader, ReaderLimits, ReaderOptions};
use crossfade_replication::shape::Shape;
use crossfade_replication::slot;
use crossfade_replication::transport::Connection;

use super::Backlog;
use super::curve::{Drain, Point};
use super::scene::{equal, slot_is};
use crate::BenchError;
use crate::engine::late;
use crate::ground::{Ground, MAIN};
use crate::mix::Mix;

const SLOT: &str = "bench_of_crossfade_stream";

/// See the module.
pub(super) struct Stream {
    connect: ConnectConfig,
    publication: String,
    shape: Shape,
    binary: bool,
    /// Everything up to there was read.
    start: Lsn,
}

#[derive(Debug, Default, PartialEq, Eq)]
struct Counts {
    updates: u64,
    inserts: u64,
    deletes: u64,
}

impl Stream {
    /// Makes its slot.
    pub(super) async fn make(
        ground: &Ground,
        source: &Source,
        publication: String,
    ) -> Result<Stream, BenchError> {
        let connect = ground.config(MAIN);
        let mut connection = Connection::open(&connect).await?;
        let created = slot::create(&mut connection, SLOT).await?;
        Ok(Stream {
            connect,
            publication,
            shape: Shape::of(source, source.full_identity),
            binary: source.binary,
            start: created.consistent_point,
        })
    }

    /// Reads to the end of the backlog.
    pub(super) async fn drain(
        &mut self,
        session: &Session,
        backlog: &Backlog,
        mix: Mix,
    ) -> Result<Vec<Point>, BenchError> {
        let (reader, mut batches) = Reader::start(ReaderOptions {
            connect: self.connect.clone(),
            slot: SLOT.to_owned(),
            publication: self.publication.clone(),
            shapes: vec![self.shape.clone()],
            binary: self.binary,
            start: self.start,
            history: None,
            limits: ReaderLimits::default(),
        });
        slot_is(session, SLOT, true).await?;
        let (mut drain, mut counts) = (Drain::begin(), Counts::default());
        while drain.changes() < backlog.changes {
            let Some(batch) = batches.recv().await else {
                // It has ended by itself, and says why.
                reader.join().await?;
                return Err(late("the stream"));
            };
            for item in &batch {
                self.count(item, &mut counts);
            }
            reader.acknowledge(self.start);
            drain.reached(counts.updates + counts.inserts + counts.deletes);
        }
        reader.stop();
        slot_is(session, SLOT, false).await?;
        let (inserts, deletes) = mix.inserts_and_deletes(backlog.first..backlog.first + backlog.changes);
        let expected = Counts {
            updates: backlog.changes - inserts - deletes,
            inserts,
            deletes,
        };
        equal("changes that the stream carried", counts, expected)?;
        Ok(drain.end())
    }

    fn count(&mut self, item: &StreamItem, counts: &mut Counts) {
        match item {
            StreamItem::Keepalive { wal_end } => self.start = self.start.max(*wal_end),
            StreamItem::Transaction(part) => {
                for change in &part.changes {
                    match change {
                        Change::Insert { .. } => counts.inserts += 1,
                        Change::Update { .. } => counts.updates += 1,
                        Change::Delete { .. } => counts.deletes += 1,
                        Change::Truncate { .. } => {}
                    }
                }
                self.start = self.start.max(part.commit_lsn.unwrap_or_default());
            }
        }
    }
}

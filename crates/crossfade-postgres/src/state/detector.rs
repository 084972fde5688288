//! What the detector has seen (R31). It is written before its slot is told.

use crossfade_core::detector::{Seen, Stray, Strays};
use crossfade_core::position::{Lsn, Xid};

use super::StateError;
use crate::session::Session;

/// What is written down; nothing before the first note.
///
/// # Errors
/// As the server says, or the row cannot be understood.
pub async fn seen(session: &Session, name: &str) -> Result<Seen, StateError> {
    let select = "SELECT seen_lsn::text, strays, settled, first_lsn::text, first_xid::text
                    FROM crossfade.detector WHERE migration = $1";
    let Some(row) = session.query_opt(select, &[&name]).await? else {
        return Ok(Seen::default());
    };
    let position = |column: usize| -> Result<Option<Lsn>, StateError> {
        let text: Option<&str> = row.get(column);
        let read = |text: &str| {
            text.parse().map_err(|_| StateError::Unreadable {
                name: name.into(),
                what: format!("position {text}"),
            })
        };
        text.map(read).transpose()
    };
    let xid: Option<&str> = row.get(4);
    let xid = xid.and_then(|text| text.parse().ok()).map(Xid);
    let count = |column: usize| u64::try_from(row.get::<_, i64>(column)).unwrap_or_default();
    Ok(Seen {
        upto: position(0)?,
        strays: Strays {
            count: count(1),
            settled: count(2),
            first: position(3)?.map(|lsn| Stray { lsn, xid }),
        },
    })
}

/// Writes down what was seen. What a verification has settled stays so.
///
/// # Errors
/// As the server says.
pub async fn note_seen(session: &Session, name: &str, seen: &Seen) -> Result<(), StateError> {
    let upsert = "\
INSERT INTO crossfade.detector (migration, seen_lsn, strays, settled, first_lsn, first_xid)
VALUES ($1, $2::text::pg_lsn, $3, $4, $5::text::pg_lsn, $6::text::xid8)
    ON CONFLICT (migration) DO UPDATE SET seen_lsn = excluded.seen_lsn, strays = excluded.strays,
       settled = greatest(detector.settled, excluded.settled),
       first_lsn = excluded.first_lsn, first_xid = excluded.first_xid";
    let strays = &seen.strays;
    let number = |count: u64| i64::try_from(count).unwrap_or(i64::MAX);
    let upto = seen.upto.map(|lsn| lsn.to_string());
    let first_lsn = strays.first.map(|stray| stray.lsn.to_string());
    let first_xid = strays
        .first
        .and_then(|stray| stray.xid)
        .map(|xid| xid.to_string());
    session
        .execute(
            upsert,
            &[
                &name,
                &upto,
                &number(strays.count),
                &number(strays.settled),
                &first_lsn,
                &first_xid,
            ],
        )
        .await?;
    Ok(())
}

/// In the transaction of a verification's result: it found every row equal, and so many strays lie behind it.
///
/// # Errors
/// As the server says.
pub async fn settle_strays(session: &Session, name: &str, count: u64) -> Result<(), StateError> {
    let update = "UPDATE crossfade.detector SET settled = greatest(settled, $2) WHERE migration = $1";
    let count = i64::try_from(count).unwrap_or(i64::MAX);
    session.execute(update, &[&name, &count]).await?;
    Ok(())
}

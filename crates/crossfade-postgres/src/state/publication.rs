//! Whether a publication is the one that its stream began with. A server leaves out of a stream what is not published, and
//! from version 18 on also everything that a missing publication had: without a word.

use crossfade_core::name::MigrationName;
use crossfade_core::way_back::Direction;

use super::StateError;
use crate::session::Session;

/// Changes with every `ALTER PUBLICATION`, and is another one of another publication of the same name.
const IDENTITY: &str = "\
SELECT pg_catalog.format('%s %s %s', p.oid, p.xmin,
         (SELECT pg_catalog.string_agg(pg_catalog.format('%s %s', r.oid, r.xmin), ' ' ORDER BY r.oid)
            FROM pg_catalog.pg_publication_rel r WHERE r.prpubid = p.oid)) AS identity
  FROM pg_catalog.pg_publication p WHERE p.pubname = $3::text";

/// Remembers the publication of a direction, before its slot is made.
///
/// # Errors
/// As the server says.
pub async fn record_publication(
    session: &Session,
    name: &MigrationName,
    direction: Direction,
) -> Result<(), StateError> {
    let upsert = format!(
        "INSERT INTO crossfade.publication (migration, direction, identity) SELECT $1, $2, i.identity FROM ({IDENTITY}) AS i
    ON CONFLICT (migration, direction) DO UPDATE SET identity = excluded.identity"
    );
    let publication = publication(name, direction);
    session
        .execute(&upsert, &[&name.as_str(), &direction.as_str(), &publication])
        .await?;
    Ok(())
}

/// Whether it is still that one. `true` of a stream that an earlier release began.
///
/// # Errors
/// As the server says.
pub async fn publication_is_the_same(
    session: &Session,
    name: &MigrationName,
    direction: Direction,
) -> Result<bool, StateError> {
    let select = format!(
        "SELECT NOT EXISTS (SELECT FROM crossfade.publication AS r WHERE r.migration = $1 AND r.direction = $2
                      AND r.identity IS DISTINCT FROM (SELECT i.identity FROM ({IDENTITY}) AS i))"
    );
    let publication = publication(name, direction);
    let row = session
        .query_one(&select, &[&name.as_str(), &direction.as_str(), &publication])
        .await?;
    Ok(row.get(0))
}

fn publication(name: &MigrationName, direction: Direction) -> String {
    match direction {
        Direction::Forward => name.publication(),
        Direction::Back => name.back_publication(),
    }
}

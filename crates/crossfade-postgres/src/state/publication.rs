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

/// Everything of so many tables, and nothing else. (By JSON what 14 does not have.)
const PUBLISHES_ALL: &str = "\
p.pubinsert AND p.pubupdate AND p.pubdelete AND p.pubtruncate AND NOT p.puballtables
   AND (SELECT pg_catalog.count(*) FROM pg_catalog.pg_publication_rel r WHERE r.prpubid = p.oid
           AND pg_catalog.to_jsonb(r) ->> 'prqual' IS NULL AND pg_catalog.to_jsonb(r) ->> 'prattrs' IS NULL) = $4::int8
   AND (SELECT pg_catalog.count(*) FROM pg_catalog.pg_publication_rel r WHERE r.prpubid = p.oid) = $4::int8";

/// Remembers the publication of a direction, before its slot is made. `false` if it does not publish everything of
/// `tables` tables: then nothing is remembered, and no stream of it can be trusted.
///
/// # Errors
/// As the server says.
pub async fn record_publication(
    session: &Session,
    name: &MigrationName,
    direction: Direction,
    tables: usize,
) -> Result<bool, StateError> {
    let upsert = format!(
        "INSERT INTO crossfade.publication (migration, direction, identity)
 SELECT $1, $2, i.identity FROM ({IDENTITY} AND {PUBLISHES_ALL}) AS i
    ON CONFLICT (migration, direction) DO UPDATE SET identity = excluded.identity"
    );
    let publication = publication(name, direction);
    let tables = i64::try_from(tables).unwrap_or(i64::MAX);
    let recorded = session
        .execute(
            &upsert,
            &[&name.as_str(), &direction.as_str(), &publication, &tables],
        )
        .await?;
    Ok(recorded == 1)
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

//! Comparing source and target under a pair of snapshots (R26): slice by slice by totals, then by key.
//!
//! The two sessions are in REPEATABLE READ transactions whose snapshots show one instant; whoever opened them answers
//! for that. Nothing here writes.

mod repair;
mod statements;

use std::collections::BTreeMap;

use crossfade_core::piece::TargetKey;
use crossfade_core::plan::{Source, Target};
use crossfade_core::verify::{Bound, Compared, Difference, Kind, Slice, Totals};
use tokio_postgres::Row;
use tokio_postgres::types::ToSql;

use crate::ident;
use crate::session::{Session, SqlError};

pub(crate) use self::statements::tables_of_a_row;
pub use self::statements::{NotOnce, VerifyStatements, bound, templates};

/// Compares one source with its targets.
#[derive(Clone, Debug)]
pub struct Verifier {
    pairs: Vec<Pair>,
    /// Where a slice ends.
    bound: Option<String>,
    /// Each row of the source is to be in exactly one target.
    not_once: Option<NotOnce>,
    /// Ranges of the source's key are ranges of every target's.
    ordered: bool,
    /// Columns of the targets that the server fills: their values have no counterpart.
    unverified: Vec<String>,
}

/// One target and its statements.
#[derive(Clone, Debug)]
struct Pair {
    number: usize,
    statements: VerifyStatements,
    /// Rows are found by key.
    keyed: bool,
}

/// What was found in a slice that differs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Drilled {
    /// The rows, up to the limit.
    pub differences: Vec<Difference>,
    /// Their keys, where they have one.
    pub suspects: Vec<TargetKey>,
    /// There are more.
    pub more: bool,
}

/// What the target has and we never write.
const UNVERIFIED: &str = "\
SELECT attname::text FROM pg_catalog.pg_attribute
 WHERE attrelid = $1::text::pg_catalog.regclass AND attnum > 0 AND NOT attisdropped AND attname::text <> ALL ($2::text[])
 ORDER BY attnum";
/// What a column sorts text by, in words that are the same on two servers only if they sort alike: with the version of the
/// collation, and where that is not known only on one server. (By JSON what older servers call otherwise or do not have.)
const COLLATION: &str = "\
SELECT CASE
         WHEN a.attcollation = 0 THEN ''
         WHEN a.attcollation IN (950, 951)
              OR a.attcollation = 100 AND d.j ->> 'datcollate' IN ('C', 'POSIX')
                 AND coalesce(d.j ->> 'datlocprovider', 'c') = 'c' THEN 'bytes'
         WHEN a.attcollation = 100 THEN pg_catalog.concat_ws(' ', coalesce(d.j ->> 'datlocprovider', 'c'),
              d.j ->> 'datcollate', coalesce(d.j ->> 'daticulocale', d.j ->> 'datlocale'),
              coalesce(d.j ->> 'datcollversion', here.cluster))
         ELSE pg_catalog.concat_ws(' ', c.j ->> 'collprovider', c.j ->> 'collcollate',
              coalesce(c.j ->> 'colliculocale', c.j ->> 'colllocale'), c.j ->> 'collisdeterministic',
              coalesce(c.j ->> 'collversion', here.cluster))
       END
  FROM pg_catalog.pg_attribute AS a
  JOIN (SELECT pg_catalog.to_jsonb(d) AS j FROM pg_catalog.pg_database AS d
         WHERE datname = pg_catalog.current_database()) AS d ON true
  JOIN (SELECT system_identifier::pg_catalog.text AS cluster FROM pg_catalog.pg_control_system()) AS here ON true
  LEFT JOIN (SELECT oid, pg_catalog.to_jsonb(c) AS j FROM pg_catalog.pg_collation AS c) AS c ON c.oid = a.attcollation
 WHERE a.attrelid = $1::text::pg_catalog.regclass AND a.attname = $2::text";

/// Rows of a slice that share a bucket, on average, when it is searched for those that differ.
const BUCKET_ROWS: u64 = 500;
const BUCKETS_MAX: u64 = 1 << 16;
/// Buckets that are read row by row at once.
const BUCKETS_READ: usize = 64;

impl Verifier {
    /// Looks at the tables as they are; the sessions, one where the source is and one where the targets are, read catalogs
    /// only.
    ///
    /// # Errors
    /// As the server says.
    pub async fn prepare(
        (of_source, of_target): (&Session, &Session),
        source: &Source,
        targets: &[Target],
    ) -> Result<Self, SqlError> {
        let mut unverified = Vec::new();
        let mut ordered = source.key.is_some();
        for target in targets {
            let shadow = ident::table(&target.shadow);
            let written: Vec<&str> = target.columns.iter().map(|column| column.name.as_str()).collect();
            let others = of_target.query(UNVERIFIED, &[&shadow, &written]).await?;
            unverified.extend(others.iter().map(|row| row.get::<_, String>(0)));
            ordered &= same_collations((of_source, of_target), source, target).await?;
        }
        let pairs = targets.iter().enumerate().map(|(number, target)| Pair {
            number,
            statements: VerifyStatements::render(source, target),
            keyed: source.key.is_some() && target.key.is_some(),
        });
        Ok(Verifier {
            pairs: pairs.collect(),
            bound: bound(source, targets),
            not_once: NotOnce::render(source, targets),
            ordered,
            unverified,
        })
    }

    /// Columns that are not compared.
    pub fn unverified(&self) -> &[String] {
        &self.unverified
    }

    /// Locks the targets, in the open transaction, before its snapshot (R4).
    ///
    /// # Errors
    /// As the server says.
    pub async fn lock_targets(&self, session: &Session) -> Result<(), SqlError> {
        for pair in &self.pairs {
            session.batch_execute(&pair.statements.lock_target).await?;
        }
        Ok(())
    }

    /// Compares from `lower` on: about so many rows of the source, or everything.
    ///
    /// # Errors
    /// As the server says.
    pub async fn compare(
        &self,
        source: &Session,
        target: &Session,
        lower: Option<Bound>,
        rows: Option<u64>,
    ) -> Result<Compared, SqlError> {
        let upper = match rows {
            Some(_) if !self.ordered => return Ok(unordered(lower)),
            Some(rows) => self.bound(source, lower.as_ref(), rows).await?,
            None => None,
        };
        let mut compared = Compared {
            slice: Slice { lower, upper },
            source: Totals::default(),
            target: Totals::default(),
            not_once: 0,
            ordered: true,
        };
        if let Some(statements) = &self.not_once {
            let [lower, upper] = of_source(&compared.slice);
            let count = source.query_one(&statements.count, &[&lower, &upper]).await?;
            compared.not_once = count.get::<_, i64>(0).cast_unsigned();
        }
        for pair in &self.pairs {
            let (left, right) = tokio::try_join!(
                pair.source_buckets(source, &compared.slice, 0),
                pair.target_buckets(target, &compared.slice, 0),
            )?;
            compared.ordered &= left.1 == 0;
            add(&mut compared.source, &left.0, weight(pair.number));
            add(&mut compared.target, &right, weight(pair.number));
        }
        Ok(compared)
    }

    /// The key that so many rows of the source are before; `None` where there are no more.
    async fn bound(
        &self,
        session: &Session,
        lower: Option<&Bound>,
        rows: u64,
    ) -> Result<Option<Bound>, SqlError> {
        let Some(statement) = &self.bound else {
            return Ok(None);
        };
        let lower = lower.map(|bound| &bound.source);
        let rows = i64::try_from(rows).unwrap_or(i64::MAX);
        let found = session.query_opt(statement, &[&lower, &rows]).await?;
        Ok(found.map(|row| Bound {
            source: row.get(0),
            targets: (1..row.len()).map(|place| row.get(place)).collect(),
        }))
    }

    /// Names the rows of a slice that differ.
    ///
    /// # Errors
    /// As the server says.
    pub async fn drill(
        &self,
        source: &Session,
        target: &Session,
        slice: &Slice,
        rows: u64,
        limit: usize,
    ) -> Result<Drilled, SqlError> {
        let mask = (rows / BUCKET_ROWS).clamp(1, BUCKETS_MAX).next_power_of_two() - 1;
        let mask = i64::try_from(mask).unwrap_or(i64::MAX);
        let mut drilled = Drilled::default();
        for (target_number, pair) in self.pairs.iter().enumerate() {
            let (left, right) = tokio::try_join!(
                pair.source_buckets(source, slice, mask),
                pair.target_buckets(target, slice, mask),
            )?;
            let mut buckets = differing(&left.0, &right);
            drilled.more |= buckets.len() > BUCKETS_READ;
            buckets.truncate(BUCKETS_READ);
            let (left, right) = pair.rows((source, target), slice, mask, &buckets).await?;
            for (difference, key) in pair.differences(left, right) {
                drilled.differences.push(difference);
                let suspect = |key| TargetKey {
                    target: target_number,
                    key,
                };
                drilled.suspects.extend(key.map(suspect));
            }
        }
        if let Some(statements) = &self.not_once {
            let [lower, upper] = of_source(slice);
            let most = i64::try_from(limit).unwrap_or(i64::MAX).saturating_add(1);
            let keys = source.query(&statements.keys, &[&lower, &upper, &most]).await?;
            drilled.differences.extend(keys.iter().map(|row| Difference {
                key: row.get(0),
                kind: Kind::NotOnce,
            }));
        }
        drilled.more |= drilled.differences.len() > limit;
        drilled.differences.truncate(limit);
        Ok(drilled)
    }
}

/// Two collations order texts differently, so ranges of one key say nothing of the other.
async fn same_collations(
    (at_source, at_target): (&Session, &Session),
    source: &Source,
    target: &Target,
) -> Result<bool, SqlError> {
    let (of_source, of_target) = (ident::table(&source.name), ident::table(&target.shadow));
    let positions = source.key.iter().flat_map(|key| &key.columns);
    for (position, image) in positions.zip(target.key.iter().flatten()) {
        let name = &source.columns[*position].name;
        let left = at_source.query_opt(COLLATION, &[&of_source, name]).await?;
        let name = &target.columns[*image].name;
        let right = at_target.query_opt(COLLATION, &[&of_target, name]).await?;
        let collation = |row: Option<Row>| row.map(|row| row.get::<_, String>(0));
        if collation(left) != collation(right) {
            return Ok(false);
        }
    }
    Ok(true)
}

fn unordered(lower: Option<Bound>) -> Compared {
    Compared {
        slice: Slice { lower, upper: None },
        source: Totals::default(),
        target: Totals::default(),
        not_once: 0,
        ordered: false,
    }
}

/// Totals by bucket.
type Buckets = BTreeMap<i64, Totals>;
/// Rows that may differ.
type Rows = Vec<Hashed>;

/// A row as it is compared.
#[derive(Clone, Debug)]
struct Hashed {
    /// How it is named; without a key several rows may have one name.
    place: String,
    hashes: [i64; 2],
    /// The target's key.
    key: Option<Vec<String>>,
}

/// A slice's two bounds in one of the keys, as parameters.
type Ends<'a> = [Option<&'a Vec<String>>; 2];

fn of_source(slice: &Slice) -> Ends<'_> {
    [&slice.lower, &slice.upper].map(|bound| bound.as_ref().map(|bound| &bound.source))
}

fn of_target(slice: &Slice, number: usize) -> Ends<'_> {
    [&slice.lower, &slice.upper].map(|bound| bound.as_ref().and_then(|bound| bound.targets.get(number)))
}

impl Pair {
    /// The second is how many rows are not where the target has them.
    async fn source_buckets(
        &self,
        session: &Session,
        slice: &Slice,
        mask: i64,
    ) -> Result<(Buckets, u64), SqlError> {
        let ([lower, upper], [from, to]) = (of_source(slice), of_target(slice, self.number));
        let statement = &self.statements.source_totals;
        let rows = session
            .query(statement, &[&lower, &upper, &mask, &from, &to])
            .await?;
        let astray: i64 = rows.iter().map(|row| row.get::<_, i64>(4)).sum();
        Ok((rows.iter().map(totals).collect(), astray.cast_unsigned()))
    }

    async fn target_buckets(&self, session: &Session, slice: &Slice, mask: i64) -> Result<Buckets, SqlError> {
        let [lower, upper] = of_target(slice, self.number);
        let statement = &self.statements.target_totals;
        let rows = session.query(statement, &[&lower, &upper, &mask]).await?;
        Ok(rows.iter().map(totals).collect())
    }

    /// The rows of both sides in these buckets.
    async fn rows(
        &self,
        (source, target): (&Session, &Session),
        slice: &Slice,
        mask: i64,
        buckets: &[i64],
    ) -> Result<(Rows, Rows), SqlError> {
        let ([lower, upper], [from, to]) = (of_source(slice), of_target(slice, self.number));
        let of_source: [&(dyn ToSql + Sync); 4] = [&lower, &upper, &mask, &buckets];
        let of_target: [&(dyn ToSql + Sync); 4] = [&from, &to, &mask, &buckets];
        let (left, right) = tokio::try_join!(
            source.query(&self.statements.source_rows, &of_source),
            target.query(&self.statements.target_rows, &of_target),
        )?;
        Ok((
            left.iter().map(hashes).collect(),
            right.iter().map(hashes).collect(),
        ))
    }

    fn differences(&self, source: Rows, target: Rows) -> Vec<(Difference, Option<Vec<String>>)> {
        if self.keyed {
            by_key(source, target)
        } else {
            let rows = by_row(source, target).into_iter();
            rows.map(|difference| (difference, None)).collect()
        }
    }
}

fn totals(row: &Row) -> (i64, Totals) {
    let sum = |column: usize| row.get::<_, &str>(column).parse().unwrap_or_default();
    let totals = Totals {
        rows: row.get::<_, i64>(1).cast_unsigned(),
        hashes: [sum(2), sum(3)],
    };
    (row.get(0), totals)
}

fn hashes(row: &Row) -> Hashed {
    Hashed {
        place: row.get(0),
        hashes: [row.get(1), row.get(2)],
        key: row.get(3),
    }
}

/// Of a target in the sum over all, so that rows in wrong targets are not made up for by those that are missing in the
/// right ones: powers of an odd number without a pattern, modulo 2^128.
fn weight(target: usize) -> i128 {
    const ODD: i128 = 0x1E37_79B9_7F4A_7C15_F39C_C060_5CED_C835;
    (0..target).fold(1, |power: i128, _| power.wrapping_mul(ODD))
}

/// Modulo 2^128: equal sums stay equal, and different ones different but for a chance that no table reaches.
fn add(sum: &mut Totals, buckets: &Buckets, weight: i128) {
    for totals in buckets.values() {
        sum.rows += totals.rows;
        for (sum, hash) in sum.hashes.iter_mut().zip(totals.hashes) {
            *sum = sum.wrapping_add(hash.wrapping_mul(weight));
        }
    }
}

/// Buckets whose two sides differ.
fn differing(source: &Buckets, target: &Buckets) -> Vec<i64> {
    let all = source.keys().chain(target.keys());
    let mut differing: Vec<i64> = all
        .filter(|bucket| source.get(bucket) != target.get(bucket))
        .copied()
        .collect();
    differing.sort_unstable();
    differing.dedup();
    differing
}

/// By key, in the order of their texts.
fn by_key(source: Rows, target: Rows) -> Vec<(Difference, Option<Vec<String>>)> {
    /// The hashes of its two sides.
    type Sides = [Vec<[i64; 2]>; 2];
    let mut rows: BTreeMap<String, (Sides, Option<Vec<String>>)> = BTreeMap::new();
    for (side, side_rows) in [source, target].into_iter().enumerate() {
        for row in side_rows {
            let entry = rows.entry(row.place).or_default();
            entry.0[side].push(row.hashes);
            entry.1 = row.key;
        }
    }
    let kind = |[source, target]: &Sides| match (&source[..], &target[..]) {
        ([_, _, ..], _) => Some(Kind::Twice),
        ([_], []) => Some(Kind::Missing),
        ([], [_]) => Some(Kind::Extra),
        (source, target) => (source != target).then_some(Kind::Different),
    };
    rows.into_iter()
        .filter_map(|(place, (sides, key))| {
            Some((
                Difference {
                    key: place,
                    kind: kind(&sides)?,
                },
                key,
            ))
        })
        .collect()
}

/// As two multisets of whole rows.
fn by_row(source: Rows, target: Rows) -> Vec<Difference> {
    let mut expected: BTreeMap<[i64; 2], u64> = BTreeMap::new();
    for row in source {
        *expected.entry(row.hashes).or_default() += 1;
    }
    let mut differences = Vec::new();
    for row in target {
        match expected.get_mut(&row.hashes) {
            Some(left) if *left > 0 => *left -= 1,
            Some(_) | None => differences.push(Difference {
                key: row.place,
                kind: Kind::Extra,
            }),
        }
    }
    let missing: u64 = expected.values().sum();
    let missing = (0..missing).map(|_| Difference {
        key: String::new(),
        kind: Kind::Missing,
    });
    differences.extend(missing);
    differences
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(rows: &[(&str, i64)]) -> Rows {
        rows.iter()
            .map(|(place, hash)| Hashed {
                place: (*place).to_owned(),
                hashes: [*hash, 7],
                key: Some(vec![(*place).to_owned()]),
            })
            .collect()
    }

    fn shown(differences: Vec<Difference>) -> Vec<(String, Kind)> {
        differences
            .into_iter()
            .map(|difference| (difference.key, difference.kind))
            .collect()
    }

    #[test]
    fn keys_are_compared_in_both_directions() {
        let (found, keys): (Vec<_>, Vec<_>) = by_key(
            rows(&[("a", 1), ("b", 2), ("c", 3)]),
            rows(&[("d", 4), ("c", 3), ("b", 9)]),
        )
        .into_iter()
        .unzip();
        assert_eq!(keys, ["a", "b", "d"].map(|key| Some(vec![key.to_owned()])));
        let expected = [("a", Kind::Missing), ("b", Kind::Different), ("d", Kind::Extra)];
        assert_eq!(shown(found), expected.map(|(key, kind)| (key.to_owned(), kind)));
    }

    #[test]
    fn without_a_key_a_duplicate_is_one_row_too_many() {
        let found = by_row(
            rows(&[("", 1), ("", 1), ("", 2)]),
            rows(&[("(0,1)", 1), ("(0,2)", 1), ("(0,3)", 1)]),
        );
        let expected = [("(0,3)", Kind::Extra), ("", Kind::Missing)];
        assert_eq!(shown(found), expected.map(|(key, kind)| (key.to_owned(), kind)));
    }

    #[test]
    fn totals_are_weighted_by_their_target() {
        let bucket = |hash: i128| {
            let totals = Totals {
                rows: 1,
                hashes: [hash, hash],
            };
            Buckets::from([(0, totals)])
        };
        // One row, in these targets.
        let total = |targets: &[usize]| {
            let mut sum = Totals::default();
            for target in targets {
                add(&mut sum, &bucket(i128::from(i64::MAX) << 40), weight(*target));
            }
            sum
        };
        assert_ne!(total(&[0]), total(&[1]));
        assert_ne!(total(&[0, 3]), total(&[1, 2]));
        assert_ne!(total(&[0, 0, 1]), total(&[0, 1, 1]));
        assert_ne!(total(&[998]), total(&[999]), "of however many");
        assert_eq!(weight(0), 1, "of one alone it is the plain sum");
    }
}

//! Whether an expression gives the same value in the copy, in the apply, and whenever it is asked again (R2).
//!
//! Allowed is what is immutable, and what depends on nothing but the settings that every session of ours pins.
//! Of the stable functions these are a list, since "stable" also covers the clock, the user and the catalogs.

use crossfade_core::code::RefusalCode;
use crossfade_core::refusal::Refusal;

use super::node_tree::Calls;
use crate::preflight::refusal;
use crate::session::{Session, SqlError};

/// What an expression depends on, beside the row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Dependence {
    /// Nothing.
    Nothing,
    /// `TimeZone`, `DateStyle` and their like, which our sessions pin.
    PinnedSettings,
}

/// Stable functions of `pg_catalog` that depend on pinned settings and on their arguments only.
const STABLE_BY_SETTINGS: &[&str] = &[
    "anytextcat",
    "array_in",
    "array_out",
    "array_to_json",
    "array_to_string",
    "cash_in",
    "cash_out",
    "concat",
    "concat_ws",
    "convert",
    "convert_from",
    "convert_to",
    "date",
    "date_cmp_timestamptz",
    "date_eq_timestamptz",
    "date_ge_timestamptz",
    "date_gt_timestamptz",
    "date_in",
    "date_le_timestamptz",
    "date_lt_timestamptz",
    "date_ne_timestamptz",
    "date_out",
    "date_part",
    "date_trunc",
    "domain_in",
    "enum_in",
    "enum_out",
    "extract",
    "format",
    "interval_in",
    "interval_out",
    "interval_pl_timestamptz",
    "json_build_array",
    "json_build_object",
    "jsonb_build_array",
    "jsonb_build_object",
    "jsonb_path_exists_tz",
    "jsonb_path_match_tz",
    "jsonb_path_query_array_tz",
    "jsonb_path_query_first_tz",
    "length",
    "make_timestamptz",
    "money",
    "multirange_in",
    "multirange_out",
    "numeric",
    "overlaps",
    "quote_literal",
    "quote_nullable",
    "range_in",
    "range_out",
    "record_in",
    "record_out",
    "row_to_json",
    "textanycat",
    "time",
    "time_in",
    "timestamp",
    "timestamp_cmp_timestamptz",
    "timestamp_eq_timestamptz",
    "timestamp_ge_timestamptz",
    "timestamp_gt_timestamptz",
    "timestamp_in",
    "timestamp_le_timestamptz",
    "timestamp_lt_timestamptz",
    "timestamp_ne_timestamptz",
    "timestamp_out",
    "timestamptz",
    "timestamptz_cmp_date",
    "timestamptz_cmp_timestamp",
    "timestamptz_eq_date",
    "timestamptz_eq_timestamp",
    "timestamptz_ge_date",
    "timestamptz_ge_timestamp",
    "timestamptz_gt_date",
    "timestamptz_gt_timestamp",
    "timestamptz_in",
    "timestamptz_le_date",
    "timestamptz_le_timestamp",
    "timestamptz_lt_date",
    "timestamptz_lt_timestamp",
    "timestamptz_mi_interval",
    "timestamptz_ne_date",
    "timestamptz_ne_timestamp",
    "timestamptz_out",
    "timestamptz_pl_interval",
    "timetz",
    "timetz_in",
    "timezone",
    "to_char",
    "to_date",
    "to_json",
    "to_jsonb",
    "to_number",
    "to_timestamp",
    "xml",
    "xml_in",
    "xml_out",
];

/// Those of them that no setting has a part in: they are stable for what the catalogs hold.
const WITHOUT_SETTINGS: &[&str] = &[
    "convert",
    "convert_from",
    "convert_to",
    "domain_in",
    "enum_in",
    "enum_out",
    "length",
    "quote_literal",
    "quote_nullable",
];

/// The functions by OID, and the input and output functions of the types.
const FUNCTIONS: &str = "\
SELECT p.oid::regprocedure::text, p.proname::text, p.provolatile::text, p.pronamespace = 'pg_catalog'::regnamespace
  FROM pg_proc p
 WHERE p.oid = ANY ($1)
    OR p.oid IN (SELECT unnest(ARRAY[t.typinput::oid, t.typoutput::oid]) FROM pg_type t WHERE t.oid = ANY ($2))
 ORDER BY 1";

struct Function {
    signature: String,
    name: String,
    volatility: Volatility,
    of_the_server: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Volatility {
    Immutable,
    Stable,
    Volatile,
}

/// Judges an expression; `object` names it in refusals.
pub(super) async fn judge(
    session: &Session,
    calls: &Calls,
    object: &str,
) -> Result<Result<Dependence, Vec<Refusal>>, SqlError> {
    let functions: Vec<u32> = calls.functions.iter().copied().collect();
    let types: Vec<u32> = calls.io_types.iter().copied().collect();
    let rows = session.query(FUNCTIONS, &[&functions, &types]).await?;
    let functions: Vec<Function> = rows
        .iter()
        .map(|row| Function {
            signature: row.get(0),
            name: row.get(1),
            volatility: volatility(row.get(2)),
            of_the_server: row.get(3),
        })
        .collect();
    Ok(verdict(calls, &functions, object))
}

/// `pg_proc.provolatile`.
fn volatility(letter: &str) -> Volatility {
    match letter {
        "i" => Volatility::Immutable,
        "s" => Volatility::Stable,
        _ => Volatility::Volatile,
    }
}

fn verdict(calls: &Calls, functions: &[Function], object: &str) -> Result<Dependence, Vec<Refusal>> {
    let mut refusals: Vec<Refusal> = functions
        .iter()
        .filter_map(|function| objection(function, object))
        .collect();
    if calls.session_values {
        refusals.push(changes_with_time(
            object,
            "CURRENT_TIMESTAMP or another value of the session",
        ));
    }
    if calls.next_value {
        refusals.push(volatile(object, "the next value of a sequence"));
    }
    refusals.extend(calls.unknown.iter().map(|tag| not_understood(object, tag)));
    if !refusals.is_empty() {
        return Err(refusals);
    }
    let by_settings = |function: &Function| {
        function.volatility != Volatility::Immutable && !WITHOUT_SETTINGS.contains(&function.name.as_str())
    };
    Ok(if functions.iter().any(by_settings) {
        Dependence::PinnedSettings
    } else {
        Dependence::Nothing
    })
}

fn objection(function: &Function, object: &str) -> Option<Refusal> {
    match function.volatility {
        Volatility::Immutable => None,
        Volatility::Volatile => Some(volatile(object, &function.signature)),
        Volatility::Stable if !function.of_the_server => Some(refusal(
            RefusalCode::ExpressionNotImmutable,
            object,
            format!(
                "It calls {}, which is only stable: it may read tables or settings.",
                function.signature
            ),
            "Mark the function IMMUTABLE if it depends on nothing but its arguments, or write it out.",
        )),
        Volatility::Stable if STABLE_BY_SETTINGS.contains(&function.name.as_str()) => None,
        Volatility::Stable => Some(changes_with_time(object, &function.signature)),
    }
}

fn volatile(object: &str, what: &str) -> Refusal {
    refusal(
        RefusalCode::ExpressionVolatile,
        object,
        format!("It depends on {what}, which is volatile: copy and apply would compute different values."),
        "Use an expression over the row's own columns.",
    )
}

fn changes_with_time(object: &str, what: &str) -> Refusal {
    refusal(
        RefusalCode::ExpressionChanges,
        object,
        format!("It depends on {what}: a row copied now and applied later would get different values."),
        "Use a constant, or a column of the row.",
    )
}

fn not_understood(object: &str, tag: &str) -> Refusal {
    refusal(
        RefusalCode::ExpressionNotUnderstood,
        object,
        format!("It holds a {tag}, of which it is not known whether it always gives the same value."),
        "Write the expression with functions and operators.",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn function(name: &str, volatility: Volatility, of_the_server: bool) -> Function {
        Function {
            signature: format!("{name}()"),
            name: name.to_owned(),
            volatility,
            of_the_server,
        }
    }

    fn code_of(function: Function) -> Option<RefusalCode> {
        let verdict = verdict(&Calls::default(), &[function], "x");
        verdict.err().map(|refusals| refusals[0].code)
    }

    #[test]
    fn stable_is_allowed_only_where_pinned_settings_decide() {
        let stable = |name: &str| code_of(function(name, Volatility::Stable, true));
        assert_eq!(stable("timestamptz_in"), None);
        assert_eq!(stable("enum_in"), None);
        assert_eq!(stable("now"), Some(RefusalCode::ExpressionChanges));
        assert_eq!(stable("to_tsvector"), Some(RefusalCode::ExpressionChanges));
        let own = code_of(function("now_ish", Volatility::Stable, false));
        assert_eq!(own, Some(RefusalCode::ExpressionNotImmutable));
        let random = code_of(function("random", Volatility::Volatile, true));
        assert_eq!(random, Some(RefusalCode::ExpressionVolatile));
        assert_eq!(code_of(function("lower", Volatility::Immutable, true)), None);
    }

    #[test]
    fn the_list_is_sorted_so_that_it_can_be_read() {
        assert!(STABLE_BY_SETTINGS.is_sorted());
    }
}

//! What a stored expression calls, read from the server's own node tree (`pg_node_tree` as text).
//!
//! Only tags, OIDs and a few fields are looked at; what is not known is reported and refused, never passed over.

use std::collections::BTreeSet;

/// The facts about an expression that decide whether copy and apply will compute the same value.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Calls {
    /// Functions by OID, those of operators and casts included.
    pub(super) functions: BTreeSet<u32>,
    /// Types whose input and output functions may be called.
    pub(super) io_types: BTreeSet<u32>,
    /// `CURRENT_TIMESTAMP`, `CURRENT_USER` and their kind.
    pub(super) session_values: bool,
    /// A sequence's next value, as an identity column takes it.
    pub(super) next_value: bool,
    /// Tags that this release does not know.
    pub(super) unknown: BTreeSet<String>,
}

/// Nodes that call nothing but what their fields name, in the spellings of servers 14 to 18.
const PLAIN_TAGS: &[&str] = &[
    "ARRAY",
    "ARRAYCOERCEEXPR",
    "ARRAYEXPR",
    "BOOLEANTEST",
    "BOOLEXPR",
    "CASE",
    "CASEEXPR",
    "CASETESTEXPR",
    "CASEWHEN",
    "COALESCE",
    "COALESCEEXPR",
    "COERCETODOMAIN",
    "COERCETODOMAINVALUE",
    "COERCEVIAIO",
    "COLLATE",
    "COLLATEEXPR",
    "CONST",
    "CONVERTROWTYPEEXPR",
    "DISTINCTEXPR",
    "FIELDSELECT",
    "FUNCEXPR",
    "MINMAX",
    "MINMAXEXPR",
    "NAMEDARGEXPR",
    "NULLIFEXPR",
    "NULLTEST",
    "OPEXPR",
    "RELABELTYPE",
    "ROW",
    "ROWEXPR",
    "SCALARARRAYOPEXPR",
    "SUBSCRIPTINGREF",
    "VAR",
    "WHEN",
];

/// Fields that hold a function.
const FUNCTION_FIELDS: &[&str] = &[":funcid", ":opfuncid", ":hashfuncid", ":negfuncid"];

/// Fields that hold the type of a value.
const TYPE_FIELDS: &[&str] = &[
    ":vartype",
    ":consttype",
    ":funcresulttype",
    ":opresulttype",
    ":resulttype",
    ":casetype",
    ":array_typeid",
    ":coalescetype",
    ":minmaxtype",
    ":row_typeid",
    ":refrestype",
    ":typeId",
];

/// Whether a variable stands for a whole row or a system column.
pub(super) fn reads_rows(tree: &str) -> bool {
    let mut words = tree.split([' ', '\n']).filter(|word| !word.is_empty());
    while let Some(word) = words.next() {
        if word == ":varattno"
            && words
                .next()
                .is_none_or(|value| value.parse::<i32>().is_ok_and(|n| n <= 0))
        {
            return true;
        }
    }
    false
}

/// Aggregates whose call gives their input no order.
pub(super) fn unordered_aggregates(tree: &str) -> BTreeSet<u32> {
    let mut found = BTreeSet::new();
    // One that stands within the arguments of another ends before it.
    let mut open = Vec::new();
    let mut words = tree.split([' ', '\n']).filter(|word| !word.is_empty());
    while let Some(word) = words.next() {
        match word {
            ":aggfnoid" => open.extend(words.next().and_then(number)),
            ":aggorder" => {
                let aggregate = open.pop();
                if words.next() == Some("<>") {
                    found.extend(aggregate);
                }
            }
            _ => {}
        }
    }
    found
}

/// Whether a query, or one within it, leaves only some of its rows and gives them no order.
pub(super) fn chooses_without_order(tree: &str) -> bool {
    // A query within another one ends before it comes to its own order.
    let mut open = Vec::new();
    let mut ordered = true;
    let mut words = tree.split([' ', '\n']).filter(|word| !word.is_empty());
    while let Some(word) = words.next() {
        let chooses = match word {
            ":hasDistinctOn" => {
                open.push(words.next() == Some("true"));
                false
            }
            ":sortClause" => {
                ordered = words.next() != Some("<>");
                open.pop() == Some(true)
            }
            ":limitOffset" | ":limitCount" => words.next() != Some("<>"),
            _ => false,
        };
        if chooses && !ordered {
            return true;
        }
    }
    false
}

/// Reads a node tree.
pub(super) fn read(tree: &str) -> Calls {
    let mut calls = Calls::default();
    let mut types = BTreeSet::new();
    let mut converts = false;
    let words: Vec<&str> = tree.split([' ', '\n']).filter(|word| !word.is_empty()).collect();
    for (position, word) in words.iter().enumerate() {
        let value = || words.get(position + 1).and_then(|value| number(value));
        if FUNCTION_FIELDS.contains(word) {
            calls.functions.extend(value().filter(|oid| *oid != 0));
        } else if TYPE_FIELDS.contains(word) {
            types.extend(value());
        } else if let Some(tag) = tag(word) {
            converts |= tag == "COERCEVIAIO";
            calls.note_tag(tag);
        }
    }
    if converts {
        calls.io_types = types;
    }
    calls
}

impl Calls {
    fn note_tag(&mut self, tag: &str) {
        match tag {
            "SQLVALUEFUNCTION" => self.session_values = true,
            "NEXTVALUEEXPR" => self.next_value = true,
            known if PLAIN_TAGS.contains(&known) => {}
            unknown => {
                self.unknown.insert(unknown.to_owned());
            }
        }
    }
}

/// `{TAG` or `({TAG`. Braces inside of names are escaped with a backslash.
fn tag(word: &str) -> Option<&str> {
    word.trim_start_matches('(').strip_prefix('{')
}

fn number(word: &str) -> Option<u32> {
    word.trim_end_matches(['}', ')']).parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn aggregates_without_an_order_are_found() {
        let tree = "{AGGREF :aggfnoid 1 :args ({AGGREF :aggfnoid 2 :args <> :aggorder ({SORTGROUPCLAUSE}) :aggdistinct <>}) \
                    :aggorder <> :aggdistinct <>} {AGGREF :aggfnoid 3 :aggorder <> :aggdistinct <>}";
        assert_eq!(unordered_aggregates(tree), BTreeSet::from([1, 3]));
    }

    #[test]
    fn a_choice_without_an_order_is_found() {
        let query = |distinct_on: bool, within: &str, sort: &str, limit: &str| {
            format!(
                "({{QUERY :hasDistinctOn {distinct_on} :rtable ({within}) :distinctClause <> :sortClause {sort} \
                 :limitOffset <> :limitCount {limit} :limitOption 0}})"
            )
        };
        let (sorted, limited) = ("({SORTGROUPCLAUSE})", "{CONST}");
        let good = query(true, "", sorted, limited);
        assert!(!chooses_without_order(&good));
        assert!(!chooses_without_order(&query(false, &good, "<>", "<>")));
        for bad in [query(true, "", "<>", "<>"), query(false, "", "<>", limited)] {
            assert!(chooses_without_order(&bad));
            assert!(chooses_without_order(&query(false, &bad, sorted, "<>")));
        }
        assert!(chooses_without_order(&query(true, &good, "<>", "<>")));
    }

    #[test]
    fn functions_types_and_tags_are_found() {
        let tree = "{NULLTEST :arg {COERCEVIAIO :arg {OPEXPR :opno 654 :opfuncid 1258 :opresulttype 25 :args \
                    ({VAR :varno 1 :varattno 2 :vartype 25} {FUNCEXPR :funcid 870 :funcresulttype 25 :args \
                    ({CONST :consttype 25 :constvalue 5 [ 20 0 0 0 65 ]})})} :resulttype 16385 :location 3} \
                    :nulltesttype 1 :argisrow false :location 57}";
        let calls = read(tree);
        assert_eq!(calls.functions, BTreeSet::from([870, 1258]));
        assert_eq!(calls.io_types, BTreeSet::from([25, 16385]));
        assert_eq!(calls.unknown, BTreeSet::new());
        assert!(!calls.session_values && !calls.next_value);
    }

    #[test]
    fn what_is_not_known_is_reported() {
        let calls = read("{COALESCE :args ({SQLVALUEFUNCTION :op 3 :type 1184} {XMLEXPR :op 1})}");
        assert!(calls.session_values);
        assert_eq!(calls.unknown, BTreeSet::from(["XMLEXPR".to_owned()]));
        assert_eq!(calls.io_types, BTreeSet::new());
    }
}

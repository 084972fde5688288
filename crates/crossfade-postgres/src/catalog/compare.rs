//! Two definitions compared, path by path.
//!
//! Both are turned into JSON and walked, so that a field which is added to the types is compared without a
//! line being written here. Lists of named things are matched by name; grants and edges as sets.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use crate::catalog::definition::Definition;

/// One place where two definitions differ.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Difference {
    /// Where, such as `columns.id.type_name`.
    pub path: String,
    /// What was expected there; `None` is nothing.
    pub expected: Option<String>,
    /// What is there.
    pub actual: Option<String>,
}

impl std::fmt::Display for Difference {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let or_nothing = |text: &Option<String>| text.clone().unwrap_or_else(|| "nothing".to_owned());
        let (expected, actual) = (or_nothing(&self.expected), or_nothing(&self.actual));
        write!(f, "{}: expected {expected}, found {actual}", self.path)
    }
}

/// All differences but those of [`Definition::outside`]; empty when the two are equal.
pub fn compare(expected: &Definition, actual: &Definition) -> Vec<Difference> {
    let mut differences = Vec::new();
    walk("", &comparable(expected), &comparable(actual), &mut differences);
    differences
}

fn comparable(definition: &Definition) -> Value {
    let mut definition = definition.clone();
    forget_indexes_of_foreign_keys(&mut definition);
    // Strings, numbers and lists of them only: nothing that could fail.
    let mut value = serde_json::to_value(definition).unwrap_or_default();
    if let Value::Object(fields) = &mut value {
        fields.remove("outside");
    }
    value
}

/// On which of several unique indexes with the same columns a foreign key relies is the server's choice, by the
/// order of their creation, and nothing but a `DROP INDEX` can tell.
fn forget_indexes_of_foreign_keys(definition: &mut Definition) {
    let own = definition.foreign_keys.iter();
    let own: BTreeSet<String> = own.map(|key| format!("constraint {}", key.name)).collect();
    definition.depend.retain(|edge| {
        let of_foreign_key = match edge.dependent_own {
            true => own.contains(&edge.dependent),
            false => edge.dependent.starts_with("table constraint "),
        };
        !(of_foreign_key && edge.referenced.starts_with("index "))
    });
    let keys = definition.foreign_keys.iter_mut().chain(&mut definition.incoming);
    keys.for_each(|key| key.index = None);
}

fn walk(path: &str, expected: &Value, actual: &Value, differences: &mut Vec<Difference>) {
    if expected == actual {
        return;
    }
    if let (Some(expected), Some(actual)) = (members(expected), members(actual)) {
        return walk_members(path, &expected, &actual, differences);
    }
    differences.push(Difference {
        path: path.to_owned(),
        expected: shown(expected),
        actual: shown(actual),
    });
}

fn walk_members(
    path: &str,
    expected: &BTreeMap<String, &Value>,
    actual: &BTreeMap<String, &Value>,
    differences: &mut Vec<Difference>,
) {
    for (label, value) in expected {
        let path = joined(path, label);
        match actual.get(label) {
            Some(other) => walk(&path, value, other, differences),
            None => differences.push(Difference {
                path,
                expected: shown(value),
                actual: None,
            }),
        }
    }
    let added = actual.iter().filter(|(label, _)| !expected.contains_key(*label));
    differences.extend(added.map(|(label, value)| Difference {
        path: joined(path, label),
        expected: None,
        actual: shown(value),
    }));
}

/// The fields of an object, or the elements of a list of objects by their labels. Other lists are compared as
/// they are: in them order matters.
fn members(value: &Value) -> Option<BTreeMap<String, &Value>> {
    match value {
        Value::Object(fields) => Some(fields.iter().map(|(name, value)| (name.clone(), value)).collect()),
        Value::Array(elements) => elements
            .iter()
            .map(|element| Some((label(element)?, element)))
            .collect(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => None,
    }
}

/// What an element of a list is known by: its name; without one, everything that it is.
fn label(element: &Value) -> Option<String> {
    let text = |field: &str| element.get(field).and_then(Value::as_str);
    if let Some(name) = text("name") {
        let table = element.get("referencing").filter(|table| table.is_object());
        let table = table.map(|table| format!(" on {}.{}", part(table, "schema"), part(table, "name")));
        return Some(format!("{name}{}", table.unwrap_or_default()));
    }
    if let (Some(dependent), Some(kind), Some(referenced)) =
        (text("dependent"), text("kind"), text("referenced"))
    {
        return Some(format!("{dependent} --{kind}--> {referenced}"));
    }
    element.is_object().then(|| element.to_string())
}

fn part<'a>(table: &'a Value, field: &str) -> &'a str {
    table.get(field).and_then(Value::as_str).unwrap_or_default()
}

fn joined(path: &str, label: &str) -> String {
    if path.is_empty() {
        label.to_owned()
    } else {
        format!("{path}.{label}")
    }
}

fn shown(value: &Value) -> Option<String> {
    match value {
        Value::Null => None,
        Value::String(text) => Some(text.clone()),
        Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => Some(value.to_string()),
    }
}

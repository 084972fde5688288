//! The schema whose names need quotes, and its transactions of thousands of rows.

use super::Choice;

const EMPLOYEES: &str = r#""Back Office"."Employees""#;
const NUMBER: &str = r#""Employee No""#;
const WAGES: &str = r#""Back Office"."Wages""#;
const ORDER: &str = r#""Back Office"."order""#;
const SESSIONS: &str = r#""Back Office"."Sessions""#;
const SIZES: &str = r#""Back Office"."Größe ""XL""""#;
const IMPORTS: &str = r#""Back Office"."Imports""#;
const BOOKINGS: &str = r#""Back Office".bookings"#;

/// An employee: new, gone, or with another boss.
pub(super) fn employee(choice: &mut Choice) -> Vec<String> {
    let (key, near) = (choice.key(), choice.near(EMPLOYEES, NUMBER));
    let boss = choice.near(EMPLOYEES, NUMBER);
    let lock = format!("SELECT {NUMBER} FROM {EMPLOYEES} WHERE {NUMBER} = {boss} FOR KEY SHARE");
    let statement = match choice.below(5) {
        0 | 1 => {
            format!("INSERT INTO {EMPLOYEES} SELECT {key}, 'new \"one\"', e.{NUMBER} FROM ({lock}) AS e")
        }
        2 => format!("DELETE FROM {EMPLOYEES} WHERE {NUMBER} = {near}"),
        3 => format!("UPDATE {EMPLOYEES} SET \"reports to\" = ({lock}) WHERE {NUMBER} = {near}"),
        _ => format!("UPDATE {EMPLOYEES} SET \"Full \"\"Name\"\"\" = 'name {key}' WHERE {NUMBER} = {near}"),
    };
    vec![statement]
}

/// A month's pay.
pub(super) fn wage(choice: &mut Choice) -> Vec<String> {
    let (near, month, amount) = (
        choice.near(EMPLOYEES, NUMBER),
        choice.below(12),
        choice.below(9999),
    );
    let statement = if choice.chance(80) {
        format!(
            "INSERT INTO {WAGES} SELECT {NUMBER}, date '2024-01-01' + 31 * {month}, {amount} FROM {EMPLOYEES}
             WHERE {NUMBER} = {near} FOR KEY SHARE
             ON CONFLICT ({NUMBER}, month) DO UPDATE SET amount = excluded.amount"
        )
    } else {
        format!("DELETE FROM {WAGES} WHERE {NUMBER} = {near}")
    };
    vec![statement]
}

/// A table whose every name is a keyword, with a key of two columns.
pub(super) fn order(choice: &mut Choice) -> Vec<String> {
    let (key, near) = (choice.key(), choice.near(ORDER, "\"select\""));
    let statement = match choice.below(5) {
        0 => format!("INSERT INTO {ORDER} VALUES ({key}, 'a', ''), ({key}, 'b', NULL)"),
        1 => format!("DELETE FROM {ORDER} WHERE \"select\" = {near}"),
        2 => format!("UPDATE {ORDER} SET \"from\" = \"from\" || '!' WHERE \"select\" = {near}"),
        _ => format!("UPDATE {ORDER} SET \"where\" = 'where {key}' WHERE \"select\" = {near}"),
    };
    vec![statement]
}

/// A setting, there or not.
pub(super) fn setting(choice: &mut Choice) -> Vec<String> {
    let (key, value) = (choice.below(200), choice.key());
    vec![format!(
        "INSERT INTO \"Back Office\".settings VALUES ('key {key}', '{{\"value\": [{value}, 1.50, null]}}')
         ON CONFLICT (key) DO UPDATE SET value = excluded.value"
    )]
}

/// A session with a UUID.
pub(super) fn session(choice: &mut Choice) -> Vec<String> {
    let (uuid, near) = (choice.uuid(), choice.near_uuid(SESSIONS, "id"));
    let seconds = choice.below(100_000);
    let statement = match choice.below(5) {
        0 | 1 => {
            format!("INSERT INTO {SESSIONS} VALUES ('{uuid}', '::1', '{seconds} s', tstzrange(now(), NULL))")
        }
        2 => format!("DELETE FROM {SESSIONS} WHERE id = {near}"),
        3 => format!("UPDATE {SESSIONS} SET id = '{uuid}' WHERE id = {near}"),
        _ => format!("UPDATE {SESSIONS} SET lasted = '{seconds} s', seen = 'empty' WHERE id = {near}"),
    };
    vec![statement]
}

/// A table with letters beyond ASCII in its names.
pub(super) fn size(choice: &mut Choice) -> Vec<String> {
    let (key, near) = (choice.key(), choice.near(SIZES, "\"Länge\""));
    let small = choice.below(1000) - 500;
    let statement = match choice.below(5) {
        0 => format!("INSERT INTO {SIZES} VALUES ({small}, {key}, '{{NaN,NULL,1.00}}')"),
        1 => format!("DELETE FROM {SIZES} WHERE \"Länge\" = {near}"),
        2 => format!("UPDATE {SIZES} SET \"Nº\" = {small} WHERE \"Länge\" = {near}"),
        _ => format!("UPDATE {SIZES} SET \"Maße\" = ARRAY[{key}, NULL] WHERE \"Länge\" = {near}"),
    };
    vec![statement]
}

/// A booking, of a period that no other one meets.
pub(super) fn booking(choice: &mut Choice) -> Vec<String> {
    let (key, near) = (choice.key(), choice.near(BOOKINGS, "id"));
    let period = format!("int8range({key}, {key} + 1)");
    let statement = match choice.below(5) {
        0 | 1 => format!("INSERT INTO {BOOKINGS} VALUES ({key}, {period}, 'guest')"),
        2 => format!("DELETE FROM {BOOKINGS} WHERE id = {near}"),
        3 => format!("UPDATE {BOOKINGS} SET id = {key}, period = {period} WHERE id = {near}"),
        _ => format!("UPDATE {BOOKINGS} SET guest = 'guest {key}' WHERE id = {near}"),
    };
    vec![statement]
}

/// A few rows of an import.
pub(super) fn import(choice: &mut Choice) -> Vec<String> {
    let (key, near) = (choice.key(), choice.near_in_sequence(IMPORTS, "id"));
    let statement = match choice.below(4) {
        0 => format!("DELETE FROM {IMPORTS} WHERE id = {near}"),
        1 => format!("UPDATE {IMPORTS} SET payload = 'changed {key}' WHERE id = {near}"),
        _ => format!(
            "INSERT INTO {IMPORTS} (batch, payload) SELECT 0, i::text FROM generate_series(1, 5) AS i"
        ),
    };
    vec![statement]
}

/// Thousands of rows in one transaction: made, then changed and made, then gone.
pub(super) fn bulk(choice: &mut Choice, rows: i64) -> Vec<String> {
    let key = choice.key();
    let insert = format!(
        "INSERT INTO {IMPORTS} (batch, payload) SELECT {key}, 'bulk ' || i FROM generate_series(1, {rows}) AS i"
    );
    let of_batch =
        |which: &str| format!("WHERE batch = (SELECT {which}(batch) FROM {IMPORTS} WHERE batch > 0)");
    match choice.below(3) {
        0 => vec![insert],
        1 => vec![
            insert,
            format!(
                "UPDATE {IMPORTS} SET payload = payload || '.' {}",
                of_batch("max")
            ),
        ],
        _ => vec![format!("DELETE FROM {IMPORTS} {}", of_batch("min")), insert],
    }
}

//! Tables that stand alone: each for something that is hard to carry over.

use super::Choice;

const REALS: [&str; 6] = ["NaN", "Infinity", "-Infinity", "-0", "1e-40", "0.1"];
const DOUBLES: [&str; 6] = [
    "NaN",
    "-Infinity",
    "-0",
    "1e-310",
    "0.1",
    "1.7976931348623157e308",
];
const NUMERICS: [&str; 6] = ["NaN", "-Infinity", "0.000", "-1.50", "1e30", "1e-20"];
const SPANS: [&str; 4] = ["1 mon -1 day 00:00:00.000001", "-00:00:01", "1000 years", "0"];
const MOMENTS: [&str; 3] = [
    "infinity",
    "0044-03-15 12:00:00+00 BC",
    "2024-02-29 23:59:59.999999+00",
];
const DOCUMENTS: [&str; 4] = [r#"{"a": [1.0, null]}"#, "null", "[]", r#""\u00e9 \\ ''""#];
const REGIONS: [&str; 6] = ["france", "norway", "india", "japan", "chile", "ghana"];

/// A document. Most changes leave what is stored out of line as it is.
pub(super) fn document(choice: &mut Choice) -> Vec<String> {
    let (key, near) = (choice.key(), choice.near("shop.documents", "id"));
    let change = match choice.below(8) {
        0 => {
            return vec![format!(
                "INSERT INTO shop.documents VALUES ({key}, 'new', repeat(md5('{key}'), 100), NULL)"
            )];
        }
        1 => return vec![format!("DELETE FROM shop.documents WHERE id = {near}")],
        2 => format!("body = repeat(md5('{key}'), 150)"),
        3 => "scan = NULL".to_owned(),
        4 => format!("id = {key}"),
        5 => format!("scan = decode(repeat(md5('{key}'), 150), 'hex')"),
        _ => format!("title = 'title {key}', version = version + 1"),
    };
    vec![format!("UPDATE shop.documents SET {change} WHERE id = {near}")]
}

/// Two seats that exchange their places; a new one; one less.
pub(super) fn seat(choice: &mut Choice) -> Vec<String> {
    let (one, other) = (choice.initial(), choice.initial());
    let (key, near) = (choice.key(), choice.near("shop.seats", "id"));
    match choice.below(8) {
        0 => vec![format!("INSERT INTO shop.seats VALUES ({key}, {key})")],
        1 => vec![format!("DELETE FROM shop.seats WHERE id = {near}")],
        _ => vec![
            format!("SELECT FROM shop.seats WHERE id IN ({one}, {other}) ORDER BY id FOR UPDATE"),
            format!(
                "UPDATE shop.seats AS s SET place = o.place FROM shop.seats AS o
                 WHERE s.id IN ({one}, {other}) AND o.id IN ({one}, {other}) AND s.id <> o.id"
            ),
        ],
    }
}

/// A measurement, which may come to another year and so to another leaf.
pub(super) fn measurement(choice: &mut Choice) -> Vec<String> {
    let (key, near) = (choice.key(), choice.near("shop.measurements", "id"));
    let day = format!("date '2024-01-01' + {}", choice.below(1000));
    let value = choice.one_of(&DOUBLES);
    let statement = match choice.below(6) {
        0 => format!("INSERT INTO shop.measurements VALUES ({key}, {day}, '{value}')"),
        1 => format!("DELETE FROM shop.measurements WHERE id = {near}"),
        2 => format!("UPDATE shop.measurements SET value = '{value}' WHERE id = {near}"),
        _ => format!("UPDATE shop.measurements SET day = {day} WHERE id = {near}"),
    };
    vec![statement]
}

/// A shipment, which may go to another region and so to another leaf.
pub(super) fn shipment(choice: &mut Choice) -> Vec<String> {
    let (key, near) = (choice.key(), choice.near("shop.shipments", "id"));
    let (region, weight) = (choice.one_of(&REGIONS), choice.one_of(&REALS));
    let statement = match choice.below(6) {
        0 => format!("INSERT INTO shop.shipments VALUES ({key}, '{region}', '{weight}')"),
        1 => format!("DELETE FROM shop.shipments WHERE id = {near}"),
        2 => format!("UPDATE shop.shipments SET weight = '{weight}' WHERE id = {near}"),
        _ => format!("UPDATE shop.shipments SET region = '{region}' WHERE id = {near}"),
    };
    vec![statement]
}

/// A vehicle or a truck, which is one, too.
pub(super) fn vehicle(choice: &mut Choice) -> Vec<String> {
    let (key, near) = (choice.key(), choice.near("shop.vehicles", "id"));
    let statement = match choice.below(5) {
        0 => format!("INSERT INTO shop.vehicles VALUES ({key}, 'car {key}')"),
        1 => format!("INSERT INTO shop.trucks VALUES ({key}, 'truck {key}', 'NaN')"),
        2 => format!("DELETE FROM shop.vehicles WHERE id = {near}"),
        3 => format!("UPDATE shop.vehicles SET id = {key} WHERE id = {near}"),
        _ => format!("UPDATE shop.vehicles SET plate = 'plate {key}' WHERE id = {near}"),
    };
    vec![statement]
}

/// A rate: the key may become an equal one that reads differently.
pub(super) fn rate(choice: &mut Choice) -> Vec<String> {
    let (key, digits) = (choice.key(), 2 + choice.below(4));
    let near = choice.near_as("shop.rates", "rate", |position| format!("{position} / 100.0"));
    let statement = match choice.below(5) {
        0 => format!("INSERT INTO shop.rates VALUES ({key} / 100.0, 'new')"),
        1 => format!("DELETE FROM shop.rates WHERE rate = {near}"),
        2 => format!("UPDATE shop.rates SET note = NULL WHERE rate = {near}"),
        _ => format!("UPDATE shop.rates SET rate = round(rate, {digits}) WHERE rate = {near}"),
    };
    vec![statement]
}

/// Values at the edges of their types.
pub(super) fn oddity(choice: &mut Choice) -> Vec<String> {
    let (key, near) = (choice.key(), choice.near("shop.oddities", "id"));
    let (small, double, exact) = (
        choice.one_of(&REALS),
        choice.one_of(&DOUBLES),
        choice.one_of(&NUMERICS),
    );
    let (span, moment) = (choice.one_of(&SPANS), choice.one_of(&MOMENTS));
    let statement = match choice.below(5) {
        0 => format!(
            "INSERT INTO shop.oddities (id, small, double, exact, span, moment, data, loose)
             VALUES ({key}, '{small}', '{double}', '{exact}', '{span}', '{moment}', '{data}', '{data}')",
            data = choice.one_of(&DOCUMENTS)
        ),
        1 => format!("DELETE FROM shop.oddities WHERE id = {near}"),
        2 => format!(
            "UPDATE shop.oddities SET whole = 'empty', period = '(,\"{moment}\"]', parts = '{{[1,3),[{key},)}}',
                 host = '::ffff:10.0.0.1', raw = '\\x00ff5c', bits = B'0101', words = 'a:1 b:2' WHERE id = {near}"
        ),
        3 => format!("UPDATE shop.oddities SET small = '{small}', double = '{double}' WHERE id = {near}"),
        _ => format!("UPDATE shop.oddities SET exact = '{exact}', span = '{span}' WHERE id = {near}"),
    };
    vec![statement]
}

/// Keys of a sequence that two tables share.
pub(super) fn number(choice: &mut Choice) -> Vec<String> {
    let value = choice.below(100);
    let coupon = choice.near_in_sequence("shop.coupons", "number");
    let voucher = choice.near_in_sequence("shop.vouchers", "number");
    match choice.below(4) {
        0 => vec![format!("DELETE FROM shop.coupons WHERE number = {coupon}")],
        1 => vec![format!(
            "UPDATE shop.vouchers SET number = nextval('shop.numbers') WHERE number = {voucher}"
        )],
        _ => vec![
            format!("INSERT INTO shop.coupons (percent) VALUES ({value}), ({value})"),
            format!("INSERT INTO shop.vouchers (amount) VALUES ({value})"),
        ],
    }
}

/// A table that is told apart by all of its columns.
pub(super) fn price(choice: &mut Choice) -> Vec<String> {
    let (key, near) = (choice.key(), choice.near("shop.prices", "id"));
    let (amount, factor) = (choice.one_of(&NUMERICS), choice.one_of(&DOUBLES));
    let statement = match choice.below(5) {
        0 => format!("INSERT INTO shop.prices VALUES ({key}, '{amount}', '{factor}', NULL, 'empty')"),
        1 => format!("DELETE FROM shop.prices WHERE id = {near}"),
        2 => format!("UPDATE shop.prices SET id = {key} WHERE id = {near}"),
        3 => format!("UPDATE shop.prices SET amount = NULL, note = '' WHERE id = {near}"),
        _ => format!("UPDATE shop.prices SET amount = '{amount}', factor = '{factor}' WHERE id = {near}"),
    };
    vec![statement]
}

/// A table that is told apart by an index that is not its key.
pub(super) fn ticket(choice: &mut Choice) -> Vec<String> {
    let (key, near) = (choice.key(), choice.near("shop.tickets", "id"));
    let statement = match choice.below(5) {
        0 => format!("INSERT INTO shop.tickets VALUES ({key}, 'T{key}', NULL)"),
        1 => format!("DELETE FROM shop.tickets WHERE id = {near}"),
        2 => format!("UPDATE shop.tickets SET id = {key} WHERE id = {near}"),
        3 => format!("UPDATE shop.tickets SET code = 'T{key}' WHERE id = {near}"),
        _ => format!("UPDATE shop.tickets SET holder = 'holder {key}' WHERE id = {near}"),
    };
    vec![statement]
}

/// What happened, some of it twice the same.
pub(super) fn event(choice: &mut Choice) -> Vec<String> {
    let (data, count) = (choice.one_of(&DOCUMENTS), 1 + choice.below(3));
    vec![format!(
        "INSERT INTO shop.events (source, data) SELECT 'here', '{data}' FROM generate_series(1, {count})"
    )]
}

/// Pieces in stock. The row that violates the constraint, the first, is left alone.
pub(super) fn stock(choice: &mut Choice) -> Vec<String> {
    let (key, pieces) = (choice.key(), choice.below(100));
    let near = choice.near_as("shop.stock", "id", |position| position.max(2).to_string());
    let statement = match choice.below(4) {
        0 => format!("INSERT INTO shop.stock VALUES ({key}, {pieces})"),
        1 => format!("DELETE FROM shop.stock WHERE id = {near}"),
        _ => format!("UPDATE shop.stock SET pieces = {pieces} WHERE id = {near}"),
    };
    vec![statement]
}

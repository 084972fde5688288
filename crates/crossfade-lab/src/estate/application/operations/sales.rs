//! Money, customers, orders and products: tables that refer to each other.

use super::Choice;

/// The next number of orders, and the last one that this session took.
const NEXT: &str = "nextval(pg_get_serial_sequence('shop.orders', 'id'))";
const TAKEN: &str = "currval(pg_get_serial_sequence('shop.orders', 'id'))";

/// Money from one account to another.
pub(super) fn transfer(choice: &mut Choice) -> Vec<String> {
    let (from, to, cents) = (choice.initial(), choice.initial(), choice.below(10_000));
    if from == to {
        return Vec::new();
    }
    vec![
        format!("SELECT FROM shop.accounts WHERE id IN ({from}, {to}) ORDER BY id FOR UPDATE"),
        format!("UPDATE shop.accounts SET balance = balance - {cents} / 100.0 WHERE id = {from}"),
        format!("UPDATE shop.accounts SET balance = balance + {cents} / 100.0 WHERE id = {to}"),
    ]
}

/// A customer, new or changed. None goes, so orders always find theirs.
pub(super) fn customer(choice: &mut Choice) -> Vec<String> {
    let (key, near) = (choice.key(), choice.near_in_sequence("shop.customers", "id"));
    let change = match choice.below(5) {
        0 | 1 => {
            return vec![format!(
                "INSERT INTO shop.customers (name, email) VALUES ('customer {key}', 'Mail{key}@example.org')"
            )];
        }
        2 => format!("home = ROW('new \"street\"', NULL, {key})::shop.address"),
        3 => format!("mood = 'it''s \"odd\"', email = 'moved{key}@Example.org'"),
        _ => "home = NULL, mood = 'calm'".to_owned(),
    };
    vec![format!("UPDATE shop.customers SET {change} WHERE id = {near}")]
}

/// An order with its lines; sometimes paid for before it is there.
pub(super) fn place(choice: &mut Choice) -> Vec<String> {
    let (customer, price) = (choice.initial(), choice.below(10_000));
    let product = near_product(choice);
    let order = if choice.chance(50) {
        vec![
            format!("INSERT INTO shop.payments (order_id, amount) VALUES ({NEXT}, {price} / 100.0)"),
            format!("INSERT INTO shop.orders (id, customer, status) VALUES ({TAKEN}, {customer}, 'paid')"),
        ]
    } else {
        vec![format!(
            "INSERT INTO shop.orders (customer, remark) VALUES ({customer}, 'soon, \"please\"')"
        )]
    };
    let lines = format!(
        "INSERT INTO shop.order_lines (order_id, line, sku, quantity, price)
         SELECT {TAKEN}, line, p.sku, line, {price} / 100.0 FROM generate_series(1, 3) AS line,
             (SELECT sku FROM shop.products WHERE sku = {product} FOR KEY SHARE) AS p"
    );
    order.into_iter().chain([lines]).collect()
}

/// What becomes of an order: another state, another line, another payment, or nothing of it.
pub(super) fn order(choice: &mut Choice) -> Vec<String> {
    let (near, key) = (choice.near_in_sequence("shop.orders", "id"), choice.key());
    let statement = match choice.below(6) {
        0 => format!("DELETE FROM shop.orders WHERE id = {near}"),
        1 => format!(
            "INSERT INTO shop.payments (order_id, amount)
             SELECT id, -0.01 FROM shop.orders WHERE id = {near} FOR KEY SHARE"
        ),
        2 => format!(
            "INSERT INTO shop.order_lines (order_id, line, sku, quantity, price)
             SELECT o.id, {key}, p.sku, 2, 0.5 FROM shop.orders AS o, shop.products AS p
             WHERE o.id = {near} AND p.sku = {} FOR KEY SHARE OF o, p",
            near_product(choice)
        ),
        3 => format!("UPDATE shop.order_lines SET quantity = quantity + 1 WHERE order_id = {near}"),
        _ => {
            let status = choice.one_of(&["new", "paid", "shipped", "returned"]);
            format!("UPDATE shop.orders SET status = '{status}', remark = NULL WHERE id = {near}")
        }
    };
    vec![statement]
}

/// A product, new or changed; another key reaches the lines by its foreign key.
pub(super) fn product(choice: &mut Choice) -> Vec<String> {
    let (key, category, near) = (choice.key(), 1 + choice.below(100), near_product(choice));
    let change = match choice.below(4) {
        0 => {
            return vec![format!(
                "INSERT INTO shop.products VALUES
                     ('P{key}', {category}, '{{}}', '{{NULL,1}}', '{{calm,\"it''s \\\"odd\\\"\"}}', {category})"
            )];
        }
        1 => format!("sku = 'P{key}'"),
        2 => format!("tags = ARRAY['tag {key}', NULL, ''], sizes = '{{{{1,2}},{{3,NULL}}}}'"),
        _ => format!("price = {category} + 0.5, moods = NULL"),
    };
    vec![format!("UPDATE shop.products SET {change} WHERE sku = {near}")]
}

/// A product in another category, or in one less.
pub(super) fn link(choice: &mut Choice) -> Vec<String> {
    let (category, near) = (1 + choice.below(100), near_product(choice));
    let statement = if choice.chance(70) {
        format!(
            "INSERT INTO shop.product_categories
             SELECT sku, {category} FROM shop.products WHERE sku = {near} FOR KEY SHARE ON CONFLICT DO NOTHING"
        )
    } else {
        format!("DELETE FROM shop.product_categories WHERE sku = {near}")
    };
    vec![statement]
}

/// A category, new or under another one.
pub(super) fn category(choice: &mut Choice) -> Vec<String> {
    let (parent, id) = (1 + choice.below(100), 1 + choice.below(100));
    let statement = if choice.chance(60) {
        format!("INSERT INTO shop.categories (parent, name) VALUES ({parent}, 'new category')")
    } else {
        format!("UPDATE shop.categories SET parent = {parent} WHERE id = {id}")
    };
    vec![statement]
}

fn near_product(choice: &mut Choice) -> String {
    choice.near_as("shop.products", "sku", |position| format!("'P{position}'"))
}

//! The SQL that makes and fills the estate.
//!
//! Two schemas, `shop` and `"Back Office"`; one `CREATE TABLE` a table. Constraints and triggers that the initial
//! rows would violate or fire come after the rows.

use tokio_postgres::Client;

/// How many tables there are: partitioned ones, their leaves and the ledger included.
pub const TABLES: i64 = 40;
/// What is in each account at first. The sum over all accounts never changes.
pub const BALANCE: i64 = 1000;
/// The largest scale; beyond it the application's keys would meet the initial ones.
pub const SCALE_MAX: u32 = 400;

const TYPES: &str = include_str!("types.sql");
const SHOP: &str = include_str!("shop.sql");
const BACK_OFFICE: &str = include_str!("back_office.sql");
const ROWS: &str = include_str!("rows.sql");
const AFTER: &str = include_str!("after.sql");

/// Rows of each big table.
pub fn rows(scale: u32) -> i64 {
    i64::from(scale.clamp(1, SCALE_MAX)) * 2000
}

/// Everything but the rows and what comes after them.
pub fn create() -> String {
    [TYPES, SHOP, BACK_OFFICE].join("\n")
}

/// The initial rows.
pub fn fill(scale: u32) -> String {
    ROWS.replace(":rows", &rows(scale).to_string())
}

/// Indexes, triggers, views, and the constraint that one row violates.
pub fn finish() -> &'static str {
    AFTER
}

/// Makes and fills the estate in the database of `client`.
///
/// # Errors
/// What the server answered.
pub async fn build(client: &Client, scale: u32) -> Result<(), tokio_postgres::Error> {
    client.batch_execute(&create()).await?;
    client.batch_execute(&fill(scale)).await?;
    client.batch_execute(finish()).await
}

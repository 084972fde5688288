//! The application on `orders`: writers with a ledger, and the comparison of the whole table with it.

use anyhow::{Result, ensure};
use crossfade_lab::compare::{self, Comparison};
use crossfade_lab::orders::{Column, Row, Size, schema};
use crossfade_lab::writers::{WriterOptions, Writers, Written};

use crate::stage::Stage;
use crate::until;

/// The table of [`Orders`].
pub const TABLE: &str = "orders";
/// A change of it that touches every row and keeps their texts.
pub const RETYPE: &str = "ALTER COLUMN id TYPE bigint";

/// `orders` with its neighbours, and who writes to it.
pub struct Orders<'a> {
    stage: &'a Stage,
    writers: Writers,
}

impl<'a> Orders<'a> {
    /// Fills the tables and lets the writers go.
    ///
    /// # Errors
    /// What the server answered.
    pub async fn start(stage: &'a Stage, rows: i64, writers: u32, seed: u64) -> Result<Orders<'a>> {
        let size = Size { orders: rows };
        schema::build(&stage.client().await?, size).await?;
        let connection = stage.application();
        let writers = Writers::start(&WriterOptions {
            connection,
            writers,
            seed,
            size,
        })
        .await?;
        Ok(Orders { stage, writers })
    }

    /// Waits until so many more row changes have been acknowledged: the application goes on.
    ///
    /// # Errors
    /// It does not.
    pub async fn goes_on(&self, changes: u64) -> Result<()> {
        let goal = self.writers.changes() + changes;
        until::so(format!("{changes} more changes"), || async {
            Ok(self.writers.changes() >= goal)
        })
        .await?;
        ensure!(
            self.writers.failed_transactions() == 0,
            "a transaction of the application failed"
        );
        Ok(())
    }

    /// Stops the writers and compares the whole table with what they know.
    ///
    /// # Errors
    /// A transaction failed, or a row differs.
    pub async fn stop_and_compare(self) -> Result<Comparison> {
        self.stop_and_compare_with(&[], |row| row).await
    }

    /// As [`Orders::stop_and_compare`], with columns that the change added, and what is in them.
    ///
    /// # Errors
    /// As there.
    pub async fn stop_and_compare_with(
        self,
        added: &[&str],
        transform: impl Fn(Row) -> Row,
    ) -> Result<Comparison> {
        compare_all(self.stage, self.writers.stop().await?, added, transform).await
    }
}

/// Compares the whole table with what stopped writers know.
///
/// # Errors
/// A transaction failed, or a row differs.
pub async fn compare_all(
    stage: &Stage,
    written: Written,
    added: &[&str],
    transform: impl Fn(Row) -> Row,
) -> Result<Comparison> {
    let failures = &written.statistics.failures;
    ensure!(
        written.statistics.failed_transactions == 0,
        "transactions failed: {failures:?}"
    );
    let columns = Column::ALL
        .map(Column::name)
        .into_iter()
        .chain(added.iter().copied());
    let target = compare::Target {
        table: TABLE.to_owned(),
        columns: columns.map(str::to_owned).collect(),
    };
    let client = stage.client().await?;
    let comparison = compare::compare(&client, &target, &written.ledger, transform).await?;
    ensure!(comparison.differences() == 0, "rows differ: {comparison:?}");
    Ok(comparison)
}

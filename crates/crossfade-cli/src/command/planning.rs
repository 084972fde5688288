//! From what was asked to a plan: one read-only session, or the reasons why not.

use crossfade_core::name::MigrationName;
use crossfade_core::plan::Plan;
use crossfade_postgres::catalog::CarriedItem;
use crossfade_postgres::change::ChangeRequest;
use crossfade_postgres::connect::ConnectConfig;

use crate::failure::Failure;

pub(super) struct Planned {
    pub plan: Plan,
    pub carried: Vec<CarriedItem>,
}

/// Plans a change.
pub(super) async fn plan(
    config: &ConnectConfig,
    request: &ChangeRequest,
    name: &MigrationName,
) -> Result<Planned, Failure> {
    let _ = (config, request, name);
    Err(Failure::usage(anyhow::anyhow!("x")))
}

/// Whether the catalogs are still those that were planned.
pub(super) async fn still_valid(config: &ConnectConfig, plan: &Plan) -> Result<(), Failure> {
    let _ = (config, plan);
    Ok(())
}

pub(super) async fn template(config: &ConnectConfig, table: &str) -> Result<String, Failure> {
    let _ = (config, table);
    Ok(String::new())
}

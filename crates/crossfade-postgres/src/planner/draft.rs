//! A plan in the making: from a table found and looked around to both sides of the copy, and to the plan.

use std::collections::BTreeSet;

use crossfade_core::code::RefusalCode;
use crossfade_core::name::MigrationName;
use crossfade_core::plan::{
    CopyMode, CopyStep, Key, PLAN_VERSION, Plan, ReplicaIdentity, ServerIdentity, Source, Step, Target,
};
use crossfade_core::refusal::{Notice, Refusal};
use crossfade_core::way_back::WayBack;

use super::copy_mode;
use super::key::{KeyChoice, NoKey};
use super::notices::NameAfter;
use super::probe::{ProbeOptions, Probed};
use super::{Found, PlanError, Planned, Surroundings};
use super::{
    back, carry, foreign_keys, key, notices, nulls, old_shape, probe, source, statements, tables, target,
};
use crate::catalog::{self, Definition};
use crate::change::{Alteration, ChangeRequest, OldShapeRequest};
use crate::ident;
use crate::pace;
use crate::preflight::{self, Context, refusal};
use crate::session::{Session, SqlError};

/// A plan in the making.
pub(super) struct Draft<'a> {
    pub(super) session: &'a Session,
    pub(super) request: &'a ChangeRequest,
    pub(super) name: &'a MigrationName,
    pub(super) found: &'a Found,
    pub(super) surroundings: &'a Surroundings,
}

/// Both sides of the copy.
struct Sides {
    source: Source,
    /// What becomes of the table itself.
    successor: Option<Successor>,
    tables: Vec<tables::Planned>,
}

/// What takes the place of the source.
struct Successor {
    target: Target,
    desired: Definition,
    probed: Probed,
}

impl Draft<'_> {
    /// The plan, or all that stands in the way.
    pub(super) async fn finish(&self) -> Result<Planned, PlanError> {
        let mut refusals = self.preflight();
        refusals.extend(self.pace_query().await?);
        refusals.extend(self.readers().await?);
        let alteration = self.request.alteration.as_ref();
        refusals.extend(
            alteration
                .iter()
                .flat_map(|alteration| &alteration.refusals)
                .cloned(),
        );
        refusals.extend(self.left_behind());
        let (source, more) = self.source().await?;
        refusals.extend(more);
        let mode = self.copy_mode(&source);
        refusals.extend(mode.as_ref().err().cloned());
        if self.can_probe() {
            match (self.sides(source).await?, mode) {
                (Ok(sides), Ok(mode)) if refusals.is_empty() => {
                    return self.plan(sides, mode).await;
                }
                (Ok(_), _) => {}
                (Err(more), _) => refusals.extend(more),
            }
        }
        Err(refused(refusals))
    }

    fn context(&self) -> Context<'_> {
        Context {
            facts: &self.surroundings.facts,
            table: &self.found.name,
            name: self.name,
            limits: &self.request.limits,
            estimate: &self.surroundings.estimate,
            way_back: !self.request.way_back.off
                && (self.request.tables.is_empty() || self.request.way_back.old_shape.is_some()),
        }
    }

    fn preflight(&self) -> Vec<Refusal> {
        let mut refusals = preflight::check(&self.context());
        let attached = catalog::refuse(&self.surroundings.definition, &[]);
        refusals.extend(
            attached
                .into_iter()
                .filter(|refusal| !self.said_of_our_role(refusal)),
        );
        refusals
    }

    /// A query that cannot answer would keep the gate for pace closed for ever.
    async fn pace_query(&self) -> Result<Option<Refusal>, SqlError> {
        let Some(query) = &self.request.limits.pace_query else {
            return Ok(None);
        };
        self.session.batch_execute("SAVEPOINT crossfade").await?;
        probe::set_search_path(self.session, &self.found.search_path).await?;
        let checked = pace::check_query(self.session, query).await;
        self.session
            .batch_execute("ROLLBACK TO SAVEPOINT crossfade")
            .await?;
        Ok(checked.err().map(|error| {
            refusal(
                RefusalCode::PaceQueryUnusable,
                "limit pace_query",
                format!("It cannot be asked: {error}."),
                "Give one query that answers with one boolean or number, and that our role may run.",
            )
        }))
    }

    /// Readers that there are not.
    async fn readers(&self) -> Result<Vec<Refusal>, SqlError> {
        let readers = &self.request.readers;
        let names: Vec<&str> = readers.iter().map(|reader| reader.text.as_str()).collect();
        let there = "SELECT rolname::text FROM pg_roles WHERE rolname = ANY ($1::text[])";
        let there = self.session.query(there, &[&names]).await?;
        let there: BTreeSet<&str> = there.iter().map(|row| row.get(0)).collect();
        let missing = readers
            .iter()
            .filter(|reader| !there.contains(reader.text.as_str()));
        let missing = missing.map(|reader| {
            refusal(
                RefusalCode::RoleNotFound,
                format!("readers ({})", reader.place),
                format!("There is no role {}.", reader.text),
                "Name a role as the catalogs call it, or create it first.",
            )
        });
        Ok(missing.collect())
    }

    /// What the check of our role has said already, with the statement to run.
    fn said_of_our_role(&self, refusal: &Refusal) -> bool {
        let facts = &self.surroundings.facts;
        let of_owner =
            refusal.code == RefusalCode::NotAMember && refusal.object == format!("role {}", facts.owner);
        refusal.code == RefusalCode::PrivilegeMissing || (of_owner && !facts.owns_table)
    }

    /// The source, or what it is altered to, is in its place after the swap.
    fn source_stays(&self) -> bool {
        self.request.alteration.is_some() || self.request.keeps_source
    }

    /// What refers to a table that nothing takes the place of.
    fn left_behind(&self) -> Vec<Refusal> {
        let definition = &self.surroundings.definition;
        if self.source_stays() {
            return Vec::new();
        }
        let incoming = definition.incoming.iter().map(|key| {
            let table = key.referencing.as_ref().unwrap_or(&definition.name);
            refusal(
                RefusalCode::ForeignKeyLeftBehind,
                format!("foreign key {} on {table}", key.name),
                format!("It refers to {}, and nothing takes its place.", definition.name),
                "Drop it before the change, or keep the table with `alter`.",
            )
        });
        incoming.collect()
    }

    fn can_probe(&self) -> bool {
        let alteration = self.request.alteration.as_ref();
        let served = alteration.is_none_or(|alteration| alteration.refusals.is_empty());
        let table = self.surroundings.definition.table.kind == "r";
        served && table && self.surroundings.facts.server.may_create_schemas
    }

    async fn source(&self) -> Result<(Source, Vec<Refusal>), PlanError> {
        let columns = source::columns(self.session, self.found.oid).await?;
        let columns: Vec<source::TableColumn> =
            columns.into_iter().filter(|column| !column.generated).collect();
        let definition = &self.surroundings.definition;
        let choice = key::choose(definition);
        let mut refusals = Vec::new();
        let position = |name: &String| columns.iter().position(|column| column.column.name == *name);
        let (key, identity_to_restore) = match &choice {
            KeyChoice::Columns(names) => {
                let positions = names.iter().filter_map(position).collect();
                (Some(Key { columns: positions }), None)
            }
            KeyChoice::Keyless(why) => {
                refusals.extend(self.not_append_only(why));
                let today = &definition.table.replica_identity;
                (None, (*today != ReplicaIdentity::Full).then(|| today.clone()))
            }
        };
        let source = Source {
            name: self.found.name.clone(),
            oid: self.found.oid,
            key,
            full_identity: identity_to_restore.is_some()
                || definition.table.replica_identity == ReplicaIdentity::Full,
            identity_to_restore,
            binary: columns.iter().all(|column| column.binary),
            never_missing: Vec::new(),
            each_row_once: self.request.each_row_once,
            parts: Vec::new(),
            columns: source::in_one_form(columns),
            definition: document(definition)?,
        };
        Ok((source, refusals))
    }

    /// A keyless table is served where nothing but inserts has ever been seen in it.
    fn not_append_only(&self, why: &NoKey) -> Option<Refusal> {
        if self.surroundings.facts.changed_or_deleted == 0 {
            return None;
        }
        let table = ident::table(&self.found.name);
        Some(refusal(
            RefusalCode::NoUsableKey,
            self.found.name.to_string(),
            format!(
                "Rows of it are updated or deleted, and nothing tells them apart: {}.",
                why.words()
            ),
            &format!(
                "Run `ALTER TABLE {table} ADD PRIMARY KEY (…)`, or `ALTER TABLE {table} REPLICA IDENTITY USING \
                 INDEX …` with a unique index over columns that are NOT NULL."
            ),
        ))
    }

    async fn sides(&self, source: Source) -> Result<Result<Sides, Vec<Refusal>>, PlanError> {
        let mut refusals = Vec::new();
        let mut successor = None;
        if let Some(alteration) = &self.request.alteration {
            self.session
                .batch_execute("SAVEPOINT crossfade_successor")
                .await?;
            match self.successor(alteration, &source).await? {
                Ok(planned) => successor = Some(planned),
                Err(more) => {
                    refusals.extend(more);
                    // What the server refused has broken the transaction, and there is more to look at.
                    let back = "ROLLBACK TO SAVEPOINT crossfade_successor";
                    self.session.batch_execute(back).await?;
                }
            }
        }
        let mut tables = Vec::new();
        for (number, request) in self.request.tables.iter().enumerate() {
            let pieces = tables::Pieces {
                session: self.session,
                name: self.name,
                search_path: &self.found.search_path,
                source: &source,
                surroundings: self.surroundings,
                request,
                number,
                source_stays: self.source_stays(),
            };
            match tables::plan(&pieces).await? {
                Ok(mut planned) => {
                    planned.target.definition = document(&planned.desired)?;
                    tables.push(planned);
                }
                Err(more) => refusals.extend(more),
            }
        }
        let definitions = successor.iter().map(|successor| &successor.desired);
        refusals.extend(twice(
            definitions.chain(tables.iter().map(|table| &table.desired)),
        ));
        if refusals.is_empty() {
            refusals.extend(tables::not_once(self.session, &source, &tables).await?);
        }
        Ok(match refusals.is_empty() {
            true => Ok(Sides {
                source,
                successor,
                tables,
            }),
            false => Err(refusals),
        })
    }

    async fn successor(
        &self,
        alteration: &Alteration,
        source: &Source,
    ) -> Result<Result<Successor, Vec<Refusal>>, PlanError> {
        let today = &self.surroundings.definition;
        let options = ProbeOptions {
            source: today,
            search_path: &self.found.search_path,
        };
        let probed = match probe::probe(self.session, &options, alteration).await? {
            Ok(probed) => probed,
            Err(refusals) => return Ok(Err(refusals)),
        };
        let mut refusals = carry::not_carried(today, &probed);
        let desired = match catalog::desired(today, &probed.definition) {
            Ok(desired) => desired,
            Err(more) => {
                refusals.extend(more);
                return Ok(Err(refusals));
            }
        };
        let trial = foreign_keys::Trial {
            session: self.session,
            today,
            desired: &desired,
            clone: &probed.definition.name,
        };
        refusals.extend(trial.refusals().await?);
        let built = target::build(&target::Pieces {
            name: self.name,
            source,
            today,
            desired: &desired,
            probed: &probed,
        });
        let mut target = match built {
            Ok(target) if refusals.is_empty() => target,
            Ok(_) => return Ok(Err(refusals)),
            Err(more) => {
                refusals.extend(more);
                return Ok(Err(refusals));
            }
        };
        target.definition = document(&desired)?;
        Ok(Ok(Successor {
            target,
            desired,
            probed,
        }))
    }

    async fn plan(&self, sides: Sides, mode: (CopyMode, String)) -> Result<Planned, PlanError> {
        let notices = self.notices(&sides);
        let carried = sides
            .successor
            .as_ref()
            .map(|successor| catalog::carried(&successor.desired));
        let step = self.step(sides, mode).await?;
        let plan = Plan {
            version: PLAN_VERSION,
            name: self.name.clone(),
            server: self.server().await?,
            search_path: self.found.search_path.clone(),
            change: self.request.canonical(),
            steps: vec![Step::CopyIntoTables(Box::new(step))],
            limits: self.request.limits.clone(),
            notices,
            destination: None,
        };
        Ok(Planned {
            plan,
            carried: carried.unwrap_or_default(),
        })
    }

    /// The step there, and the step back.
    async fn step(
        &self,
        sides: Sides,
        (copy_mode, copy_mode_reason): (CopyMode, String),
    ) -> Result<CopyStep, PlanError> {
        let Sides {
            source,
            successor,
            tables,
        } = sides;
        let (mut targets, mut desired) = (Vec::new(), Vec::new());
        let (mut probed, mut probes) = (None, Vec::new());
        if let Some(successor) = successor {
            targets.push(successor.target);
            desired.push(successor.desired);
            probes.push(old_shape::Probe {
                name: successor.probed.definition.name.clone(),
                oid: successor.probed.definition.outside.oid,
            });
            probed = Some(successor.probed);
        }
        let successor = probed.as_ref().map(|_| 0);
        for table in tables {
            targets.push(table.target);
            desired.push(table.desired);
            probes.push(table.probe);
        }
        let mut step = CopyStep {
            copy_mode,
            copy_mode_reason,
            estimate: self.surroundings.estimate,
            source,
            keeps_source: self.request.keeps_source,
            targets,
            statements: Vec::new(),
            view: None,
            way_back: WayBack::default(),
            back: None,
        };
        let request = &self.request.way_back;
        let mut view = None;
        match (&probed, &request.old_shape) {
            (Some(probed), _) if self.request.tables.is_empty() => {
                let planned = self.way_back(&step, probed, &desired[0]).await?;
                let planned = planned.map_err(refused)?;
                (step.way_back, step.back) = (planned.way_back, planned.step);
            }
            (_, Some(asked)) if !request.off || asked.view.is_some() => {
                let pieces = self.old_shape(asked, &step, &desired, &probes, successor);
                let planned = old_shape::plan(&pieces).await?.map_err(refused)?;
                (step.way_back, step.back) = (planned.way_back, planned.step);
                step.view = planned.view.as_ref().map(|old_shape| old_shape.view.clone());
                view = planned.view;
            }
            (_, _) => step.way_back = back::of_a_split(request),
        }
        nulls::note(self.session, &mut step).await?;
        if let Some(back) = &mut step.back {
            nulls::note(self.session, back).await?;
        }
        step.statements = statements::list(&statements::Pieces {
            name: self.name,
            source: &step.source,
            today: &self.surroundings.definition,
            keeps_source: step.keeps_source,
            readers: &self.request.readers,
            targets: &step.targets,
            desired: &desired,
            successor,
            role: &self.surroundings.facts.server.role,
            limits: &self.request.limits,
            copy_mode: step.copy_mode,
            way_back: step.back.is_some(),
            old_shape: view.as_ref(),
        });
        Ok(step)
    }

    fn old_shape<'a>(
        &'a self,
        request: &'a OldShapeRequest,
        step: &'a CopyStep,
        desired: &'a [Definition],
        probes: &'a [old_shape::Probe],
        successor: Option<usize>,
    ) -> old_shape::Pieces<'a> {
        old_shape::Pieces {
            session: self.session,
            request,
            follows: !self.request.way_back.off,
            name: self.name,
            search_path: &self.found.search_path,
            surroundings: self.surroundings,
            limits: &self.request.limits,
            step,
            desired,
            probes,
            successor,
        }
    }

    async fn way_back(
        &self,
        step: &CopyStep,
        probed: &Probed,
        desired: &Definition,
    ) -> Result<Result<back::Planned, Vec<Refusal>>, PlanError> {
        let pieces = back::Pieces {
            session: self.session,
            request: &self.request.way_back,
            name: self.name,
            search_path: &self.found.search_path,
            surroundings: self.surroundings,
            limits: &self.request.limits,
            probed,
            desired,
            step,
        };
        back::plan(&pieces).await
    }

    fn name_after(&self, sides: &Sides) -> NameAfter {
        let name = &self.found.name;
        let view = self.request.way_back.old_shape.iter();
        let mut view = view.flat_map(|old_shape| &old_shape.view);
        if self.request.keeps_source {
            NameAfter::Kept
        } else if sides.tables.iter().any(|table| table.target.name == *name) {
            NameAfter::Table
        } else if view.any(|(view, _)| view.within(&name.schema) == *name) {
            NameAfter::View
        } else {
            NameAfter::Nothing
        }
    }

    fn notices(&self, sides: &Sides) -> Vec<Notice> {
        let today = &self.surroundings.definition;
        let mut notices = match (&sides.successor, &self.request.alteration) {
            (Some(successor), Some(alteration)) => notices::all(&notices::Pieces {
                today,
                desired: &successor.desired,
                probed: &successor.probed,
                alteration,
                keyless: sides.source.key.is_none(),
                alone: sides.tables.is_empty(),
            }),
            (None, _) | (_, None) => {
                notices::of_source(today, sides.source.key.is_none(), self.name_after(sides))
            }
        };
        for table in &sides.tables {
            notices.extend(notices::of_table(
                &table.target,
                &table.desired,
                &table.by_settings,
            ));
        }
        notices.extend(preflight::notices(&self.context()));
        notices.extend(catalog::notices(today));
        notices
    }

    fn copy_mode(&self, source: &Source) -> Result<(CopyMode, String), Refusal> {
        let key = source.key.iter().flat_map(|key| &key.columns);
        let key: Vec<&str> = key.map(|column| source.columns[*column].name.as_str()).collect();
        let pieces = copy_mode::Pieces {
            asked: self.request.copy,
            definition: &self.surroundings.definition,
            key: &key,
            estimate: &self.surroundings.estimate,
            together: self.surroundings.estimate,
            limits: &self.request.limits,
            slot_keeps_bytes: self.surroundings.facts.server.slot_keeps_bytes,
            beside: None,
        };
        pieces.choose()
    }

    async fn server(&self) -> Result<ServerIdentity, SqlError> {
        Ok(ServerIdentity {
            system_identifier: self.session.system_identifier(),
            version_num: self.session.version_num(),
            database: self.surroundings.facts.server.database.clone(),
        })
    }
}

/// Each refusal once: a check and the catalogs may have found the same thing.
fn refused(mut refusals: Vec<Refusal>) -> PlanError {
    let mut seen = BTreeSet::new();
    refusals.retain(|refusal| seen.insert((refusal.code, refusal.object.clone())));
    PlanError::Refused(refusals)
}

/// Names that two of the new tables, their indexes, sequences or partitions would have: they are built in one schema.
fn twice<'a>(definitions: impl Iterator<Item = &'a Definition>) -> Vec<Refusal> {
    let mut taken = BTreeSet::new();
    let mut refusals = Vec::new();
    for definition in definitions {
        let names = definition.relation_names().into_iter();
        for name in names.chain(definition.partition_names()) {
            if !taken.insert(name.to_owned()) {
                refusals.push(refusal(
                    RefusalCode::NameTaken,
                    format!("target {}", definition.name),
                    format!("It would have something of the name {name}, and another of the new tables has it too."),
                    "Choose another name for the table or the partition, or another index.",
                ));
            }
        }
    }
    refusals
}

fn document(definition: &Definition) -> Result<String, PlanError> {
    serde_json::to_string(definition).map_err(PlanError::Document)
}

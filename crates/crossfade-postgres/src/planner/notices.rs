//! What the user should know of a change that can be run.

use crossfade_core::code::NoticeCode;
use crossfade_core::plan::Target;
use crossfade_core::refusal::Notice;

use super::probe::Probed;
use crate::catalog::{Definition, Owned};
use crate::change::{Action, Alteration};
use crate::ident::{self, Ident};

/// What the notices are about.
pub(super) struct Pieces<'a> {
    pub(super) today: &'a Definition,
    pub(super) desired: &'a Definition,
    pub(super) probed: &'a Probed,
    pub(super) alteration: &'a Alteration,
    pub(super) keyless: bool,
    /// Nothing else is made from the table.
    pub(super) alone: bool,
}

/// What has the table's name after the swap.
#[derive(Clone, Copy)]
pub(super) enum NameAfter {
    Nothing,
    Table,
    View,
    /// The table itself.
    Kept,
}

/// Of a table that none of the new ones is an alteration of.
pub(super) fn of_source(today: &Definition, keyless: bool, name: NameAfter) -> Vec<Notice> {
    let table = today.name.to_string();
    let names = |kind: &'static str, names: Vec<&String>| -> Vec<String> {
        names.into_iter().map(|name| format!("{kind} {name}")).collect()
    };
    let attached = [
        names(
            "trigger",
            today.triggers.iter().map(|trigger| &trigger.name).collect(),
        ),
        names(
            "foreign key",
            today.foreign_keys.iter().map(|key| &key.name).collect(),
        ),
    ]
    .concat();
    let mut message = match name {
        NameAfter::Nothing => {
            "After the swap there is no table of that name: whoever names it gets an error."
        }
        NameAfter::Table => "After the swap a new table has that name: whoever names it gets that one.",
        NameAfter::View => "After the swap a view has that name, over the new tables.",
        NameAfter::Kept => {
            "It stays as it is. What is written to it after the swap is not in the new tables, nor the other way round."
        }
    }
    .to_owned();
    if !attached.is_empty() {
        message += &format!(" The new tables do not get its {}.", attached.join(", "));
    }
    let retired = Notice {
        code: match name {
            NameAfter::Kept => NoticeCode::SourceKept,
            NameAfter::Nothing | NameAfter::Table | NameAfter::View => NoticeCode::SourceRetired,
        },
        object: table.clone(),
        message,
        offer: None,
    };
    std::iter::once(retired)
        .chain(keyless.then(|| append_only(table)))
        .collect()
}

/// Of a further table.
pub(super) fn of_table(target: &Target, desired: &Definition, by_settings: &[String]) -> Vec<Notice> {
    let table = target.name.to_string();
    let of_settings = by_settings.iter().map(|what| depends_on_settings(what, &table));
    let unfilled = desired.columns.iter().filter(|column| {
        let filled = target.columns.iter().any(|filled| filled.name == column.name);
        !filled && column.generated.is_none() && (column.default.is_some() || column.identity.is_some())
    });
    let computed = unfilled.map(|column| default_per_row(&column.name, &table));
    of_settings
        .chain(computed)
        .chain(of_partitions(target, desired))
        .collect()
}

/// What its partitions cost, and what fits in none.
fn of_partitions(target: &Target, desired: &Definition) -> Vec<Notice> {
    let partitions = &desired.table.partitions;
    let notice = |code: NoticeCode, message: String| Notice {
        code,
        object: target.name.to_string(),
        message,
        offer: None,
    };
    let image: Vec<&str> = target
        .key
        .iter()
        .flatten()
        .map(|place| target.columns[*place].name.as_str())
        .collect();
    let by_key = target.derived.is_some() && !image.is_empty();
    let looked_up = (target.partitioned && by_key).then(|| {
        let message = format!(
            "Who looks for a row by {} alone looks into all of its {} partitions; so does each change that is applied.",
            image.join(", "),
            partitions.len()
        );
        notice(NoticeCode::PartitionsNotPruned, message)
    });
    let open = partitions.iter().any(|partition| partition.bound == "DEFAULT");
    let hash = desired
        .table
        .partition_key
        .as_ref()
        .is_some_and(|key| key.starts_with("HASH"));
    let closed = (target.partitioned && !open && !hash).then(|| {
        let message = "A row that fits none of its partitions stops the run, and after the swap it fails the \
                       application's statement: a partition with `values = \"DEFAULT\"` takes it.";
        notice(NoticeCode::NoDefaultPartition, message.to_owned())
    });
    looked_up.into_iter().chain(closed).collect()
}

fn append_only(table: String) -> Notice {
    Notice {
        code: NoticeCode::AppendOnly,
        object: table,
        message: "It has no key, so only inserts can be followed. The first UPDATE or DELETE succeeds as ever, and \
                  stops the run without harm to the table."
            .to_owned(),
        offer: None,
    }
}

fn depends_on_settings(what: &str, table: &str) -> Notice {
    Notice {
        code: NoticeCode::DependsOnSettings,
        object: format!("{what} of {table}"),
        message: "Its conversion depends on settings, which are pinned for it: TimeZone is UTC, DateStyle ISO, MDY."
            .to_owned(),
        offer: None,
    }
}

fn default_per_row(column: &str, table: &str) -> Notice {
    Notice {
        code: NoticeCode::DefaultPerRow,
        object: format!("column {column} of {table}"),
        message: "Its default is computed once for each row when the row is copied or applied, and kept from then on; it \
                  is not verified."
            .to_owned(),
        offer: None,
    }
}

/// All of them.
pub(super) fn all(pieces: &Pieces<'_>) -> Vec<Notice> {
    let mut notices = Vec::new();
    notices.extend(pieces.no_rewrite());
    notices.extend(pieces.keyless_table());
    notices.extend(pieces.changing_defaults());
    notices.extend(pieces.settings());
    notices.extend(pieces.sequences_left_behind());
    notices.extend(pieces.references_left_behind());
    notices
}

/// A column with another type than today, under its name of today.
struct Retyped<'a> {
    name: &'a str,
    type_name: &'a str,
}

impl Pieces<'_> {
    fn no_rewrite(&self) -> Option<Notice> {
        if self.probed.rewritten || !self.alone {
            return None;
        }
        let scans = self.alteration.actions().any(|action| match action {
            Action::AddConstraint { .. } | Action::AlterColumn { .. } => true,
            Action::AddColumn { .. }
            | Action::DropColumn { .. }
            | Action::Retype { .. }
            | Action::RenameColumn { .. }
            | Action::Other => false,
        });
        let but = if scans {
            ", though it may read it under its lock to check a constraint"
        } else {
            ""
        };
        Some(self.notice(
            NoticeCode::MetadataOnly,
            self.today.name.to_string(),
            format!("A plain ALTER TABLE does not rewrite this table{but}: a migration may not be worth it."),
            None,
        ))
    }

    fn keyless_table(&self) -> Option<Notice> {
        self.keyless.then(|| append_only(self.today.name.to_string()))
    }

    fn changing_defaults(&self) -> Vec<Notice> {
        let table = self.today.name.to_string();
        let columns = self.probed.changing_defaults.iter();
        columns.map(|column| default_per_row(column, &table)).collect()
    }

    fn settings(&self) -> Vec<Notice> {
        let table = self.today.name.to_string();
        let columns = self.probed.by_settings.iter();
        columns
            .map(|column| depends_on_settings(&format!("column {column}"), &table))
            .collect()
    }

    fn retyped(&self) -> Vec<Retyped<'_>> {
        let traced = self.desired.columns.iter().filter_map(|column| {
            let place = self.probed.lineage.get(&column.name).copied().flatten()?;
            let today = self.today.columns.get(place)?;
            (today.type_name != column.type_name).then_some(Retyped {
                name: &today.name,
                type_name: &column.type_name,
            })
        });
        traced.collect()
    }

    /// An identity column takes its sequence along; a serial's stays what it is.
    fn sequences_left_behind(&self) -> Vec<Notice> {
        let mut notices = Vec::new();
        for retyped in self.retyped() {
            let sequences = self.desired.sequences.iter().filter(|sequence| {
                sequence.owned == Owned::Serial
                    && sequence.column == retyped.name
                    && is_integer(retyped.type_name)
                    && sequence.type_name != retyped.type_name
            });
            for sequence in sequences {
                let name = ident::qualified(&self.today.name.schema, &sequence.name);
                notices.push(self.notice(
                    stays(&sequence.type_name),
                    format!("sequence {}.{}", self.today.name.schema, sequence.name),
                    format!(
                        "It fills {}, which becomes {}, and itself stays {}: it ends at {}.",
                        retyped.name, retyped.type_name, sequence.type_name, sequence.max
                    ),
                    Some(format!("ALTER SEQUENCE {name} AS {}", retyped.type_name)),
                ));
            }
        }
        notices
    }

    fn references_left_behind(&self) -> Vec<Notice> {
        let mut notices = Vec::new();
        for retyped in self.retyped() {
            for key in &self.desired.incoming {
                let ends = key.columns.iter().zip(&key.referenced_columns);
                let ends = ends.filter(|(_, referenced)| *referenced == retyped.name);
                for (column, _) in ends {
                    let Some(table) = &key.referencing else { continue };
                    notices.push(self.notice(
                        NoticeCode::ReferencingColumnStays,
                        format!("column {column} of {table}"),
                        format!(
                            "It refers to {}, which becomes {}, and itself keeps its type.",
                            retyped.name, retyped.type_name
                        ),
                        Some(format!(
                            "ALTER TABLE {} ALTER COLUMN {} TYPE {}",
                            ident::table(table),
                            Ident(column),
                            retyped.type_name
                        )),
                    ));
                }
            }
        }
        notices
    }

    fn notice(&self, code: NoticeCode, object: String, message: String, offer: Option<String>) -> Notice {
        Notice {
            code,
            object,
            message,
            offer,
        }
    }
}

/// That a sequence stays of that type.
fn stays(type_name: &str) -> NoticeCode {
    match type_name {
        "smallint" => NoticeCode::SequenceStaysSmallint,
        "integer" => NoticeCode::SequenceStaysInteger,
        _bigint => NoticeCode::SequenceStaysBigint,
    }
}

/// The types that a sequence can have.
fn is_integer(type_name: &str) -> bool {
    matches!(type_name, "smallint" | "integer" | "bigint")
}

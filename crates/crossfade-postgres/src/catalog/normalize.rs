//! Canonical order, the variations of a definition that comparisons need, and look-ups.

use crate::catalog::definition::{Column, Definition, Index, Owned};

impl Definition {
    /// Brings the lists into canonical order, which does not depend on any collation. Options and grants keep
    /// the server's order: a new table is given them in the same one, so that even its dump has the same text.
    pub(crate) fn sort(&mut self) {
        self.table.partitions.sort();
        self.name_partitions_once();
        self.table.children.sort();
        self.table.security_labels.sort();
        self.constraints.sort_by(|a, b| a.name.cmp(&b.name));
        self.foreign_keys.sort_by(|a, b| a.name.cmp(&b.name));
        self.incoming
            .sort_by(|a, b| (&a.referencing, &a.name).cmp(&(&b.referencing, &b.name)));
        self.indexes.sort_by(|a, b| a.name.cmp(&b.name));
        self.triggers.sort_by(|a, b| a.name.cmp(&b.name));
        self.rules.sort_by(|a, b| a.name.cmp(&b.name));
        self.policies.sort_by(|a, b| a.name.cmp(&b.name));
        self.sequences.sort_by(|a, b| a.name.cmp(&b.name));
        self.publications.sort_by(|a, b| a.name.cmp(&b.name));
        self.subscriptions.sort();
        self.depend.sort();
        self.depend.dedup();
    }

    /// A partitioned table's partitions are named without its schema; what hangs on them follows from the table.
    fn name_partitions_once(&mut self) {
        if self.table.kind != "p" {
            return;
        }
        if self.table.children.len() == self.table.partitions.len() {
            self.table.children.clear();
        }
        self.depend
            .retain(|edge| edge.dependent_own || !matches!(edge.kind.as_str(), "a" | "i" | "P" | "S"));
    }

    /// Names that its partitions occupy.
    pub fn partition_names(&self) -> impl Iterator<Item = &str> {
        self.table
            .partitions
            .iter()
            .map(|partition| partition.name.as_str())
    }

    /// The definition without that publication (ours, made after the plan).
    pub fn without_publication(&self, name: &str) -> Definition {
        let mut definition = self.clone();
        definition
            .publications
            .retain(|publication| publication.name != name);
        let suffix = format!(" in publication {name}");
        definition.depend.retain(|edge| {
            !(edge.dependent.starts_with("publication relation ") && edge.dependent.ends_with(&suffix))
        });
        definition
    }

    /// The definition as it is right after the swap, when no foreign key has been validated yet.
    pub fn with_fks_unvalidated(&self) -> Definition {
        let mut definition = self.clone();
        let all = definition.foreign_keys.iter_mut().chain(&mut definition.incoming);
        all.for_each(|key| key.validated = false);
        definition
    }

    /// Names that the table occupies in its schema: its own, its indexes' and its identity sequences'. A name
    /// that is here and not among the source's must be free in the source's schema.
    pub fn relation_names(&self) -> Vec<&str> {
        let identity = self
            .sequences
            .iter()
            .filter(|sequence| sequence.owned == Owned::Identity);
        std::iter::once(self.name.name.as_str())
            .chain(self.indexes.iter().map(|index| index.name.as_str()))
            .chain(identity.map(|sequence| sequence.name.as_str()))
            .collect()
    }

    /// The column of that name.
    pub fn column(&self, name: &str) -> Option<&Column> {
        self.columns.iter().find(|column| column.name == name)
    }

    /// The index of that name.
    pub fn index(&self, name: &str) -> Option<&Index> {
        self.indexes.iter().find(|index| index.name == name)
    }
}

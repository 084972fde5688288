//! Tuples of the stream into rows of the plan: order, old keys, and values that the stream left out.

use crossfade_core::change::{Cell, Change, Row};
use crossfade_core::name::TableName;
use pgoutput::message::{Delete, Insert, OldTuple, Relation, Update};
use pgoutput::tuple::{self, Tuple};

use crate::assemble::AssembleError;
use crate::shape::{HandOut, Shape, SourceChange};

/// Turns the tuples of one relation, as it was last announced, into rows.
#[derive(Debug)]
pub(crate) struct Rows {
    /// For each column of ours, its position in a tuple; `None` if the orders are the same.
    order: Option<Box<[usize]>>,
    /// For each column of ours, whether it belongs to the key.
    in_key: Box<[bool]>,
    keyless: bool,
    table: TableName,
    /// Of its shape among those of the stream.
    number: u32,
    hands_out: HandOut,
}

impl Rows {
    pub(crate) fn of(shape: &Shape, number: u32, relation: &Relation) -> Result<Self, SourceChange> {
        let order = shape.match_relation(relation)?;
        let same = order.iter().enumerate().all(|(ours, &theirs)| ours == theirs);
        let in_key = (0..shape.columns.len()).map(|column| shape.key_columns.contains(&column));
        Ok(Rows {
            order: (!same).then_some(order),
            in_key: in_key.collect(),
            keyless: shape.key_columns.is_empty(),
            table: shape.table.clone(),
            number,
            hands_out: shape.hands_out.clone(),
        })
    }

    /// Of its shape among those of the stream.
    pub(crate) fn number(&self) -> u32 {
        self.number
    }

    /// What is handed out of a change.
    pub(crate) fn handed_out(&self, change: Change) -> impl Iterator<Item = Change> + use<> {
        let (first, second) = match &self.hands_out {
            HandOut::Rows | HandOut::Whether => (Some(change), None),
            HandOut::Keys { width, columns } => touched(&change, *width, columns),
        };
        first.into_iter().chain(second)
    }

    /// A truncate of it.
    pub(crate) fn truncate(&self, restart_identity: bool) -> Result<Change, SourceChange> {
        match self.hands_out {
            HandOut::Rows | HandOut::Whether => Ok(Change::Truncate { restart_identity }),
            HandOut::Keys { .. } => Err(SourceChange::Truncated {
                table: self.table.clone(),
            }),
        }
    }

    pub(crate) fn insert(&self, insert: &Insert) -> Result<Change, AssembleError> {
        let new = self.row(&insert.new)?;
        Ok(Change::Insert { new })
    }

    /// Fills what the new tuple lacks from the old one where that has it, and drops an old key that is the
    /// new one: the server also sends it when a key value is merely stored out of line.
    pub(crate) fn update(&self, update: &Update) -> Result<Change, AssembleError> {
        let mut new = self.row(&update.new)?;
        let old = update.old.as_ref().map(|old| self.old_row(old)).transpose()?;
        if let (Some(tuple), Some(old)) = (&update.old, &old) {
            self.fill(&mut new, old, matches!(tuple, OldTuple::Full(_)));
        }
        if self.key_cells(&new).any(|cell| matches!(cell, Cell::Unchanged)) {
            return Err(AssembleError::KeyMissing);
        }
        let old_key = old.filter(|old| self.keyless || !self.key_cells(old).eq(self.key_cells(&new)));
        Ok(Change::Update { old_key, new })
    }

    pub(crate) fn delete(&self, delete: &Delete) -> Result<Change, AssembleError> {
        let old_key = self.old_row(&delete.old)?;
        Ok(Change::Delete { old_key })
    }

    fn row(&self, tuple: &Tuple) -> Result<Row, AssembleError> {
        if self.hands_out == HandOut::Whether {
            return Ok(Row(Box::default()));
        }
        if tuple.len() != self.in_key.len() {
            return Err(AssembleError::TupleWidth {
                announced: self.in_key.len(),
                found: tuple.len(),
            });
        }
        let cells = tuple.cells().map(cell);
        let Some(order) = &self.order else {
            return Ok(Row(cells.collect()));
        };
        let cells: Vec<Cell> = cells.collect();
        Ok(Row(order.iter().map(|&theirs| cells[theirs].clone()).collect()))
    }

    /// Of a key tuple the cells outside the key mean nothing; they become `Null` whatever was sent.
    fn old_row(&self, old: &OldTuple) -> Result<Row, AssembleError> {
        let mut row = self.row(old.tuple())?;
        if matches!(old, OldTuple::Key(_)) {
            let outside = row.0.iter_mut().zip(&self.in_key).filter(|(_, in_key)| !**in_key);
            outside.for_each(|(cell, _)| *cell = Cell::Null);
        }
        Ok(row)
    }

    fn fill(&self, new: &mut Row, old: &Row, old_is_full: bool) {
        let cells = new.0.iter_mut().zip(&old.0).zip(&self.in_key);
        for ((new, old), in_key) in cells {
            if matches!(new, Cell::Unchanged) && (old_is_full || *in_key) {
                *new = old.clone();
            }
        }
    }

    fn key_cells<'a>(&'a self, row: &'a Row) -> impl Iterator<Item = &'a Cell> {
        let cells = row.0.iter().zip(&self.in_key);
        cells.filter(|(_, in_key)| **in_key).map(|(cell, _)| cell)
    }
}

/// The rows of the view that a change of one of its tables touches: that of the old row and that of the new one.
fn touched(change: &Change, width: usize, columns: &[(usize, usize)]) -> (Option<Change>, Option<Change>) {
    let touch = |row: &Row| {
        let mut cells = vec![Cell::Unchanged; width];
        for (of_view, of_table) in columns {
            cells[*of_view] = row.0[*of_table].clone();
        }
        Change::Update {
            old_key: None,
            new: Row(cells.into()),
        }
    };
    match change {
        Change::Insert { new } | Change::Update { old_key: None, new } => (Some(touch(new)), None),
        Change::Delete { old_key } => (Some(touch(old_key)), None),
        Change::Update {
            old_key: Some(old),
            new,
        } => {
            let (old, new) = (touch(old), touch(new));
            let moved = old != new;
            (Some(old), moved.then_some(new))
        }
        Change::Truncate { .. } => (None, None),
    }
}

fn cell(cell: tuple::Cell) -> Cell {
    match cell {
        tuple::Cell::Null => Cell::Null,
        tuple::Cell::Unchanged => Cell::Unchanged,
        tuple::Cell::Text(bytes) => Cell::Text(bytes),
        tuple::Cell::Binary(bytes) => Cell::Binary(bytes),
    }
}

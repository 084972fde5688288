//! What was measured: cells with their samples, and the figures that follow from them.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::apply::{ApplyParameters, ApplySample};
use crate::copy::{CopyParameters, CopySample};
use crate::machine::Machine;
use crate::server::ServerFacts;
use crate::stall::{StallParameters, StallSample};
use crate::stats::Spread;

/// The form of the file; another one is not read.
pub const FORMAT: u32 = 1;

/// Everything that a run has measured, in one object.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// [`FORMAT`].
    pub format: u32,
    /// The version of Crossfade.
    pub crossfade: String,
    /// The machine of the measuring program.
    pub machine: Machine,
    /// The server.
    pub server: ServerFacts,
    /// Ways to copy.
    #[serde(default)]
    pub copy: Vec<Cell<CopyParameters, CopySample>>,
    /// Ways to drain a backlog.
    #[serde(default)]
    pub apply: Vec<Cell<ApplyParameters, ApplySample>>,
    /// A writer's latencies while a table is changed.
    #[serde(default)]
    pub stall: Vec<Cell<StallParameters, StallSample>>,
    /// What could not be measured, and why, and what makes figures doubtful.
    #[serde(default)]
    pub notes: Vec<String>,
}

impl Report {
    /// With nothing measured yet.
    pub fn new(machine: Machine, server: ServerFacts) -> Report {
        Report {
            format: FORMAT,
            crossfade: env!("CARGO_PKG_VERSION").to_owned(),
            machine,
            server,
            copy: Vec::new(),
            apply: Vec::new(),
            stall: Vec::new(),
            notes: Vec::new(),
        }
    }

    /// Writes something down that figures do not say, such as what could not be measured; once.
    pub fn note(&mut self, note: String) {
        if !self.notes.contains(&note) {
            self.notes.push(note);
        }
    }
}

/// One set of parameters, and what came of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Cell<P, S> {
    /// The parameters in one line: the same cell of another run has the same.
    pub id: String,
    /// For people, beside the other cells of its suite.
    pub label: String,
    /// The cell that its ratios are to, by its id; it may be this one, or one that could not be measured.
    pub baseline: String,
    /// See the suite.
    pub parameters: P,
    /// One for each round.
    pub samples: Vec<S>,
    /// What the samples come to; the first is the one that ratios and comparisons are about.
    pub figures: Vec<Figure>,
}

/// One quantity over all rounds of a cell.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Figure {
    /// What it is.
    pub name: String,
    /// Of its values.
    pub unit: String,
    /// Over the rounds.
    #[serde(flatten)]
    pub spread: Spread,
    /// The median as a multiple of the baseline's.
    pub ratio: Option<f64>,
}

/// What can be said of one sample.
pub trait Sample {
    /// Name, unit and value of each quantity, always the same ones in the same order.
    fn quantities(&self) -> Vec<(String, &'static str, f64)>;
}

/// Parameters that name a cell.
pub trait Parameters: Clone + PartialEq {
    /// In one line, complete.
    fn id(&self) -> String;
}

impl<P, S> Cell<P, S> {
    /// The quantity of that name.
    pub fn figure(&self, name: &str) -> Option<&Figure> {
        self.figures.iter().find(|figure| figure.name == name)
    }

    /// The others' ratios are to this one.
    pub fn is_baseline(&self) -> bool {
        self.baseline == self.id
    }

    /// The one that ratios are about.
    pub fn main_figure(&self) -> Option<&Figure> {
        self.figures.first()
    }
}

/// The cells that have the same baseline, and so belong on one page.
pub fn groups<P, S>(cells: &[Cell<P, S>]) -> Vec<Vec<&Cell<P, S>>> {
    let mut groups: Vec<Vec<&Cell<P, S>>> = Vec::new();
    for cell in cells {
        let same = |group: &&mut Vec<&Cell<P, S>>| {
            let first = group.first();
            first.is_some_and(|first| first.baseline == cell.baseline)
        };
        match groups.iter_mut().find(same) {
            Some(group) => group.push(cell),
            None => groups.push(vec![cell]),
        }
    }
    groups
}

/// The cell of these parameters, made if need be.
pub(crate) fn cell_of<'a, P: Parameters, S>(
    cells: &'a mut Vec<Cell<P, S>>,
    label: &str,
    baseline: &P,
    parameters: &P,
) -> &'a mut Cell<P, S> {
    let id = parameters.id();
    let position = cells.iter().position(|cell| cell.id == id).unwrap_or(cells.len());
    if position == cells.len() {
        cells.push(Cell {
            id,
            label: String::new(),
            baseline: String::new(),
            parameters: parameters.clone(),
            samples: Vec::new(),
            figures: Vec::new(),
        });
    }
    let cell = &mut cells[position];
    // They say how the cell stands among those of this run.
    label.clone_into(&mut cell.label);
    cell.baseline = baseline.id();
    cell
}

/// How many rounds of it are there.
pub(crate) fn rounds_of<P: Parameters, S>(cells: &[Cell<P, S>], parameters: &P) -> usize {
    let id = parameters.id();
    let found = cells.iter().find(|cell| cell.id == id);
    found.map_or(0, |cell| cell.samples.len())
}

/// Figures anew from the samples, and ratios from the figures.
pub(crate) fn settle<P, S: Sample>(cells: &mut [Cell<P, S>]) {
    for cell in &mut *cells {
        cell.figures = figures(&cell.samples);
    }
    let figures: BTreeMap<String, Vec<Figure>> = cells
        .iter()
        .map(|cell| (cell.id.clone(), cell.figures.clone()))
        .collect();
    for cell in cells {
        let baseline = figures.get(&cell.baseline).map_or(&[][..], Vec::as_slice);
        for figure in &mut cell.figures {
            let other = baseline.iter().find(|other| other.name == figure.name);
            figure.ratio = other
                .filter(|other| other.spread.median > 0.0)
                .map(|other| figure.spread.median / other.spread.median);
        }
    }
}

fn figures<S: Sample>(samples: &[S]) -> Vec<Figure> {
    let quantities: Vec<Vec<(String, &str, f64)>> = samples.iter().map(Sample::quantities).collect();
    let Some(first) = quantities.first() else {
        return Vec::new();
    };
    let figure = |(position, (name, unit, _)): (usize, &(String, &'static str, f64))| {
        let values = quantities
            .iter()
            .filter_map(|values| Some(values.get(position)?.2));
        Some(Figure {
            name: name.clone(),
            unit: (*unit).to_owned(),
            spread: Spread::of(values)?,
            ratio: None,
        })
    };
    first.iter().enumerate().filter_map(figure).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Clone, Debug, PartialEq)]
    struct Number(u32);

    impl Parameters for Number {
        fn id(&self) -> String {
            self.0.to_string()
        }
    }

    impl Sample for f64 {
        fn quantities(&self) -> Vec<(String, &'static str, f64)> {
            vec![("speed".to_owned(), "rows/s", *self)]
        }
    }

    #[test]
    fn ratios_are_to_the_baseline() {
        let mut cells = Vec::new();
        cell_of(&mut cells, "slow", &Number(1), &Number(1)).samples = vec![10.0, 1000.0, 20.0];
        cell_of(&mut cells, "fast", &Number(1), &Number(2)).samples = vec![50.0, 40.0, 30.0];
        settle(&mut cells);
        let ratios: Vec<_> = cells
            .iter()
            .map(|cell| cell.main_figure().unwrap().ratio)
            .collect();
        assert_eq!(ratios, [Some(1.0), Some(2.0)]);
        // Another run, to the same file, whose baseline was not measured.
        cell_of(&mut cells, "other", &Number(4), &Number(3)).samples = vec![1.0];
        settle(&mut cells);
        assert_eq!(cells[2].main_figure().unwrap().ratio, None);
        let sizes: Vec<usize> = groups(&cells).iter().map(Vec::len).collect();
        assert_eq!(sizes, [2, 1]);
        cells.pop();
        assert_eq!(
            (rounds_of(&cells, &Number(2)), rounds_of(&cells, &Number(3))),
            (3, 0)
        );
    }
}

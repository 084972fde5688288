//! Rows and keys as `COPY … FROM STDIN` wants them, in binary or in text.
//!
//! Cells are already in the form in which they travel, so a value is copied once, into the buffer that goes out.

use bytes::{BufMut as _, Bytes, BytesMut};
use crossfade_core::change::Cell;
use crossfade_core::piece::{KeyCells, Put};
use crossfade_core::plan::{Source, Target};

/// Signature, flags and extension length of the binary format.
const HEADER: &[u8] = b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0";

/// The field count that ends the binary format.
const TRAILER: i16 = -1;

/// A piece that cannot be sent. Each is a mistake of ours, not of the data.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum EncodeError {
    /// A cell is not in the form in which the source travels.
    #[error("send column {column}: its value is not in the plan's format")]
    Format {
        /// The source column.
        column: String,
    },
    /// A row or key has another number of cells than the plan has columns.
    #[error("send a row of {found} cells for {expected} columns")]
    Width {
        /// Columns.
        expected: usize,
        /// Cells.
        found: usize,
    },
    /// A key cell is said to be unchanged.
    #[error("send a key whose column {column} has no value")]
    KeyWithoutValue {
        /// The source column.
        column: String,
    },
    /// An expression reads kept columns beside others; the row should have been fetched (R16).
    #[error("fill target column {column}: only a part of what it reads is there")]
    Mixed {
        /// The target column, or `(filter)`.
        column: String,
    },
}

/// All puts, with the bits of what each keeps.
///
/// # Errors
/// See [`EncodeError`].
pub fn puts(source: &Source, puts: &[Put]) -> Result<Bytes, EncodeError> {
    let size: usize = puts
        .iter()
        .map(|put| put.row.size() + 4 * put.row.0.len() + 16)
        .sum();
    let mut out = Encoder::new(source.binary, size);
    for put in puts {
        let cells = &put.row.0;
        expect_width(source.columns.len(), cells.len())?;
        out.begin_row(cells.len() + 1);
        for (cell, column) in cells.iter().zip(&source.columns) {
            match cell {
                Cell::Unchanged => out.null(),
                cell => out.cell(cell, &column.name)?,
            }
        }
        out.kept(cells);
        out.end_row();
    }
    Ok(out.finish())
}

/// The keys of rows to remove.
///
/// # Errors
/// See [`EncodeError`].
pub fn keys(source: &Source, keys: &[KeyCells]) -> Result<Bytes, EncodeError> {
    let mut out = Encoder::new(source.binary, keys.len() * 24);
    for key in keys {
        out.begin_row(key.0.len());
        out.key(source, key)?;
        out.end_row();
    }
    Ok(out.finish())
}

/// Keys, each after its position in the list.
///
/// # Errors
/// See [`EncodeError`].
pub fn numbered_keys(source: &Source, keys: &[KeyCells]) -> Result<Bytes, EncodeError> {
    keys_from(source, 0, 1, keys)
}

/// Bounds, numbered from minus one downwards.
///
/// # Errors
/// See [`EncodeError`].
pub fn numbered_bounds(source: &Source, bounds: &[KeyCells]) -> Result<Bytes, EncodeError> {
    keys_from(source, -1, -1, bounds)
}

/// Keys, numbered from `first` in steps.
///
/// # Errors
/// See [`EncodeError`].
pub(crate) fn keys_from(
    source: &Source,
    first: i32,
    step: i32,
    keys: &[KeyCells],
) -> Result<Bytes, EncodeError> {
    let mut out = Encoder::new(source.binary, keys.len() * 32);
    let mut number = first;
    for key in keys {
        out.begin_row(key.0.len() + 1);
        out.number(number);
        out.key(source, key)?;
        out.end_row();
        number += step;
    }
    Ok(out.finish())
}

/// That each target column of a put that keeps something is either kept or fully given, and the key is given; of a
/// derived target everything that it reads.
///
/// # Errors
/// [`EncodeError::Mixed`].
pub fn check_keeps(target: &Target, put: &Put) -> Result<(), EncodeError> {
    let kept = |read: &usize| matches!(put.row.0.get(*read), Some(Cell::Unchanged));
    let mixed = |column: &str| EncodeError::Mixed {
        column: column.to_owned(),
    };
    if target.derived.is_some() {
        let missing = target.reads().iter().any(kept);
        return if missing { Err(mixed("(derived)")) } else { Ok(()) };
    }
    for (position, column) in target.columns.iter().enumerate() {
        let reads = &column.value.reads;
        let in_key = target.key.as_ref().is_some_and(|key| key.contains(&position));
        let allowed = if in_key { 0 } else { reads.len() };
        let missing = reads.iter().filter(|read| kept(read)).count();
        if missing != 0 && missing != allowed {
            return Err(mixed(&column.name));
        }
    }
    Ok(())
}

fn expect_width(expected: usize, found: usize) -> Result<(), EncodeError> {
    if expected == found {
        Ok(())
    } else {
        Err(EncodeError::Width { expected, found })
    }
}

struct Encoder {
    binary: bool,
    /// Text only: the row has a field already.
    started: bool,
    out: BytesMut,
}

impl Encoder {
    fn new(binary: bool, size: usize) -> Self {
        let mut out = BytesMut::with_capacity(size + HEADER.len() + 2);
        if binary {
            out.put_slice(HEADER);
        }
        Encoder {
            binary,
            started: false,
            out,
        }
    }

    fn finish(mut self) -> Bytes {
        if self.binary {
            self.out.put_i16(TRAILER);
        }
        self.out.freeze()
    }

    fn begin_row(&mut self, fields: usize) {
        self.started = false;
        if self.binary {
            // A table has at most 1,600 columns.
            self.out.put_i16(fields as i16);
        }
    }

    fn end_row(&mut self) {
        if !self.binary {
            self.out.put_u8(b'\n');
        }
    }

    fn separate(&mut self) {
        if !self.binary && std::mem::replace(&mut self.started, true) {
            self.out.put_u8(b'\t');
        }
    }

    fn null(&mut self) {
        self.separate();
        if self.binary {
            self.out.put_i32(-1);
        } else {
            self.out.put_slice(b"\\N");
        }
    }

    /// A value of at most 1 GB, as the server has it.
    fn sized(&mut self, value: &[u8]) {
        self.out.put_i32(value.len() as i32);
        self.out.put_slice(value);
    }

    fn cell(&mut self, cell: &Cell, column: &str) -> Result<(), EncodeError> {
        match (cell, self.binary) {
            (Cell::Null, _) => self.null(),
            (Cell::Binary(value), true) => self.sized(value),
            (Cell::Text(value), false) => {
                self.separate();
                escape(value, &mut self.out);
            }
            (Cell::Binary(_) | Cell::Text(_) | Cell::Unchanged, _) => {
                let column = column.to_owned();
                return Err(EncodeError::Format { column });
            }
        }
        Ok(())
    }

    fn key(&mut self, source: &Source, key: &KeyCells) -> Result<(), EncodeError> {
        let positions = source.key.as_ref().map_or(&[][..], |key| &key.columns);
        expect_width(positions.len(), key.0.len())?;
        for (cell, position) in key.0.iter().zip(positions) {
            let column = &source.columns[*position].name;
            match cell {
                Cell::Unchanged => {
                    let column = column.clone();
                    return Err(EncodeError::KeyWithoutValue { column });
                }
                cell => self.cell(cell, column)?,
            }
        }
        Ok(())
    }

    fn number(&mut self, number: i32) {
        self.separate();
        if self.binary {
            self.sized(&number.to_be_bytes());
        } else {
            self.out.put_slice(number.to_string().as_bytes());
        }
    }

    /// The kept bits as a `varbit`, leftmost bit for the first column; null when nothing is kept.
    fn kept(&mut self, cells: &[Cell]) {
        let kept = |cell: &Cell| matches!(cell, Cell::Unchanged);
        if !cells.iter().any(kept) {
            self.null();
        } else if self.binary {
            self.out.put_i32(4 + cells.len().div_ceil(8) as i32);
            self.out.put_i32(cells.len() as i32);
            for eight in cells.chunks(8) {
                let bits = eight.iter().zip((0..8).rev());
                self.out
                    .put_u8(bits.map(|(cell, bit)| u8::from(kept(cell)) << bit).sum());
            }
        } else {
            self.separate();
            for cell in cells {
                self.out.put_u8(if kept(cell) { b'1' } else { b'0' });
            }
        }
    }
}

/// A value for the text format: backslash, the separators and carriage return are escaped.
fn escape(value: &[u8], out: &mut BytesMut) {
    for byte in value {
        match byte {
            b'\\' => out.put_slice(b"\\\\"),
            b'\n' => out.put_slice(b"\\n"),
            b'\r' => out.put_slice(b"\\r"),
            b'\t' => out.put_slice(b"\\t"),
            byte => out.put_u8(*byte),
        }
    }
}

#[cfg(test)]
mod tests {
    use crossfade_core::change::Row;

    use super::super::fixture;
    use super::*;

    fn put(cells: &[Cell]) -> Put {
        Put {
            row: Row(cells.into()),
        }
    }

    fn text(value: &'static [u8]) -> Cell {
        Cell::Text(Bytes::from_static(value))
    }

    fn binary(value: &'static [u8]) -> Cell {
        Cell::Binary(Bytes::from_static(value))
    }

    #[test]
    fn text_rows_are_escaped_and_tell_null_from_empty() {
        let (mut source, _) = fixture::orders();
        source.binary = false;
        let rows = [
            put(&[text(b"1"), text(b""), Cell::Null, text(b"a\\b\tc\nd\r\\N")]),
            put(&[text(b"2"), Cell::Unchanged, text(b"x"), Cell::Unchanged]),
        ];
        let expected: &[u8] = b"1\t\t\\N\ta\\\\b\\tc\\nd\\r\\\\N\t\\N\n2\t\\N\tx\t\\N\t0101\n";
        assert_eq!(puts(&source, &rows).unwrap(), expected);
        let key = KeyCells([text(b"7")].into());
        assert_eq!(
            numbered_keys(&source, &[key.clone(), key]).unwrap(),
            &b"0\t7\n1\t7\n"[..]
        );
    }

    #[test]
    fn binary_rows_have_lengths_and_kept_bits() {
        let (source, _) = fixture::orders();
        let row = put(&[binary(b"\0\0\0\x01"), Cell::Unchanged, Cell::Null, binary(b"")]);
        let encoded = puts(&source, &[row]).unwrap();
        let mut expected = HEADER.to_vec();
        expected.extend(b"\0\x05\0\0\0\x04\0\0\0\x01\xff\xff\xff\xff\xff\xff\xff\xff\0\0\0\0");
        expected.extend(b"\0\0\0\x05\0\0\0\x04\x40\xff\xff");
        assert_eq!(encoded, expected);
    }

    #[test]
    fn other_formats_and_widths_are_errors() {
        let (source, _) = fixture::orders();
        let row = put(&[text(b"1"), Cell::Null, Cell::Null, Cell::Null]);
        let format = EncodeError::Format {
            column: "id".to_owned(),
        };
        assert_eq!(puts(&source, &[row]), Err(format));
        let narrow = puts(&source, &[put(&[Cell::Null])]);
        assert_eq!(
            narrow,
            Err(EncodeError::Width {
                expected: 4,
                found: 1
            })
        );
        let key = keys(&source, &[KeyCells([Cell::Unchanged].into())]);
        assert!(matches!(key, Err(EncodeError::KeyWithoutValue { .. })));
    }

    #[test]
    fn mixing_kept_and_given_columns_is_an_error() {
        let (_, mut target) = fixture::orders();
        target.columns[3].value = fixture::expression("status || note", &[1, 3]);
        let given = binary(b"x");
        let row =
            |status: &Cell, note: &Cell| put(&[given.clone(), status.clone(), Cell::Null, note.clone()]);
        assert!(check_keeps(&target, &row(&given, &given)).is_ok());
        assert!(check_keeps(&target, &row(&Cell::Unchanged, &Cell::Unchanged)).is_ok());
        assert!(check_keeps(&target, &row(&given, &Cell::Unchanged)).is_err());
        let (_, tags) = fixture::order_tags();
        assert!(check_keeps(&tags, &row(&Cell::Unchanged, &given)).is_ok());
        assert!(check_keeps(&tags, &row(&given, &Cell::Unchanged)).is_err());
    }
}

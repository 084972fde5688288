//! [`Tuple`]: the columns of one row as the server sent them.
//!
//! A tuple is one reference-counted slice of its message, checked once when it is decoded: a row that nobody
//! looks at costs neither an allocation nor a slice per column. [`Tuple::cells`] cuts the columns out when they
//! are wanted; each is a [`Bytes`] that shares the message's buffer (and keeps it alive).
//!
//! Invariant: `raw` holds exactly `columns` well-formed cells, so that iterating needs no errors.

use bytes::{Buf, BufMut, Bytes, BytesMut};

use crate::cursor::{Cursor, error};
use crate::error::{DecodeError, DecodeErrorKind, EncodeError};

/// One column's value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Cell {
    /// SQL `NULL`.
    Null,
    /// A TOASTed value that the update did not touch and that the server therefore did not send.
    Unchanged,
    /// The type's text form, in the session's `client_encoding`.
    Text(Bytes),
    /// The type's binary (`typsend`) form; sent only with the option `binary`, and then still not for types
    /// without a send function.
    Binary(Bytes),
}

/// The cells of one row, in the order of [`Relation::columns`](crate::message::Relation::columns).
#[derive(Clone, PartialEq, Eq)]
pub struct Tuple {
    columns: u16,
    raw: Bytes,
}

impl Tuple {
    /// A tuple of these cells.
    ///
    /// # Errors
    /// [`EncodeError::TooLong`] for more than 32,767 cells or a cell of 2 GiB or more.
    pub fn new(cells: &[Cell]) -> Result<Self, EncodeError> {
        let columns = u16::try_from(cells.len())
            .ok()
            .filter(|columns| columns.cast_signed() >= 0)
            .ok_or(EncodeError::TooLong {
                what: "tuple columns",
                length: cells.len(),
            })?;
        let mut raw = BytesMut::new();
        for cell in cells {
            cell.encode(&mut raw)?;
        }
        Ok(Tuple {
            columns,
            raw: raw.freeze(),
        })
    }

    /// How many columns the row has.
    pub fn len(&self) -> usize {
        self.columns.into()
    }

    /// Whether the row has no column.
    pub fn is_empty(&self) -> bool {
        self.columns == 0
    }

    /// The cells in column order. Each value is a slice that shares the message's buffer.
    pub fn cells(&self) -> Cells {
        Cells {
            left: self.columns,
            at: 0,
            raw: self.raw.clone(),
        }
    }

    pub(crate) fn read(cursor: &mut Cursor) -> Result<Self, DecodeError> {
        let columns = cursor.count16("tuple columns")?;
        let start = cursor.offset();
        for _ in 0..columns {
            skip_cell(cursor)?;
        }
        Ok(Tuple {
            columns,
            raw: cursor.since(start),
        })
    }

    pub(crate) fn encode(&self, out: &mut BytesMut) {
        out.put_u16(self.columns);
        out.put_slice(&self.raw);
    }
}

impl std::fmt::Debug for Tuple {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.cells()).finish()
    }
}

impl IntoIterator for &Tuple {
    type Item = Cell;
    type IntoIter = Cells;

    fn into_iter(self) -> Cells {
        self.cells()
    }
}

fn skip_cell(cursor: &mut Cursor) -> Result<(), DecodeError> {
    let offset = cursor.offset();
    match cursor.u8("tuple cell")? {
        b'n' | b'u' => Ok(()),
        b't' | b'b' => {
            let length = cursor.count32("cell length")?;
            cursor.skip("cell value", length)
        }
        tag => Err(error("tuple cell", offset, DecodeErrorKind::UnknownTag(tag))),
    }
}

impl Cell {
    fn encode(&self, out: &mut BytesMut) -> Result<(), EncodeError> {
        let mut put = |tag: u8, value: &Bytes| {
            let length = i32::try_from(value.len()).map_err(|_| EncodeError::TooLong {
                what: "cell value",
                length: value.len(),
            })?;
            out.put_u8(tag);
            out.put_i32(length);
            out.put_slice(value);
            Ok(())
        };
        match self {
            Cell::Text(value) => put(b't', value)?,
            Cell::Binary(value) => put(b'b', value)?,
            Cell::Null => out.put_u8(b'n'),
            Cell::Unchanged => out.put_u8(b'u'),
        }
        Ok(())
    }
}

/// Iterator over the cells of a [`Tuple`].
#[derive(Clone, Debug)]
pub struct Cells {
    left: u16,
    at: usize,
    raw: Bytes,
}

impl Iterator for Cells {
    type Item = Cell;

    fn next(&mut self) -> Option<Cell> {
        self.left = self.left.checked_sub(1)?;
        let tag = self.raw[self.at];
        self.at += 1;
        Some(match tag {
            b'n' => Cell::Null,
            b'u' => Cell::Unchanged,
            b't' => Cell::Text(self.value()),
            // The tuple was checked when it was made: nothing else is left.
            _ => Cell::Binary(self.value()),
        })
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.left.into(), Some(self.left.into()))
    }
}

impl ExactSizeIterator for Cells {}

impl Cells {
    fn value(&mut self) -> Bytes {
        let mut rest = &self.raw[self.at..];
        let start = self.at + 4;
        self.at = start + rest.get_u32() as usize;
        self.raw.slice(start..self.at)
    }
}

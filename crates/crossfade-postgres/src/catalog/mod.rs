//! What is attached to a table: read from the catalogs in canonical form, compared, and what is not carried
//! over refused by name.
//!
//! A [`Definition`] holds no OID and no name of its own schema but [`Definition::name`]: what belongs to the
//! table is named relative to it. So the definition of an empty clone in another schema, of the shadow and of
//! the table in its place can be compared as they are.

mod carried;
mod compare;
mod definition;
mod describe;
mod desired;
mod normalize;
mod refuse;

pub use carried::{CarriedItem, carried};
pub use compare::{Difference, compare};
pub use definition::{
    Column, Constraint, ConstraintKind, Definition, Edge, Fires, ForeignKey, Generated, Grant, Identity,
    Index, Outside, Owned, Partition, Policy, Publication, PublishedBy, RiTrigger, RowType, Rule, Sequence,
    Storage, Table, Trigger,
};
pub use describe::{CatalogError, Describe, describe, exists};
pub use desired::desired;
pub use refuse::{notices, refuse};

//! Locks in slices, who blocks us, and old snapshots.

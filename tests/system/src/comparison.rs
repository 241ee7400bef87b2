//! The comparison of the node with its peers: one load, one machine, one run.

pub mod limits;
pub mod load;
pub mod queries;
pub mod system;
pub mod table;

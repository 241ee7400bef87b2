//! The agents of several nodes in one process, over ZooKeeper's twin in memory and real
//! connections: which map they go by, who leads, and what they say of themselves.

mod clocks;
mod leading;
mod maps;
mod names;
mod stage;
mod starting;

//! Nodes that talk to each other over loopback, with a scripted handler behind each: what reaches
//! the other side, what comes back, and what a caller is told when something does not.

mod control;
mod glances;
mod harness;
mod life;
mod queries;
mod refusals;
mod writes;

//! Several nodes in one process, layer by layer: what they say to each other, which map they go by,
//! what becomes of the data. One program, so that it is linked once.

mod control;
mod plane;
mod transport;

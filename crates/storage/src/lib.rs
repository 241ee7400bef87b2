//! x

pub mod log;

pub mod db;
pub mod seal;

//! The store as its users see it, with a real folder: one program, so that it is linked once.

mod acknowledged;
mod conformance;
mod copies;
mod crashes;
mod damage;
mod extras;
mod keeper;
mod member;
mod retention;
mod union;
mod unsettled;
mod workload;

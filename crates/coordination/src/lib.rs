//! Who is alive, who leads, what the map is, and what the operator wants: the place of decisions.
//!
//! [`Coordination`] is the handle. It runs on an [`Ensemble`]: a real one of ZooKeeper
//! ([`Ensemble::zookeeper`]), or the twin in [`memory`], which does no I/O, repeats itself from a
//! seed, and can be given every fault that was seen on the real one. All that decides is written
//! once, over the narrow seam in `znodes`; one suite of contracts runs on both.
//!
//! Nothing here is on the way of a sample. While no ensemble answers, what was last known stays,
//! nothing new is decided, and everything is taken up again by itself.
//!
//! | path below the root | kind | holds | written |
//! | --- | --- | --- | --- |
//! | `/cluster` | persistent | [`Cluster`] | by `init` and upgrades |
//! | `/nodes/<node>` | ephemeral | [`Registration`]; its czxid is the incarnation | at starts |
//! | `/term` | persistent | the last leader's name; its **version is the term** | at elections |
//! | `/leader` | ephemeral | [`Leader`] | at elections |
//! | `/assignment` | persistent | the map, opaque here; empty until the first one | by the leader |
//! | `/intent/drain/<node>` and `/intent/<name>` | persistent | [`Intents`] | by the operator |
//!
//! **Invariant:** every write is conditional (a version, or the absence of the node), so a write
//! that is carried out late, or twice, does no harm. **Invariant:** what is published is fenced by
//! the term in the same transaction. **Invariant:** an outcome that is not a typed answer of the
//! server is unknown, and is settled by reading.

mod address;
mod cluster;
mod coordination;
mod core;
mod election;
mod error;
mod figures;
mod follow;
mod intents;
pub mod memory;
mod metrics;
mod paths;
mod publish;
mod record;
mod registration;
mod session;
mod topics;
mod znodes;
mod zookeeper;

pub use address::{Address, AddressError};
pub use coordination::{Coordination, Settings};
pub use election::{Candidate, Role};
pub use error::Error;
pub use figures::{Figures, FiguresError, ServerRole, watch_figures};
pub use intents::{Intent, Intents};
pub use metrics::CoordinationMetrics;
pub use publish::Version;
pub use record::{Cluster, Leader, RecordError, Registration};
pub use registration::Membership;
pub use session::SessionState;
pub use topics::{Assignment, Member, Members};
pub use znodes::{Ensemble, Refusal};
pub use zookeeper::{Credentials, ZooKeeper};

//! What holds whatever happens to single processes.

mod beginnings;
mod leading;
mod members;
mod sessions;

use bytes::Bytes;

pub use self::beginnings::*;
pub use self::leading::*;
pub use self::members::*;
pub use self::sessions::*;

fn bytes(text: &str) -> Bytes {
    Bytes::from(text.to_owned())
}

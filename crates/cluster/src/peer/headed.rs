//! Answers by their headers.

use rangekeeper_wire::proto::peer as proto;

/// An answer that begins with a header.
pub trait Headed {
    /// The header.
    fn header(&self) -> Option<&proto::Header>;
}

macro_rules! headed {
    ($($message:ident)*) => {
        $(impl Headed for proto::$message {
            fn header(&self) -> Option<&proto::Header> {
                self.header.as_ref()
            }
        })*
    };
}

headed!(ProbeAnswer AssignmentAnswer SettleAnswer DeliverAnswer SelectPart ListPart FoldPart);

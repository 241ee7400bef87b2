//! Sealing: what merges have left in many frames becomes one, encoded as well as can be.

mod states;

pub(crate) use states::SealStates;

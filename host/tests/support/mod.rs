//! What tests of hostile components stand on.

pub(crate) mod bomb;

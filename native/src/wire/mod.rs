//! The wire contract `vitals.v1` and its one validator.

mod messages;

pub use messages::{Raw, RawMessage};

/// Generated from `dataflows/contracts/vitals.proto`.
pub mod proto {
    #![allow(missing_docs, clippy::pedantic)]
    include!(concat!(env!("OUT_DIR"), "/vitals.v1.rs"));
}

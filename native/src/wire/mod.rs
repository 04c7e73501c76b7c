//! The wire contract `vitals.v1` and its one validator.

mod item;
mod messages;
mod reason;
mod subject;
mod validate;
mod vocabulary;

pub use item::{Body, Command, Frame, Item, Reading, Wave};
pub use messages::{Raw, RawMessage};
pub use reason::Reason;
pub use subject::{CONTROL, MODELS_NAME, Subject, TICK_TENANT, is_model, is_token};
pub use validate::{MAX_BYTES, Reject, Validator};
pub use vocabulary::{SignalKind, facts_of, kind_of, signal_name, ucum};

/// Generated from `dataflows/contracts/vitals.proto`.
pub mod proto {
    #![allow(missing_docs, clippy::pedantic)]
    include!(concat!(env!("OUT_DIR"), "/vitals.v1.rs"));
}

/// Bit of `Status`: electrode or probe off.
pub const LEAD_OFF: u32 = proto::Status::LeadOff as u32;
/// The patient moved.
pub const MOTION: u32 = proto::Status::Motion as u32;

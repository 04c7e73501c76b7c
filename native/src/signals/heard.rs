//! Commands that were heard: one that comes again has no second effect.
//!
//! The step `judge` remembers the same commands in the same way (`dataflows/alerts/commands.py`), so that no step acts on
//! what the other takes for a repetition.

use std::collections::VecDeque;

use crate::state::{Reader, StateError, Writer};
use crate::wire::Command;

/// So many commands are remembered.
const MAX_HEARD: usize = 64;

/// Names and keys of the last commands, by their digests.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Heard(VecDeque<u64>);

impl Heard {
    /// Whether the command comes for the first time; it is remembered then.
    pub fn is_new(&mut self, command: &Command) -> bool {
        let digest = digest(&[&command.name, &command.idempotency_key]);
        if self.0.contains(&digest) {
            return false;
        }
        if self.0.len() == MAX_HEARD {
            self.0.pop_front();
        }
        self.0.push_back(digest);
        true
    }

    /// Appends the state.
    pub fn write(&self, writer: &mut Writer) {
        writer.one(self.0.len() as u8);
        for digest in &self.0 {
            writer.one(*digest);
        }
    }

    /// Reads the state back.
    pub fn read(reader: &mut Reader<'_>) -> Result<Self, StateError> {
        let count = reader.one::<u8>()?;
        (0..count).map(|_| reader.one()).collect::<Result<_, _>>().map(Self)
    }
}

/// FNV-1a of 64 bits (Fowler, Noll, Vo 1991), with a byte between the parts that is in no text.
fn digest(parts: &[&str]) -> u64 {
    let bytes = parts.iter().flat_map(|part| part.bytes().chain([0xff]));
    bytes.fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3))
}

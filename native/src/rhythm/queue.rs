//! What was announced and is not yet due, in the order of its positions.

use std::collections::VecDeque;

use crate::state::{Reader, StateError, Writer};

/// One thing that a rule reacts to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Item {
    /// A QRS; a weak one is too small to be the ventricles' usual beat, an unusual one has another shape.
    Beat { ventricular: bool, weak: bool, unusual: bool },
    /// A pulse of a pleth or arterial wave.
    Pulse,
    /// Nothing may be concluded from here up to this sample, exclusive.
    Invalid { end: u64 },
    /// The waveform was fibrillatory up to here, from this sample on.
    Fibrillation { first: u64 },
}

/// Announced items by position. Items of one position keep one order, whatever the calls were.
#[derive(Debug, Clone, Default)]
pub(super) struct Queue(VecDeque<(u64, Item)>);

impl Item {
    /// Invalid signal first: a beat at its border joins nothing across it.
    fn rank(self) -> (u8, u64) {
        match self {
            Self::Invalid { end } => (0, end),
            Self::Fibrillation { first } => (1, first),
            Self::Pulse => (2, 0),
            Self::Beat { ventricular, weak, unusual } => {
                (3, u64::from(ventricular) | u64::from(weak) << 1 | u64::from(unusual) << 2)
            }
        }
    }
}

impl Queue {
    pub fn insert(&mut self, at: u64, item: Item) {
        let key = (at, item.rank());
        let index = self.0.iter().rposition(|&(at, item)| (at, item.rank()) <= key).map_or(0, |index| index + 1);
        self.0.insert(index, (at, item));
    }

    /// The next item before `end`.
    pub fn pop_before(&mut self, end: u64) -> Option<(u64, Item)> {
        let &(at, _) = self.0.front()?;
        if at < end { self.0.pop_front() } else { None }
    }

    pub fn write(&self, writer: &mut Writer) {
        writer.one(self.0.len() as u32);
        for &(at, item) in &self.0 {
            let (kind, value) = item.rank();
            writer.one(at).one(kind).one(value);
        }
    }

    pub fn read(reader: &mut Reader) -> Result<Self, StateError> {
        let count: u32 = reader.one()?;
        let mut queue = Self::default();
        for _ in 0..count {
            let at: u64 = reader.one()?;
            let kind: u8 = reader.one()?;
            let value: u64 = reader.one()?;
            let item = match kind {
                0 => Item::Invalid { end: value },
                1 => Item::Fibrillation { first: value },
                2 => Item::Pulse,
                3 if value < 8 => {
                    Item::Beat { ventricular: value & 1 != 0, weak: value & 2 != 0, unusual: value & 4 != 0 }
                }
                _ => return Err(StateError::Value("announced item")),
            };
            queue.insert(at, item);
        }
        Ok(queue)
    }
}

//! Snapshots: a four-letter kind, a version, length-prefixed parts and a checksum.
//!
//! Never pickled classes: a snapshot outlives the code that wrote it. What is damaged, of another kind or of an
//! unknown version is refused in words, because misread state would silence a patient's alarms.

use thiserror::Error;

/// Why a snapshot was refused.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum StateError {
    /// Shorter or longer than its own lengths say.
    #[error("snapshot has the wrong length: {0}")]
    Length(&'static str),
    /// Bytes changed since it was written.
    #[error("snapshot is damaged (checksum mismatch)")]
    Damaged,
    /// Written by something else.
    #[error("snapshot is of another kind: expected {expected}, found {found}")]
    Kind {
        /// The kind this reader restores.
        expected: String,
        /// The kind in the snapshot.
        found: String,
    },
    /// Written by a version this program does not know.
    #[error(
        "snapshot version {found} of {kind} is unknown (this program reads version {expected}); restore it with the program that wrote it"
    )]
    Version {
        /// The kind of the snapshot.
        kind: String,
        /// The version this program reads.
        expected: u16,
        /// The version in the snapshot.
        found: u16,
    },
    /// Reads back, yet makes no sense.
    #[error("snapshot holds an impossible value: {0}")]
    Value(&'static str),
}

/// Writes one snapshot.
pub struct Writer(Vec<u8>);

impl Writer {
    /// Starts a snapshot of this kind and version.
    pub fn new(kind: [u8; 4], version: u16) -> Self {
        let mut bytes = Vec::with_capacity(256);
        bytes.extend_from_slice(&kind);
        bytes.extend_from_slice(&version.to_le_bytes());
        Self(bytes)
    }

    /// Appends numbers of one kind, without a length: the reader knows how many there are.
    pub fn put<T: Number>(&mut self, values: &[T]) -> &mut Self {
        for value in values {
            value.write(&mut self.0);
        }
        self
    }

    /// Appends one number.
    pub fn one<T: Number>(&mut self, value: T) -> &mut Self {
        value.write(&mut self.0);
        self
    }

    /// Appends bytes behind their length: text, or the snapshot of a part.
    pub fn part(&mut self, bytes: &[u8]) -> &mut Self {
        self.one(bytes.len() as u32);
        self.0.extend_from_slice(bytes);
        self
    }

    /// Closes the snapshot with its checksum.
    pub fn finish(mut self) -> Vec<u8> {
        let checksum = crc32fast::hash(&self.0);
        self.0.extend_from_slice(&checksum.to_le_bytes());
        self.0
    }
}

/// Reads one snapshot back.
pub struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    /// Checks checksum, kind and version.
    pub fn open(snapshot: &'a [u8], kind: [u8; 4], version: u16) -> Result<Self, StateError> {
        let length = snapshot.len();
        if length < 10 {
            return Err(StateError::Length("shorter than an empty snapshot"));
        }
        let (body, checksum) = snapshot.split_at(length - 4);
        if crc32fast::hash(body).to_le_bytes() != checksum {
            return Err(StateError::Damaged);
        }
        if body[..4] != kind {
            let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
            return Err(StateError::Kind { expected: text(&kind), found: text(&body[..4]) });
        }
        let found = u16::from_le_bytes([body[4], body[5]]);
        if found != version {
            let kind = String::from_utf8_lossy(&kind).into_owned();
            return Err(StateError::Version { kind, expected: version, found });
        }
        Ok(Self(&body[6..]))
    }

    fn take(&mut self, count: usize) -> Result<&'a [u8], StateError> {
        if self.0.len() < count {
            return Err(StateError::Length("ends inside a part"));
        }
        let (head, rest) = self.0.split_at(count);
        self.0 = rest;
        Ok(head)
    }

    /// Reads one number.
    pub fn one<T: Number>(&mut self) -> Result<T, StateError> {
        Ok(T::read(self.take(T::SIZE)?))
    }

    /// Fills a slice of numbers.
    pub fn fill<T: Number>(&mut self, values: &mut [T]) -> Result<(), StateError> {
        for value in values {
            *value = self.one()?;
        }
        Ok(())
    }

    /// Reads bytes behind their length.
    pub fn part(&mut self) -> Result<&'a [u8], StateError> {
        let count = self.one::<u32>()? as usize;
        self.take(count)
    }

    /// Refuses bytes that nobody read.
    pub fn finish(self) -> Result<(), StateError> {
        if self.0.is_empty() { Ok(()) } else { Err(StateError::Length("longer than its parts")) }
    }
}

/// A number with a fixed little-endian form.
pub trait Number: Copy {
    /// Bytes it takes.
    const SIZE: usize;
    /// Appends it.
    fn write(self, bytes: &mut Vec<u8>);
    /// Reads it from exactly `SIZE` bytes.
    fn read(bytes: &[u8]) -> Self;
}

macro_rules! number {
    ($($type:ty),*) => {$(
        impl Number for $type {
            const SIZE: usize = size_of::<$type>();
            fn write(self, bytes: &mut Vec<u8>) {
                bytes.extend_from_slice(&self.to_le_bytes());
            }
            fn read(bytes: &[u8]) -> Self {
                let mut exact = [0; size_of::<$type>()];
                exact.copy_from_slice(bytes);
                <$type>::from_le_bytes(exact)
            }
        }
    )*};
}
number!(u8, i8, u16, i16, u32, i32, u64, i64, f32, f64);

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Vec<u8> {
        let mut writer = Writer::new(*b"TEST", 3);
        writer.one(7_u64).put(&[1.5_f32, -2.0]).part(b"inner");
        writer.finish()
    }

    #[test]
    fn reads_back_what_was_written() {
        let bytes = sample();
        let mut reader = Reader::open(&bytes, *b"TEST", 3).unwrap();
        assert_eq!(reader.one::<u64>().unwrap(), 7);
        let mut floats = [0.0_f32; 2];
        reader.fill(&mut floats).unwrap();
        assert_eq!(floats, [1.5, -2.0]);
        assert_eq!(reader.part().unwrap(), b"inner");
        reader.finish().unwrap();
    }

    #[test]
    fn refuses_damage_other_kinds_and_other_versions() {
        let bytes = sample();
        for index in 0..bytes.len() {
            let mut damaged = bytes.clone();
            damaged[index] ^= 0x10;
            assert_eq!(Reader::open(&damaged, *b"TEST", 3).err(), Some(StateError::Damaged));
        }
        assert!(matches!(Reader::open(&bytes, *b"ELSE", 3).err(), Some(StateError::Kind { .. })));
        assert!(matches!(Reader::open(&bytes, *b"TEST", 4).err(), Some(StateError::Version { found: 3, .. })));
        assert!(matches!(Reader::open(&bytes[..5], *b"TEST", 3).err(), Some(StateError::Length(_))));
    }

    #[test]
    fn refuses_bytes_left_over() {
        let bytes = sample();
        let reader = Reader::open(&bytes, *b"TEST", 3).unwrap();
        assert!(matches!(reader.finish(), Err(StateError::Length(_))));
    }
}

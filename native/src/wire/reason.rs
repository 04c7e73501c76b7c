//! Why a message was rejected: a closed list with stable names.

use std::fmt;

macro_rules! reasons {
    ($($variant:ident = $name:literal, $text:literal;)*) => {
        /// Why a message was rejected. Names are part of the contract: they are in subjects, metrics and tables.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Reason {
            $(#[doc = $text] $variant,)*
        }

        impl Reason {
            /// Every reason, in the order of the documentation.
            pub const ALL: &'static [Reason] = &[$(Reason::$variant,)*];

            /// The stable name.
            pub fn name(self) -> &'static str {
                match self { $(Reason::$variant => $name,)* }
            }

            /// One sentence for a person.
            pub fn text(self) -> &'static str {
                match self { $(Reason::$variant => $text,)* }
            }
        }
    };
}

reasons! {
    TooLarge = "too_large", "The message is over 64 KiB.";
    SubjectInvalid = "subject_invalid", "A token of the subject is not [A-Za-z0-9_-]{1,64} or is a reserved name.";
    Undecodable = "undecodable", "The bytes are no vitals.v1 frame.";
    WrongVersion = "wrong_version", "The frame's version is not 1.";
    IdentityMismatch = "identity_mismatch", "Tenant, patient, device or signal in the frame differ from the subject.";
    UnknownSignal = "unknown_signal", "The signal is not in the vocabulary.";
    BodyMismatch = "body_mismatch", "The frame's body is absent or does not belong to its signal.";
    OddByteCount = "odd_byte_count", "The samples are not whole int16 values.";
    LengthMismatch = "length_mismatch", "The number of samples does not fit the rate and the stated duration.";
    RateOutOfRange = "rate_out_of_range", "The sampling rate is outside the signal's range.";
    UnknownCode = "unknown_code", "The observation's code is not in the vocabulary.";
    ImpossibleValue = "impossible_value", "A value that no living patient and no working device can have.";
    UnitSuspect = "unit_suspect", "The unit is not one of the code's units, or the value looks like another unit's.";
    TimeAhead = "time_ahead", "The device clock is too far ahead of log time.";
    TimeImplausible = "time_implausible", "The frame is older than storage keeps.";
    Overlap = "overlap", "Another frame already claims these samples or this number with other bounds.";
    CommandInvalid = "command_invalid", "The command has no name, actor or idempotency key, or another name than its subject.";
    OverRate = "over_rate", "The device is over its budget of frames or bytes.";
    StorageRejected = "storage_rejected", "The database refused the row for its content.";
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

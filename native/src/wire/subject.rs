//! Subjects: `vitals.v1.` or, as stored, `vp.<n>.` before tenant, patient, device and signal.

/// The four tokens of a subject.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Subject<'a> {
    /// Organisation.
    pub tenant: &'a str,
    /// Pseudonym of the patient.
    pub patient: &'a str,
    /// Device, or `control` for commands.
    pub device: &'a str,
    /// Signal, or the command's name.
    pub signal: &'a str,
}

/// The device token of commands.
pub const CONTROL: &str = "control";
/// The tenant token of the broker's ticks.
pub const TICK_TENANT: &str = "tick";
/// Under this patient of that tenant models say that they live; nobody else says anything there.
const MODELS: &str = "models";
/// The same as the puller names it.
pub const MODELS_NAME: &str = "tick.models";
const MODEL_PREFIX: &str = "model-";

impl<'a> Subject<'a> {
    /// Splits a published or stored subject; `None` when it has other than six tokens.
    pub fn parse(subject: &'a str) -> Option<Self> {
        let mut tokens = subject.split('.');
        let (_, _) = (tokens.next()?, tokens.next()?);
        let parsed =
            Self { tenant: tokens.next()?, patient: tokens.next()?, device: tokens.next()?, signal: tokens.next()? };
        tokens.next().is_none().then_some(parsed)
    }

    /// Whether a model speaks, and no device.
    pub fn is_model(&self) -> bool {
        is_model(self.device)
    }

    /// Whether every token may be used as a name.
    pub fn is_valid(&self) -> bool {
        let plain = [self.tenant, self.patient, self.device, self.signal].iter().all(|token| is_token(token));
        plain && (self.tenant != TICK_TENANT || (self.patient == MODELS && self.is_model()))
    }
}

/// Whether a device of this name is a model: devices cannot be called so.
pub fn is_model(device: &str) -> bool {
    device.starts_with(MODEL_PREFIX)
}

/// `[A-Za-z0-9_-]{1,64}`.
pub fn is_token(token: &str) -> bool {
    (1..=64).contains(&token.len()) && token.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn splits_published_and_stored_subjects() {
        for subject in ["vitals.v1.main.p1.d1.ecg_ii", "vp.3.main.p1.d1.ecg_ii"] {
            let parsed = Subject::parse(subject).unwrap();
            assert_eq!((parsed.tenant, parsed.patient, parsed.device, parsed.signal), ("main", "p1", "d1", "ecg_ii"));
            assert!(parsed.is_valid());
        }
        assert_eq!(Subject::parse("vitals.v1.main.p1.d1"), None);
        assert_eq!(Subject::parse("vitals.v1.main.p1.d1.ecg.ii"), None);
    }

    #[test]
    fn refuses_odd_tokens_and_reserved_tenants() {
        assert!(Subject::parse("vp.3.tick.models.model-risk.numeric").unwrap().is_valid());
        for subject in [
            "vp.3.main.p 1.d.ecg",
            "vp.3.tick.p1.d.ecg",
            "vp.3.main.p%.d.ecg",
            "vp.3.tick.models.d.numeric",
            "vp.3.tick.p1.model-risk.numeric",
        ] {
            assert!(!Subject::parse(subject).unwrap().is_valid(), "{subject}");
        }
        assert!(!is_token(""));
        assert!(!is_token(&"x".repeat(65)));
    }
}

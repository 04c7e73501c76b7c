//! A patient's limits: a profile, and what commands changed. Rules that are judged on readings have theirs in the judge.

use std::collections::VecDeque;
use std::sync::Arc;

use serde_json::Value;

use crate::oximetry::{Limit, SpO2Limits};
use crate::rhythm::RhythmLimits;
use crate::state::{Reader, StateError, Writer};
use crate::wire::Command;

/// Names of the commands.
pub const THRESHOLD: &str = "threshold";
pub const PROFILE: &str = "profile";
/// Changes that are remembered one by one, as in the judge; older ones are folded into what was before all of them.
const MAX_CHANGES: usize = 32;
/// In a snapshot, in place of a rule: another profile.
const PROFILE_CHANGED: u8 = u8::MAX;

/// A rule whose limit can be changed: its name, from and to which limit, and whether it has a delay.
pub const DETECTOR_RULES: [(&str, f64, f64, bool); 14] = [
    ("asystole", 2.0, 10.0, false),
    ("pause", 1.5, 10.0, false),
    ("extreme_bradycardia", 20.0, 60.0, false),
    ("extreme_tachycardia", 100.0, 250.0, false),
    ("ventricular_tachycardia", 80.0, 200.0, false),
    ("ventricular_fibrillation", 4.0, 10.0, false),
    ("atrial_fibrillation", 10.0, 3600.0, false),
    ("bradycardia", 20.0, 100.0, false),
    ("tachycardia", 80.0, 250.0, false),
    ("spo2_below_90", 70.0, 95.0, true),
    ("spo2_below_85", 60.0, 92.0, true),
    ("spo2_above_target", 88.0, 100.0, true),
    ("spo2_sat_seconds", 10.0, 1000.0, false),
    ("spo2_no_data", 5.0, 300.0, false),
];
/// Longest delay of an SpO2 limit, s.
const LONGEST_DELAY_S: f64 = 600.0;

/// Who the patient is. Another profile leaves alone what was set by name: somebody chose it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(u8)]
pub enum Profile {
    /// General ward.
    #[default]
    Adult = 0,
    /// Hypercapnic failure: target of 88 to 92 %.
    Copd = 1,
    /// At home, nobody at the bedside: events of the WARD project (clinical digest 1.4, S20), longer delays.
    Home = 2,
    /// After an operation: the delay of 15 s that ward oximeters have (clinical digest 1.4, S14, S16).
    PostOp = 3,
}

impl Profile {
    const ALL: [(&'static str, Self); 4] =
        [("adult", Self::Adult), ("copd", Self::Copd), ("home", Self::Home), ("post_op", Self::PostOp)];

    /// One of the four by its name.
    pub fn of(name: &str) -> Option<Self> {
        Self::ALL.iter().find(|(known, _)| *known == name).map(|(_, profile)| *profile)
    }

    fn read(reader: &mut Reader<'_>) -> Result<Self, StateError> {
        let known = Self::ALL.get(usize::from(reader.one::<u8>()?));
        known.map(|(_, profile)| *profile).ok_or(StateError::Value("profile"))
    }

    fn limits(self) -> (RhythmLimits, SpO2Limits) {
        let (rhythm, spo2) = (RhythmLimits::default(), SpO2Limits::default());
        let limit = |limit_pct, delay_s| Some(Limit { limit_pct, delay_s });
        match self {
            Self::Adult => (rhythm, spo2),
            Self::Copd => (rhythm, SpO2Limits::copd()),
            Self::Home => (
                RhythmLimits { low_bpm: 41.0, high_bpm: 130.0, ..rhythm },
                SpO2Limits { low: limit(88.0, 60.0), very_low: limit(85.0, 15.0), sat_seconds: None, ..spo2 },
            ),
            Self::PostOp => (rhythm, SpO2Limits { low: limit(90.0, 15.0), ..spo2 }),
        }
    }
}

/// The profiles that a `profile` command may name, and whose limits the detectors take then. A deployment has its own.
#[derive(Clone, Debug, PartialEq)]
pub struct Profiles(Arc<[(String, Profile)]>);

impl Profiles {
    /// These and no others.
    pub fn new(known: impl IntoIterator<Item = (String, Profile)>) -> Self {
        Self(known.into_iter().collect())
    }

    fn of(&self, name: &str) -> Option<Profile> {
        self.0.iter().find(|(known, _)| known == name).map(|(_, profile)| *profile)
    }
}

impl Default for Profiles {
    fn default() -> Self {
        Self::new(Profile::ALL.map(|(name, profile)| (name.to_owned(), profile)))
    }
}

/// What a `threshold` command asks.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Override {
    rule: u8,
    limit: f64,
    delay_s: Option<f64>,
}

impl Override {
    fn write<'a>(&self, writer: &'a mut Writer) -> &'a mut Writer {
        writer.one(self.rule).one(self.limit).one(self.delay_s.unwrap_or(f64::NAN))
    }

    fn read(rule: u8, reader: &mut Reader<'_>) -> Result<Self, StateError> {
        let (limit, delay_s) = (reader.one()?, reader.one::<f64>()?);
        let wanted = Self { rule, limit, delay_s: (!delay_s.is_nan()).then_some(delay_s) };
        check(&wanted).map_err(|_| StateError::Value("limit of a rule"))?;
        Ok(wanted)
    }
}

/// What the detectors compare with at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Valid {
    /// Of the rhythm rules.
    pub rhythm: RhythmLimits,
    /// Of the SpO2 rules.
    pub spo2: SpO2Limits,
}

/// What commands have made of the limits.
#[derive(Clone, Debug, Default, PartialEq)]
struct View {
    profile: Profile,
    overrides: Vec<Override>,
}

impl View {
    fn apply(&mut self, asked: Asked) {
        match asked {
            Asked::Limit(wanted) => {
                self.overrides.retain(|known| known.rule != wanted.rule);
                self.overrides.push(wanted);
            }
            Asked::Profile(profile) => self.profile = profile,
        }
    }

    fn valid(&self) -> Valid {
        let (mut rhythm, mut spo2) = self.profile.limits();
        for wanted in &self.overrides {
            set(wanted, &mut rhythm, &mut spo2);
        }
        Valid { rhythm, spo2 }
    }
}

/// What one command changed.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Asked {
    Limit(Override),
    Profile(Profile),
}

/// The limits of one patient, now and before: what comes late is judged by those of its own time.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Limits {
    /// In force from the last command on.
    pub now: Valid,
    /// `log_seq` of the command that changed them last; 0 for the defaults.
    pub version: u64,
    /// In force before the first change that is remembered.
    before: View,
    /// Changes and the log times from which they hold, oldest first.
    changes: VecDeque<(i64, Asked)>,
}

impl Limits {
    /// Does what a command asks. False where it is none of ours or cannot be kept.
    pub fn apply(&mut self, command: &Command, profiles: &Profiles) -> bool {
        let asked = match command.name.as_str() {
            THRESHOLD => parse_threshold(&command.argument_json).ok().map(Asked::Limit),
            PROFILE => parse_profile(&command.argument_json, profiles).map(Asked::Profile),
            _ => None,
        };
        let Some(asked) = asked else { return false };
        if self.changes.len() == MAX_CHANGES
            && let Some((_, oldest)) = self.changes.pop_front()
        {
            self.before.apply(oldest);
        }
        self.changes.push_back((command.log_ns, asked));
        self.version = command.log_seq;
        self.now = self.at(i64::MAX);
        true
    }

    /// What was in force at an event time.
    pub fn at(&self, ns: i64) -> Valid {
        let mut view = self.before.clone();
        self.changes.iter().take_while(|(since_ns, _)| *since_ns <= ns).for_each(|(_, asked)| view.apply(*asked));
        view.valid()
    }

    /// Event times within (`after_ns`, `until_ns`] from which other limits hold.
    pub fn changes_within(&self, after_ns: i64, until_ns: i64) -> impl Iterator<Item = i64> + '_ {
        self.changes.iter().map(|(since_ns, _)| *since_ns).filter(move |ns| (after_ns + 1..=until_ns).contains(ns))
    }

    /// Appends the state.
    pub fn write(&self, writer: &mut Writer) {
        writer.one(self.version).one(self.before.profile as u8).one(self.before.overrides.len() as u8);
        for wanted in &self.before.overrides {
            wanted.write(writer);
        }
        writer.one(self.changes.len() as u8);
        for (since_ns, asked) in &self.changes {
            writer.one(*since_ns);
            match asked {
                Asked::Profile(profile) => writer.one(PROFILE_CHANGED).one(*profile as u8),
                Asked::Limit(wanted) => wanted.write(writer),
            };
        }
    }

    /// Reads the state back.
    pub fn read(reader: &mut Reader<'_>) -> Result<Self, StateError> {
        let mut limits = Self { version: reader.one()?, ..Self::default() };
        limits.before.profile = Profile::read(reader)?;
        for _ in 0..reader.one::<u8>()? {
            let rule = reader.one()?;
            limits.before.overrides.push(Override::read(rule, reader)?);
        }
        for _ in 0..reader.one::<u8>()? {
            let since_ns = reader.one()?;
            let asked = match reader.one::<u8>()? {
                PROFILE_CHANGED => Asked::Profile(Profile::read(reader)?),
                rule => Asked::Limit(Override::read(rule, reader)?),
            };
            limits.changes.push_back((since_ns, asked));
        }
        limits.now = limits.at(i64::MAX);
        Ok(limits)
    }
}

/// Why the argument of a `threshold` command is refused; `None` if it is kept.
pub fn check_threshold(argument_json: &str) -> Option<String> {
    parse_threshold(argument_json).err()
}

/// The limit of a detector's rule, and what it may be.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Usual {
    /// Name of the rule.
    pub rule: &'static str,
    /// `None`: the rule is off.
    pub limit: Option<f64>,
    /// s; `None`: it has none that can be changed.
    pub delay_s: Option<f64>,
    /// From and to which limit it may be set.
    pub range: (f64, f64),
}

/// The detectors' limits under a profile; a profile that detectors do not know leaves those of `adult`.
pub fn usual(profile: &str) -> Vec<Usual> {
    let (rhythm, spo2) = Profile::of(profile).unwrap_or_default().limits();
    DETECTOR_RULES
        .iter()
        .map(|&(rule, from, to, delayed)| {
            let (limit, delay_s) = get(rule, &rhythm, &spo2);
            Usual { rule, limit, delay_s: delay_s.filter(|_| delayed), range: (from, to) }
        })
        .collect()
}

fn get(rule: &str, rhythm: &RhythmLimits, spo2: &SpO2Limits) -> (Option<f64>, Option<f64>) {
    let limit = |now: Option<Limit>| (now.map(|limit| limit.limit_pct), now.map(|limit| limit.delay_s));
    match rule {
        "asystole" => (Some(rhythm.asystole_s), None),
        "pause" => (Some(rhythm.pause_s), None),
        "extreme_bradycardia" => (Some(rhythm.extreme_bradycardia_bpm), None),
        "extreme_tachycardia" => (Some(rhythm.extreme_tachycardia_bpm), None),
        "ventricular_tachycardia" => (Some(rhythm.ventricular_bpm), None),
        "ventricular_fibrillation" => (Some(rhythm.fibrillation_s), None),
        "atrial_fibrillation" => (Some(rhythm.atrial_fibrillation_s), None),
        "bradycardia" => (Some(rhythm.low_bpm), None),
        "tachycardia" => (Some(rhythm.high_bpm), None),
        "spo2_below_90" => limit(spo2.low),
        "spo2_below_85" => limit(spo2.very_low),
        "spo2_above_target" => limit(spo2.above_target),
        "spo2_sat_seconds" => (spo2.sat_seconds.map(|limit| limit.setting), None),
        _ => (Some(spo2.data_update_s), None),
    }
}

fn parse_threshold(argument_json: &str) -> Result<Override, String> {
    let Ok(Value::Object(fields)) = serde_json::from_str(argument_json) else {
        return Err("the argument is no JSON object".into());
    };
    let number = |name: &str| match fields.get(name) {
        None | Some(Value::Null) => Ok(None),
        Some(value) => value.as_f64().map(Some).ok_or_else(|| format!("{name} is no number")),
    };
    if let Some(name) = fields.keys().find(|name| !["rule", "limit", "clear", "delay_s"].contains(&name.as_str())) {
        return Err(format!("{name} is no part of a threshold: rule, limit, clear, delay_s"));
    }
    let name = fields.get("rule").and_then(Value::as_str).ok_or("rule is missing")?;
    let rule = DETECTOR_RULES.iter().position(|known| known.0 == name);
    let rule = rule.ok_or_else(|| format!("no detector has a limit for {name}"))? as u8;
    if number("clear")?.is_some() {
        return Err(format!("{name} clears by a margin of its detector, which cannot be changed"));
    }
    let wanted = Override { rule, limit: number("limit")?.ok_or("limit is missing")?, delay_s: number("delay_s")? };
    check(&wanted)?;
    Ok(wanted)
}

fn check(wanted: &Override) -> Result<(), String> {
    let (name, from, to, delayed) = *DETECTOR_RULES.get(usize::from(wanted.rule)).ok_or("unknown rule")?;
    if !(from..=to).contains(&wanted.limit) {
        return Err(format!("limit of {name} must be between {from} and {to}, not {}", wanted.limit));
    }
    match wanted.delay_s {
        Some(_) if !delayed => Err(format!("{name} has no delay that can be changed")),
        Some(delay_s) if !(0.0..=LONGEST_DELAY_S).contains(&delay_s) => {
            Err(format!("delay_s of {name} must be between 0 and {LONGEST_DELAY_S}, not {delay_s}"))
        }
        _ => Ok(()),
    }
}

fn parse_profile(argument_json: &str, profiles: &Profiles) -> Option<Profile> {
    let fields: Value = serde_json::from_str(argument_json).ok()?;
    let fields = fields.as_object().filter(|fields| fields.len() == 1)?;
    profiles.of(fields.get("profile")?.as_str()?)
}

fn set(wanted: &Override, rhythm: &mut RhythmLimits, spo2: &mut SpO2Limits) {
    let value = wanted.limit;
    let limit = |now: Option<Limit>, usual_s: f64| {
        let delay_s = wanted.delay_s.unwrap_or_else(|| now.map_or(usual_s, |limit| limit.delay_s));
        Some(Limit { limit_pct: value, delay_s })
    };
    match DETECTOR_RULES[usize::from(wanted.rule)].0 {
        "asystole" => rhythm.asystole_s = value,
        "pause" => rhythm.pause_s = value,
        "extreme_bradycardia" => rhythm.extreme_bradycardia_bpm = value,
        "extreme_tachycardia" => rhythm.extreme_tachycardia_bpm = value,
        "ventricular_tachycardia" => rhythm.ventricular_bpm = value,
        "ventricular_fibrillation" => rhythm.fibrillation_s = value,
        "atrial_fibrillation" => rhythm.atrial_fibrillation_s = value,
        "bradycardia" => rhythm.low_bpm = value,
        "tachycardia" => rhythm.high_bpm = value,
        "spo2_below_90" => spo2.low = limit(spo2.low, 30.0),
        "spo2_below_85" => spo2.very_low = limit(spo2.very_low, 10.0),
        "spo2_above_target" => spo2.above_target = limit(spo2.above_target, 300.0),
        "spo2_sat_seconds" => {
            let usual = SpO2Limits::default().sat_seconds;
            spo2.sat_seconds =
                spo2.sat_seconds.or(usual).map(|now| crate::oximetry::SatSecondsLimit { setting: value, ..now });
        }
        _ => spo2.data_update_s = value,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn command(name: &str, key: &str, argument_json: &str, log_seq: u64) -> Command {
        let (name, actor) = (name.into(), "nurse".into());
        Command { name, actor, idempotency_key: key.into(), argument_json: argument_json.into(), log_seq, log_ns: 0 }
    }

    fn apply(limits: &mut Limits, command: &Command) -> bool {
        limits.apply(command, &Profiles::default())
    }

    #[test]
    fn a_deployments_own_profile_takes_the_limits_that_it_names() {
        let profiles = Profiles::new([("cardiac".to_owned(), Profile::Home), ("adult".to_owned(), Profile::PostOp)]);
        let mut limits = Limits::default();
        for (name, expected) in [("cardiac", Some(Profile::Home)), ("adult", Some(Profile::PostOp)), ("copd", None)] {
            let argument = format!(r#"{{"profile": "{name}"}}"#);
            assert_eq!(limits.apply(&command("profile", name, &argument, 3), &profiles), expected.is_some(), "{name}");
            if let Some(profile) = expected {
                assert_eq!((limits.now.rhythm, limits.now.spo2), profile.limits(), "{name}");
            }
        }
    }

    #[test]
    fn a_limit_that_was_set_by_name_outlives_a_profile() {
        let mut limits = Limits::default();
        assert!(apply(&mut limits, &command("threshold", "1", r#"{"rule": "tachycardia", "limit": 135}"#, 7)));
        assert!(apply(&mut limits, &command("profile", "2", r#"{"profile": "copd"}"#, 9)));
        assert_eq!((limits.now.rhythm.high_bpm, limits.version), (135.0, 9));
        assert_eq!(limits.now.spo2, SpO2Limits::copd());
        assert!(!apply(&mut limits, &command("acknowledge", "3", "{}", 12)));
        assert!(apply(
            &mut limits,
            &command("threshold", "4", r#"{"rule": "spo2_below_90", "limit": 86, "delay_s": 45}"#, 13)
        ));
        assert_eq!(limits.now.spo2.low, Some(Limit { limit_pct: 86.0, delay_s: 45.0 }));
        let mut writer = Writer::new(*b"TEST", 1);
        limits.write(&mut writer);
        let bytes = writer.finish();
        assert_eq!(Limits::read(&mut Reader::open(&bytes, *b"TEST", 1).unwrap()).unwrap(), limits);
    }

    #[test]
    fn the_usual_limits_are_those_of_the_profile_and_may_be_set() {
        for (profile, _) in Profile::ALL {
            for one in usual(profile) {
                let Some(limit) = one.limit else { continue };
                let delay = one.delay_s.map_or_else(String::new, |delay_s| format!(r#", "delay_s": {delay_s}"#));
                assert_eq!(check_threshold(&format!(r#"{{"rule": "{}", "limit": {limit}{delay}}}"#, one.rule)), None);
            }
        }
        let of = |profile, rule| usual(profile).into_iter().find(|one| one.rule == rule).unwrap();
        assert_eq!((of("copd", "spo2_below_90").limit, of("adult", "spo2_below_90").limit), (Some(88.0), Some(90.0)));
        assert_eq!((of("adult", "spo2_above_target").limit, of("home", "spo2_sat_seconds").limit), (None, None));
        assert_eq!((of("home", "spo2_below_90").delay_s, of("home", "tachycardia").delay_s), (Some(60.0), None));
        assert_eq!(usual("somebody's own"), usual("adult"));
    }

    #[test]
    fn what_was_valid_when_is_known_back_to_what_is_remembered() {
        let mut limits = Limits::default();
        let rate = |limits: &Limits, ns| limits.at(ns).rhythm.high_bpm;
        for number in 1..=40 {
            let argument = format!(r#"{{"rule": "tachycardia", "limit": {}}}"#, 100 + number);
            let mut asked = command("threshold", &number.to_string(), &argument, number);
            asked.log_ns = 10 * number as i64;
            assert!(apply(&mut limits, &asked));
        }
        let remembered: Vec<f64> = [0, 89, 90, 99, 100, 399, 400, 9000].map(|ns| rate(&limits, ns)).into();
        assert_eq!(remembered, [108.0, 108.0, 109.0, 109.0, 110.0, 139.0, 140.0, 140.0]);
        assert_eq!(limits.changes_within(100, 130).collect::<Vec<_>>(), [110, 120, 130]);
        assert_eq!(limits.now, limits.at(i64::MAX));
        let mut writer = Writer::new(*b"TEST", 1);
        limits.write(&mut writer);
        let bytes = writer.finish();
        assert!(bytes.len() < 1200, "{} bytes", bytes.len());
        assert_eq!(Limits::read(&mut Reader::open(&bytes, *b"TEST", 1).unwrap()).unwrap(), limits);
    }

    #[test]
    fn what_cannot_be_kept_is_refused_in_words() {
        for (argument, why) in [
            ("{", "no JSON object"),
            ("[1]", "no JSON object"),
            (r#"{"limit": 3}"#, "rule is missing"),
            (r#"{"rule": "asystole"}"#, "limit is missing"),
            (r#"{"rule": "asystole", "limit": "4"}"#, "limit is no number"),
            (r#"{"rule": "asystole", "limit": 30}"#, "between 2 and 10"),
            (r#"{"rule": "asystole", "limit": 4, "delay_s": 9}"#, "no delay"),
            (r#"{"rule": "tachycardia", "limit": 120, "clear": 100}"#, "clears by a margin"),
            (r#"{"rule": "spo2_below_85", "limit": 80, "delay_s": 6000}"#, "between 0 and 600"),
            (r#"{"rule": "hr_high", "limit": 120}"#, "no detector has a limit for hr_high"),
            (r#"{"rule": "asystole", "limit": 4, "colour": 1}"#, "colour is no part"),
        ] {
            let refused = check_threshold(argument).unwrap_or_default();
            assert!(refused.contains(why), "{argument}: {refused}");
            let mut limits = Limits::default();
            assert!(!apply(&mut limits, &command("threshold", "1", argument, 5)));
            assert_eq!(limits, Limits::default());
        }
        assert_eq!(check_threshold(r#"{"rule": "spo2_no_data", "limit": 60, "clear": null}"#), None);
        for (name, from, to, delayed) in DETECTOR_RULES {
            for limit in [from, to] {
                let mut limits = Limits::default();
                let argument = format!(
                    r#"{{"rule": "{name}", "limit": {limit}{}}}"#,
                    if delayed { r#", "delay_s": 0"# } else { "" }
                );
                assert!(apply(&mut limits, &command("threshold", "1", &argument, 5)), "{argument}");
                assert!(limits.now.rhythm.checked().is_ok() && limits.now.spo2.check().is_ok(), "{argument}");
                assert_ne!(limits.version, 0);
                let (told, delay_s) = get(name, &limits.now.rhythm, &limits.now.spo2);
                assert_eq!((told, delay_s.filter(|_| delayed)), (Some(limit), delayed.then_some(0.0)), "{argument}");
            }
        }
    }
}

//! Named sets of rules for scoring desaturations.
//!
//! Published scorers agree on "3 %" and on little else (five times as many events from one as from another on the
//! same nights), so the rules have a name that is stored beside every index.

use super::ConfigError;
use super::median::LONGEST;
use super::reading::{PER_PCT, points};

/// Which rules a detector scores by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Profile {
    /// Median of 5 s, and a depth counts once it has been shown for 5 s: fewest falls that are only flicker.
    #[default]
    Standard,
    /// Every reading as it is: closest to how technicians score.
    Sensitive,
}

/// What a profile says, in seconds and points.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Rules {
    /// Window of the running median; 0: none.
    pub median_s: f64,
    /// A turn is a change of direction by this many points: 1.34 is two steps of a 1 % device, four of a 0.34 one.
    pub turn_pct: f64,
    /// Readings within this of a level are on it.
    pub level_pct: f64,
    /// A fall reaches the threshold at this rate or faster, points/s (ABOSA, clinical digest 1.2).
    pub slowest_pct_per_s: f64,
    /// A change faster than this is no blood, points/s (Taha 1997; clinical digest 1.3).
    pub fastest_pct_per_s: f64,
    /// A reading off by more counts once it has lasted so long.
    pub spike_s: f64,
    /// On a display of whole percents, a depth counts when it has been shown for so long in all.
    pub held_s: f64,
    /// From the onset to the last sample near the nadir.
    pub shortest_s: f64,
    /// A fall that has not turned by then is sustained.
    pub longest_s: f64,
    /// Time between two readings that are no further apart counts as covered by them.
    pub bridge_s: f64,
    /// Missing readings up to here leave the state alone; a longer gap ends it.
    pub gap_s: f64,
}

const STANDARD: Rules = Rules {
    median_s: 5.0,
    turn_pct: 1.34,
    level_pct: 0.34,
    slowest_pct_per_s: 0.05,
    fastest_pct_per_s: 4.0,
    spike_s: 8.0,
    held_s: 5.0,
    shortest_s: 10.0,
    longest_s: 180.0,
    bridge_s: 5.0,
    gap_s: 30.0,
};

impl Profile {
    /// Every profile.
    pub const ALL: [Self; 2] = [Self::Standard, Self::Sensitive];

    /// Its stable name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Standard => "standard",
            Self::Sensitive => "sensitive",
        }
    }

    /// The profile of a name.
    pub fn of(name: &str) -> Result<Self, ConfigError> {
        let found = Self::ALL.into_iter().find(|profile| profile.name() == name);
        found.ok_or_else(|| ConfigError::Profile(name.to_owned()))
    }

    /// What it says.
    pub fn rules(self) -> Rules {
        match self {
            Self::Standard => STANDARD,
            Self::Sensitive => Rules { median_s: 0.0, held_s: 0.0, ..STANDARD },
        }
    }
}

/// The rules for one rate and threshold, in samples and thousandths of a percent.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Counts {
    /// Width of the median, odd.
    pub median: usize,
    /// Threshold.
    pub drop: i32,
    /// Turn.
    pub turn: i32,
    /// Tolerance of a level.
    pub level: i32,
    /// Samples in which a fall reaches the threshold.
    pub to_drop: u64,
    /// Change allowed between two readings, however close.
    pub slew: i32,
    /// Samples in one second, at least 1.
    pub second: u64,
    /// See `Rules`.
    pub spike: u64,
    /// See `Rules`.
    pub held: u64,
    /// See `Rules`.
    pub shortest: u64,
    /// See `Rules`.
    pub longest: u64,
    /// See `Rules`.
    pub bridge: u64,
    /// See `Rules`.
    pub gap: u64,
    /// Change allowed per sample of the time between two readings that are more than a second apart.
    pub slew_per_sample: i32,
}

impl Counts {
    /// Checks rate and threshold.
    pub fn new(fs_hz: f64, drop_pct: f64, rules: &Rules) -> Result<Self, ConfigError> {
        if !(0.1..=10.0).contains(&fs_hz) {
            return Err(ConfigError::Rate(fs_hz));
        }
        if !(0.5..=50.0).contains(&drop_pct) {
            return Err(ConfigError::Drop(drop_pct));
        }
        let samples = |seconds: f64| (seconds * fs_hz).round() as u64;
        let thousandths = |pct: f64| (pct * PER_PCT).round() as i32;
        let drop = points(drop_pct);
        let slew = thousandths(rules.fastest_pct_per_s);
        Ok(Self {
            median: (samples(rules.median_s) as usize | 1).min(LONGEST),
            drop,
            turn: thousandths(rules.turn_pct).min(drop),
            level: thousandths(rules.level_pct),
            to_drop: samples((drop_pct / rules.slowest_pct_per_s).min(rules.longest_s)),
            slew,
            second: samples(1.0).max(1),
            spike: samples(rules.spike_s),
            held: samples(rules.held_s),
            shortest: samples(rules.shortest_s),
            longest: samples(rules.longest_s),
            bridge: samples(rules.bridge_s).max(1),
            gap: samples(rules.gap_s),
            slew_per_sample: (f64::from(slew) / fs_hz) as i32,
        })
    }
}

//! One reading: what is a value, and what is none.

use crate::state::StateError;

/// Thousandths of a percent.
pub(super) const PER_PCT: f64 = 1000.0;
/// Lowest reading: below it devices and published scorers speak of artefact (clinical digest 1.3).
pub(super) const LOWEST_PCT: f64 = 50.0;
/// Highest reading.
pub(super) const HIGHEST_PCT: f64 = 100.0;
const LOWEST: i32 = 50_000;
/// 100 % in thousandths.
pub(super) const FULL: i32 = 100_000;

/// The reading in thousandths of a percent; `None` for NaN and everything outside 50..=100 (0, 127 and 255 are
/// what devices send without a finger).
///
/// Rounds by way of `f32`: a series stored in either width gives the same whole numbers.
#[inline]
pub(super) fn reading(value: f64) -> Option<i32> {
    (LOWEST_PCT..=HIGHEST_PCT).contains(&value).then(|| (f64::from(value as f32) * PER_PCT + 0.5) as i32)
}

/// Back to percent.
pub(super) fn pct(thousandths: i32) -> f64 {
    f64::from(thousandths) / PER_PCT
}

/// Points in thousandths; a threshold is never met by less than it says.
pub(super) fn points(pct: f64) -> i32 {
    (pct * PER_PCT - 1e-6).ceil() as i32
}

/// A reading in two bytes of a snapshot.
pub(super) fn compact(reading: i32) -> u16 {
    (reading - LOWEST) as u16
}

/// Back from a snapshot.
pub(super) fn expand(compact: u16) -> Result<i32, StateError> {
    let reading = i32::from(compact) + LOWEST;
    if reading > FULL { Err(StateError::Value("no such reading")) } else { Ok(reading) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn knows_readings_from_none() {
        for none in [f64::NAN, f64::INFINITY, -97.0, 0.0, 49.0, 49.999_999_999, 100.000_000_1, 127.0, 255.0] {
            assert_eq!(reading(none), None, "{none}");
        }
        assert_eq!([50.0, 97.3, 100.0].map(reading), [Some(50_000), Some(97_300), Some(100_000)]);
    }

    #[test]
    fn both_float_widths_are_one_number() {
        for tenth in 500..=1000 {
            let value = f64::from(tenth) / 10.0;
            assert_eq!(reading(value), Some(tenth * 100));
            assert_eq!(reading(f64::from(value as f32)), Some(tenth * 100));
        }
    }

    #[test]
    fn a_threshold_is_exact() {
        assert_eq!([3.0, 3.3, 0.5, 2.999_9].map(points), [3000, 3300, 500, 3000]);
    }
}

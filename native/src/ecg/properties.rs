//! What holds for every stream: any cut gives the same bits, nothing panics, snapshots change nothing.
//!
//! 256 cases of each; `PROPTEST_CASES=20000 cargo test --release --no-default-features ecg::properties` tries more.

use proptest::prelude::*;

use super::{LeadOutput, QrsDetector};

/// Something done to a detector.
#[derive(Debug, Clone)]
enum Step {
    Integers(Vec<i16>),
    Floats(Vec<f64>),
    Gap(u64),
    Flush,
}

/// An ECG-like stretch: narrow peaks at a period, with an amplitude, some noise and some invalid samples.
fn heartbeats() -> impl Strategy<Value = Vec<i16>> {
    (200_usize..3000, 90_usize..400, 20_i32..2000, any::<u32>()).prop_map(|(count, period, height, mut state)| {
        let sample = |i: usize| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            if state >> 22 == 0 {
                return i16::MIN;
            }
            let near = (i % period) as i32 - 20;
            let peak = (height - near.abs() * height / 8).max(0);
            (peak + (state >> 28) as i32) as i16
        };
        (0..count).map(sample).collect()
    })
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => heartbeats().prop_map(Step::Integers),
        2 => prop::collection::vec(any::<i16>(), 0..800).prop_map(Step::Integers),
        2 => prop::collection::vec(any::<f64>(), 0..400).prop_map(Step::Floats),
        1 => prop::collection::vec(-1e12..1e12, 0..400).prop_map(Step::Floats),
        1 => prop_oneof![0_u64..2000, any::<u64>()].prop_map(Step::Gap),
        1 => Just(Step::Flush),
    ]
}

fn rates() -> impl Strategy<Value = f64> {
    prop_oneof![Just(250.0), Just(360.0), Just(128.0), 100.0..1000.0]
}

impl Step {
    fn apply(&self, detector: &mut QrsDetector, out: &mut LeadOutput) {
        match self {
            Self::Integers(samples) => detector.push_i16(samples, out),
            Self::Floats(samples) => detector.push_f64(samples, out),
            Self::Gap(count) => detector.gap(*count, out),
            Self::Flush => detector.flush(out),
        }
    }

    /// The same in two parts.
    fn halves(&self, at: usize) -> Vec<Self> {
        match self {
            Self::Integers(samples) => {
                let (a, b) = samples.split_at(at % (samples.len() + 1));
                vec![Self::Integers(a.to_vec()), Self::Integers(b.to_vec())]
            }
            Self::Floats(samples) => {
                let (a, b) = samples.split_at(at % (samples.len() + 1));
                vec![Self::Floats(a.to_vec()), Self::Floats(b.to_vec())]
            }
            Self::Gap(count) => {
                let first = at as u64 % (count.saturating_add(1)).max(1);
                vec![Self::Gap(first), Self::Gap(count - first)]
            }
            Self::Flush => vec![Self::Flush],
        }
    }
}

proptest! {
    #[test]
    fn cuts_and_restarts_change_no_bit(
        fs_hz in rates(),
        steps in prop::collection::vec((step(), any::<usize>()), 1..6),
    ) {
        let (mut whole, mut cut) = (QrsDetector::new(fs_hz).unwrap(), QrsDetector::new(fs_hz).unwrap());
        let (mut expected, mut found) = (LeadOutput::default(), LeadOutput::default());
        for (step, at) in &steps {
            step.apply(&mut whole, &mut expected);
            for half in step.halves(*at) {
                half.apply(&mut cut, &mut found);
                let snapshot = cut.snapshot();
                prop_assert!(snapshot.len() <= 4096, "{} bytes", snapshot.len());
                cut = QrsDetector::restore(&snapshot).unwrap();
                prop_assert_eq!(cut.snapshot(), snapshot);
            }
            prop_assert_eq!(whole.samples(), cut.samples());
            prop_assert!(whole.certain_until() <= whole.samples());
        }
        prop_assert_eq!(&expected, &found);
        prop_assert!(expected.beats.windows(2).all(|pair| pair[0].sample < pair[1].sample));
        prop_assert!(expected.beats.iter().all(|beat| (0.0..=1.0).contains(&beat.confidence)));
        prop_assert!(expected.quality.iter().all(|second| (0.0..=1.0).contains(&second.quality)));
    }

    #[test]
    fn a_forged_snapshot_is_refused_or_harmless(
        fs_hz in rates(),
        before in heartbeats(),
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
        after in prop::collection::vec(step(), 1..3),
    ) {
        let mut detector = QrsDetector::new(fs_hz).unwrap();
        let mut out = LeadOutput::default();
        detector.push_i16(&before, &mut out);
        let mut bytes = detector.snapshot();
        let body = bytes.len() - 4;
        for (place, value) in changes {
            bytes[6 + place.index(body - 6)] = value;
        }
        let checksum = crc32fast::hash(&bytes[..body]).to_le_bytes();
        bytes[body..].copy_from_slice(&checksum);
        if let Ok(mut forged) = QrsDetector::restore(&bytes) {
            for step in &after {
                step.apply(&mut forged, &mut out);
            }
            forged.flush(&mut out);
        }
    }
}

#[test]
fn integers_and_floats_give_the_same_beats() {
    let samples: Vec<i16> = (0..20_000).map(|i| if i % 300 < 6 { 900 - 120 * (i % 300) } else { i % 7 }).collect();
    let floats: Vec<f64> = samples.iter().map(|&v| v.into()).collect();
    let (mut a, mut b) = (QrsDetector::new(360.0).unwrap(), QrsDetector::new(360.0).unwrap());
    let (mut integers, mut doubles) = (LeadOutput::default(), LeadOutput::default());
    a.push_i16(&samples, &mut integers);
    b.push_f64(&floats, &mut doubles);
    assert!(integers.beats.len() > 50);
    assert_eq!(integers, doubles);
}

#[test]
fn the_state_stays_within_4_kib_when_it_is_fullest() {
    // 1000 Hz keeps most samples, and pulses just over 200 ms apart make most candidates for the learning phase
    for period in [205, 210, 214, 220, 250] {
        let mut detector = QrsDetector::new(1000.0).unwrap();
        let mut out = LeadOutput::default();
        for block in 0..40 {
            let pulse = |i: usize| if i % period < 20 { 500 + (i / period % 7) as i16 * 90 } else { (i % 5) as i16 };
            let samples: Vec<i16> = (block * 100..block * 100 + 100).map(pulse).collect();
            detector.push_i16(&samples, &mut out);
            let bytes = detector.snapshot().len();
            assert!(bytes <= 4096, "{bytes} bytes, period {period}, block {block}");
        }
    }
}

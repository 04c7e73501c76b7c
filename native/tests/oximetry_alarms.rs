//! Absolute SpO2 alarms: the published examples, delays, hysteresis, missing data, limits changed at run time.

use _native::oximetry::{
    ConfigError, Limit, SatSecondsConvention, SatSecondsLimit, SpO2AlarmEvent, SpO2Alarms, SpO2Limits, SpO2Rule,
};

const NONE: f64 = f64::NAN;

fn off() -> SpO2Limits {
    SpO2Limits { low: None, very_low: None, rapid_drop_pct: None, sat_seconds: None, ..SpO2Limits::default() }
}

fn run(fs_hz: f64, limits: SpO2Limits, values: &[f64]) -> Vec<SpO2AlarmEvent> {
    let mut alarms = SpO2Alarms::new(fs_hz, limits).unwrap();
    let mut out = Vec::new();
    alarms.push(values, &mut out);
    out
}

fn of(events: &[SpO2AlarmEvent], rule: SpO2Rule) -> Vec<(bool, u64, u64)> {
    events.iter().filter(|event| event.rule == rule).map(|event| (event.raised, event.onset, event.decided)).collect()
}

fn series(parts: &[(f64, usize)]) -> Vec<f64> {
    parts.iter().flat_map(|&(value, count)| vec![value; count]).collect()
}

#[test]
fn the_defaults_alarm_after_their_delays_and_clear_with_hysteresis() {
    let values = series(&[(96.0, 60), (89.0, 60), (91.0, 60), (92.0, 30)]);
    let events = run(1.0, SpO2Limits::default(), &values);
    assert_eq!(of(&events, SpO2Rule::SustainedBelow90), [(true, 60, 90), (false, 60, 195)]);
    assert_eq!(events[0].value, 89.0);
    assert_eq!(events[0].limit, 90.0);
    assert_eq!(of(&events, SpO2Rule::SustainedBelow85), []);
    let values = series(&[(96.0, 60), (84.9, 30), (87.0, 15), (86.9, 1), (87.0, 16)]);
    let events = run(1.0, SpO2Limits::default(), &values);
    assert_eq!(of(&events, SpO2Rule::SustainedBelow85), [(true, 60, 70), (false, 60, 121)]);
}

#[test]
fn a_dip_shorter_than_the_delay_alarms_nothing() {
    let limits = SpO2Limits { sat_seconds: None, ..SpO2Limits::default() };
    let values = series(&[(96.0, 60), (89.0, 30), (90.0, 1), (89.0, 30), (96.0, 60)]);
    assert_eq!(run(1.0, limits, &values), []);
}

#[test]
fn a_rapid_desaturation_alarms_at_its_second_reading() {
    for (fs_hz, decided) in [(1.0, 61), (4.0, 64), (0.2, 61)] {
        let events = run(fs_hz, SpO2Limits::default(), &series(&[(96.0, 60), (79.0, 8)]));
        assert_eq!(of(&events, SpO2Rule::RapidDesaturation), [(true, 60, decided)], "{fs_hz} Hz");
    }
    let events = run(1.0, SpO2Limits::default(), &series(&[(96.0, 60), (79.0, 1), (96.0, 9)]));
    assert_eq!(of(&events, SpO2Rule::RapidDesaturation), []);
}

#[test]
fn sat_seconds_count_as_nellcor_prints_it() {
    let sat_seconds =
        SatSecondsLimit { limit_pct: 90.0, setting: 50.0, convention: SatSecondsConvention::FromLimit, repeats: true };
    let limits = SpO2Limits { sat_seconds: Some(sat_seconds), ..off() };
    let events = run(1.0, limits, &series(&[(88.0, 2), (86.0, 3), (84.0, 6)]));
    assert_eq!(of(&events, SpO2Rule::SatSeconds), [(true, 0, 10)]); // its eleventh second
    assert_eq!(events[0].value, 52.0);
    // the same with four readings a second
    let events = run(4.0, limits, &series(&[(88.0, 8), (86.0, 12), (84.0, 24)]));
    assert_eq!(of(&events, SpO2Rule::SatSeconds), [(true, 0, 42)]);
}

#[test]
fn sat_seconds_count_as_ge_prints_it() {
    let ge = SatSecondsLimit {
        limit_pct: 90.0,
        setting: 20.0,
        convention: SatSecondsConvention::FromLimitPlusOne,
        repeats: true,
    };
    let values = [92.0, 89.0, 87.0, 87.0, 80.0];
    let events = run(1.0, SpO2Limits { sat_seconds: Some(ge), ..off() }, &values);
    assert_eq!(of(&events, SpO2Rule::SatSeconds), [(true, 1, 4)]);
    assert_eq!(events[0].value, 21.0);
    let nellcor = SatSecondsLimit { convention: SatSecondsConvention::FromLimit, ..ge };
    assert_eq!(run(1.0, SpO2Limits { sat_seconds: Some(nellcor), ..off() }, &values), []);
}

#[test]
fn a_third_violation_within_a_minute_alarms_regardless() {
    let limits = SpO2Limits { sat_seconds: SpO2Limits::default().sat_seconds, ..off() };
    let often = series(&[(89.0, 1), (92.0, 20), (89.0, 1), (92.0, 20), (89.0, 1), (92.0, 30)]);
    assert_eq!(of(&run(1.0, limits, &often), SpO2Rule::SatSeconds), [(true, 0, 42), (false, 0, 58)]);
    let seldom = series(&[(89.0, 1), (92.0, 30), (89.0, 1), (92.0, 30), (89.0, 1), (92.0, 30)]);
    assert_eq!(run(1.0, limits, &seldom), []);
}

#[test]
fn no_data_is_told_at_once_by_the_device_and_after_the_update_limit_by_silence() {
    let events = run(1.0, off(), &series(&[(96.0, 60), (127.0, 1), (96.0, 10)]));
    assert_eq!(of(&events, SpO2Rule::NoData), [(true, 60, 60), (false, 60, 66)]);
    let events = run(1.0, off(), &series(&[(96.0, 60), (NONE, 40), (96.0, 10)]));
    assert_eq!(of(&events, SpO2Rule::NoData), [(true, 60, 90), (false, 60, 105)]);
    assert_eq!(run(1.0, off(), &series(&[(96.0, 60), (NONE, 30), (96.0, 10)])), []);
    assert_eq!(run(1.0, off(), &series(&[(99.9, 60), (100.6, 20), (99.9, 10)])), [], "an overshoot is no code");
}

#[test]
fn no_data_neither_raises_nor_clears_what_is_about_the_patient() {
    let limits = SpO2Limits { sat_seconds: None, ..SpO2Limits::default() };
    let low = SpO2Rule::SustainedBelow90;
    let values = series(&[(89.0, 10), (NONE, 25), (89.0, 10)]);
    assert_eq!(of(&run(1.0, limits, &values), low), [], "25 s without data are not 25 s below");
    let values = series(&[(89.0, 31), (NONE, 3600), (93.0, 10)]);
    assert_eq!(of(&run(1.0, limits, &values), low), [(true, 0, 30)]);
    let sparse: Vec<f64> = (0..100).map(|second| if second % 4 == 0 { 89.0 } else { NONE }).collect();
    assert_eq!(of(&run(1.0, limits, &sparse), low), [(true, 0, 32)], "a device that reads every four seconds");
}

#[test]
fn a_target_range_alarms_on_both_sides() {
    let events = run(1.0, SpO2Limits::copd(), &series(&[(89.0, 400), (94.0, 400), (90.0, 30), (87.0, 40)]));
    assert_eq!(of(&events, SpO2Rule::AboveTarget), [(true, 400, 700), (false, 400, 815)]);
    assert_eq!(of(&events, SpO2Rule::SustainedBelow90), [(true, 830, 860)]);
    assert_eq!(events.last().unwrap().limit, 88.0);
}

#[test]
fn limits_change_without_losing_what_is_pending_or_raised() {
    let mut alarms = SpO2Alarms::new(1.0, SpO2Limits::default()).unwrap();
    let mut out = Vec::new();
    alarms.push(&[89.0; 25], &mut out);
    let shorter = SpO2Limits { low: Some(Limit { limit_pct: 90.0, delay_s: 25.0 }), ..SpO2Limits::default() };
    alarms.set_limits(shorter, &mut out).unwrap();
    alarms.push(&[89.0], &mut out);
    assert_eq!(of(&out, SpO2Rule::SustainedBelow90), [(true, 0, 25)]);
    let refused = SpO2Limits { clear_s: f64::NAN, ..shorter };
    assert!(matches!(alarms.set_limits(refused, &mut out), Err(ConfigError::Limit { what: "clear_s", .. })));
    assert_eq!(alarms.limits(), &shorter);
    alarms.set_limits(SpO2Limits { low: None, ..shorter }, &mut out).unwrap();
    assert_eq!(of(&out, SpO2Rule::SustainedBelow90), [(true, 0, 25), (false, 0, 25)]);
}

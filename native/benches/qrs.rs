//! Throughput of R-peak detection with full output, one core, many patients: `cargo bench --bench qrs`.
//!
//! A synthetic ECG stands in for recordings, so the bench needs no data; `QRS_RECORD` may name a raw little-endian int16
//! file (250 Hz) to use instead.

use _native::ecg::{BankOutput, QrsBank};
use divan::counter::ItemsCount;
use divan::{Bencher, black_box};

const FS_HZ: usize = 250;
const SECONDS: usize = 120;

fn main() {
    divan::main();
}

/// Two minutes of one lead: P, QRS, T at a varying rate, some noise.
fn recording() -> Vec<i16> {
    if let Some(path) = std::env::var_os("QRS_RECORD") {
        let bytes = std::fs::read(path).expect("QRS_RECORD is readable");
        return bytes.chunks_exact(2).map(|b| i16::from_le_bytes([b[0], b[1]])).collect();
    }
    let mut signal = vec![0.0_f64; FS_HZ * SECONDS];
    let mut at = 0.4;
    let mut beat = 0;
    while at < SECONDS as f64 {
        for (delay, width, height) in
            [(-0.16, 0.025, 25.0), (0.0, 0.012, 220.0), (0.03, 0.012, -60.0), (0.26, 0.05, 50.0)]
        {
            for (i, value) in signal.iter_mut().enumerate() {
                let u = (i as f64 / FS_HZ as f64 - at - delay) / width;
                if u.abs() < 5.0 {
                    *value += height * (-0.5 * u * u).exp();
                }
            }
        }
        beat += 1;
        at += 0.8 + 0.08 * f64::from(beat).sin();
    }
    let mut state = 1_u32;
    let noise = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        f64::from(state >> 8) / f64::from(1 << 24) * 8.0 - 4.0
    };
    signal.iter().zip(std::iter::repeat_with(noise)).map(|(v, n)| (v + n) as i16).collect()
}

/// Every patient gets the same recording from another place.
fn rounds(bencher: Bencher, patients: usize, chunk: usize) {
    let signal = recording();
    let usable = signal.len() / chunk - 1;
    let mut bank = QrsBank::new(FS_HZ as f64, patients).expect("a rate in range");
    let mut out = BankOutput::default();
    let mut round = 0;
    bencher.counter(ItemsCount::new(patients * chunk)).bench_local(|| {
        out.clear();
        bank.push_i16(
            |lead| {
                let at = (round + lead * 7) % usable * chunk;
                &signal[at..at + chunk]
            },
            &mut out,
        );
        round += 1;
        black_box(&out);
    });
}

#[divan::bench(args = [1, 100, 1000, 10_000], sample_count = 200)]
fn chunks_of_1_s(bencher: Bencher, patients: usize) {
    rounds(bencher, patients, FS_HZ);
}

#[divan::bench(args = [1, 100, 1000, 10_000], sample_count = 200)]
fn chunks_of_100_ms(bencher: Bencher, patients: usize) {
    rounds(bencher, patients, FS_HZ / 10);
}

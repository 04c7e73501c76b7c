//! Trains the scores of the R-peak detector on the MIT-BIH Arrhythmia Database, or cross-validates them by patient.
//!
//! `train_qrs DATA --write` with DATA holding `mitdb` and `nstdb` writes the weights; the same bytes come out on any
//! x86-64. `train_qrs DATA --cv` reports on held-out patients, and on the noise stress test database with weights that
//! saw neither of its patients.

#![allow(clippy::format_push_string, clippy::print_stdout, clippy::cast_possible_truncation)] // a short report

mod augment;
mod fit;
mod prepared;
mod records;
mod scoring;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use _native::ecg::training::{
    BEAT_FEATURES, BeatNetwork, LABEL_FEATURES, LabelNetwork, Network, Networks, QualityNetwork, SHIPPED,
};
use augment::Random;
use fit::Settings;
use prepared::{Lessons, Prepared, Run};
use scoring::Counts;

type Failure = Box<dyn std::error::Error + Send + Sync>;

/// Runs `job` for every index on so many threads; results in order, whatever the number of threads.
fn parallel<T: Send>(threads: usize, count: usize, job: impl Fn(usize) -> T + Sync) -> Vec<T> {
    let next = AtomicUsize::new(0);
    let results = Mutex::new(BTreeMap::new());
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let i = next.fetch_add(1, Ordering::Relaxed);
                    if i >= count {
                        break;
                    }
                    let result = job(i);
                    results.lock().expect("no job panics").insert(i, result);
                }
            });
        }
    });
    results.into_inner().expect("no job panics").into_values().collect()
}

/// Value of `--name=VALUE`.
fn option(name: &str, default: f64) -> f64 {
    let prefix = format!("--{name}=");
    std::env::args().find_map(|a| a.strip_prefix(&prefix)?.parse().ok()).unwrap_or(default)
}

fn flag(name: &str) -> bool {
    std::env::args().any(|a| a == name)
}

/// Threads to use: `--threads=N`, two without it. The weights do not depend on it.
fn threads() -> usize {
    option("threads", 2.0) as usize
}

/// Integers of the three networks.
struct Weights {
    beat: Vec<i32>,
    label: Vec<i32>,
    quality: Vec<i32>,
}

/// Share of a label's features that each step of its teachers' training leaves out.
const LABEL_DROPOUT: f64 = 0.15;
/// Networks whose mean teaches the one that labels.
const TEACHERS: f64 = 8.0;
/// Numbers of ventricular and of other beats, in all copies of a patient, that weigh as they are. Their ratio sets how
/// often the label says ventricular: of held-out patients' beats so named, 95 in 100 are.
const USUAL_BEATS: [f32; 2] = [1_800.0, 10_000.0];

/// Adds the lessons of a set of recordings in which those of a patient follow each other.
fn teach(set: &[&Prepared], networks: Option<&Networks>, lessons: &mut Lessons) {
    for patient in set.chunk_by(|a, b| a.record.patient() == b.record.patient()) {
        let from = lessons.label.labels.len();
        for recording in patient {
            recording.teach(networks, lessons);
        }
        lessons.label.balance(from, USUAL_BEATS);
    }
}

fn train((set, rough): (Vec<&Prepared>, Vec<&Prepared>), seed: u64) -> Weights {
    let epochs = option("epochs", 10.0) as usize;
    let settings = Settings { epochs, rate: 0.003, decay: option("decay", 1e-4) as f32, dropout: 0.0, seed };
    let fit_beat = |lessons: &Lessons, settings| fit::fit::<BEAT_FEATURES, 16, 8, 1>(&lessons.beat, settings);
    let mut taught = Lessons::new();
    teach(&set, None, &mut taught);
    let first = fit_beat(&taught, Settings { epochs: epochs.div_ceil(2), ..settings });
    let mut networks = Networks { beat: Network::from_grid(&first), ..SHIPPED.clone() };
    // features depend on earlier decisions: learn again with the histories that the first weights leave
    teach(&set, Some(&networks), &mut taught);
    let beat = fit_beat(&taught, settings);
    let teaching = Settings { dropout: option("dropout", LABEL_DROPOUT) as f32, ..settings };
    let label = fit::distil::<LABEL_FEATURES, 16, 8, 2>(&taught.label, option("teachers", TEACHERS) as u64, teaching);
    networks.beat = Network::from_grid(&beat);
    networks.label = Network::from_grid(&label);
    let mut last = Lessons::new();
    teach(&[set, rough].concat(), Some(&networks), &mut last);
    let quality = fit::fit::<8, 6, 4, 1>(&last.quality, settings);
    Weights { beat, label, quality }
}

impl Weights {
    fn networks(&self) -> Networks {
        Networks {
            beat: BeatNetwork::from_grid(&self.beat),
            label: LabelNetwork::from_grid(&self.label),
            quality: QualityNetwork::from_grid(&self.quality),
            gate: SHIPPED.gate,
        }
    }

    fn source(&self) -> String {
        let mut text = String::from(
            "//! Written by `train_qrs`: do not edit. Integers over `network::GRID`.\n\n\
             use super::network::{BeatNetwork, LabelNetwork, QualityNetwork};\n",
        );
        for (name, kind, grid) in [
            ("BEAT", "BeatNetwork", &self.beat),
            ("LABEL", "LabelNetwork", &self.label),
            ("QUALITY", "QualityNetwork", &self.quality),
        ] {
            text += "\n#[rustfmt::skip]\n#[allow(clippy::unreadable_literal)]\n";
            text += &format!("pub(super) const {name}: [i32; {kind}::PARAMETERS] = [\n");
            for row in grid.chunks(16) {
                let row: Vec<String> = row.iter().map(ToString::to_string).collect();
                text += &format!("    {},\n", row.join(", "));
            }
            text += "];\n";
        }
        text
    }
}

/// Recordings of one patient: the clean one, what only serves training, what is only scored.
struct Patient {
    name: String,
    clean: Prepared,
    training: Vec<Prepared>,
    /// So noisy that beats are lost: teaches quality alone.
    rough: Prepared,
    others: Vec<(&'static str, Prepared)>,
}

fn patients(mitdb: &Path, nstdb: &Path, score_others: bool) -> Result<Vec<Patient>, Failure> {
    let names = records::names(mitdb)?;
    let mut noises = Vec::new();
    for noise in ["ma", "bw"] {
        for channel in 0..2 {
            noises.push(records::signal(nstdb, noise, channel)?.1);
        }
    }
    let copies = option("copies", 3.0) as usize;
    let second = option("second", 0.3) as f32;
    let strongest = option("strongest", -1.0);
    let prepare = |i: usize| -> Result<Patient, Failure> {
        let record = records::load(mitdb, &names[i], 0)?;
        let lead2 = records::load(mitdb, &names[i], 1)?;
        let seed = |kind: usize| (1000 * kind + i) as u64;
        let mut training = Vec::new();
        for copy in 0..copies {
            training.push(Prepared::new(augment::augment(&record, &noises, strongest, seed(copy)), 1.0)?);
        }
        if second > 0.0 {
            // the same beats in another shape: for labels as good as another patient
            for second_lead in [augment::augment(&lead2, &noises, strongest, seed(9)), lead2.clone()] {
                training.push(Prepared::new(second_lead, second)?.labels_weigh(1.0));
            }
        }
        let mut others = Vec::new();
        if score_others {
            for (what, fs_hz) in [("128 Hz", 128.0), ("500 Hz", 500.0)] {
                others.push((what, Prepared::new(augment::resample(&record, fs_hz), 0.0)?));
            }
            others.push(("noisy", Prepared::new(augment::augment(&record, &noises, -1.16, seed(77)), 0.0)?));
            others.push(("lead 2", Prepared::new(lead2, 0.0)?));
        }
        let rough = Prepared::new(augment::augment(&record, &noises, 1.0, seed(55)), 1.0)?;
        Ok(Patient { name: names[i].clone(), clean: Prepared::new(record, 2.0)?, training, rough, others })
    };
    parallel(threads(), names.len(), prepare).into_iter().collect()
}

/// Recordings of the patients that `keep` names, for training: for all scores, and for quality alone.
fn training(patients: &[Patient], keep: impl Fn(&str) -> bool) -> (Vec<&Prepared>, Vec<&Prepared>) {
    let kept = || patients.iter().filter(|p| keep(&p.name));
    let set = kept().flat_map(|p| std::iter::once(&p.clean).chain(&p.training)).collect();
    (set, kept().map(|p| &p.rough).collect())
}

/// Splits patients into folds; 201 and 202 are the same person.
fn folds(patients: &[Patient], count: usize) -> Vec<Vec<&str>> {
    let mut order: Vec<&str> = patients.iter().map(|p| p.name.as_str()).filter(|&name| name != "202").collect();
    Random::new(option("split", 7.0) as u64).shuffle(&mut order);
    let mut folds: Vec<Vec<&str>> =
        (0..count).map(|fold| order.iter().skip(fold).step_by(count).copied().collect()).collect();
    for fold in folds.iter_mut().filter(|fold| fold.contains(&"201")) {
        fold.push("202");
    }
    folds
}

fn quality(seconds: &[(f32, bool)]) -> String {
    let mut text = String::from("quality: share of seconds without error by quality");
    let bounds = [-1e9, -1.4, 0.0, 1.4, 2.2, 2.94, 4.6, 1e9];
    let names = ["<0.2", "<0.5", "<0.8", "<0.9", "<0.95", "<0.99", "<1"];
    for (pair, name) in bounds.windows(2).zip(names) {
        let within: Vec<bool> = seconds.iter().filter(|s| s.0 >= pair[0] && s.0 < pair[1]).map(|s| s.1).collect();
        let right = within.iter().filter(|&&right| right).count();
        text += &format!("  {name}: {:.3} of {}", right as f64 / within.len().max(1) as f64, within.len());
    }
    text
}

/// Gates to compare.
const GATES: [f32; 4] = [0.0, 1.0, 2.0, 3.0];

fn cross_validate(patients: &[Patient], seed: u64) {
    let folds = folds(patients, option("folds", 6.0) as usize);
    let results = parallel(threads(), folds.len(), |fold| {
        let networks = train(training(patients, |name| !folds[fold].contains(&name)), seed).networks();
        let mut rows: Vec<(String, String, Run)> = Vec::new();
        for patient in patients {
            let held = folds[fold].contains(&patient.name.as_str());
            rows.push((
                if held { "held out" } else { "inside" }.to_owned(),
                patient.name.clone(),
                patient.clean.run(&networks, 0.0),
            ));
            for (what, other) in patient.others.iter().filter(|_| held) {
                rows.push(((*what).to_owned(), patient.name.clone(), other.run(&networks, 0.0)));
            }
            for (what, threshold) in [("thr -0.5", -0.5), ("thr +0.5", 0.5)].iter().filter(|_| held) {
                rows.push(((*what).to_owned(), patient.name.clone(), patient.clean.run(&networks, *threshold)));
            }
            if held {
                rows.push(("rough".to_owned(), patient.name.clone(), patient.rough.run(&networks, 0.0)));
            }
            for &gate in GATES.iter().filter(|_| held) {
                let gated = Networks { gate, ..networks.clone() };
                let noisy = patient.others.iter().find(|other| other.0 == "noisy").map(|other| &other.1);
                for (what, set) in [("clean", Some(&patient.clean)), ("noisy", noisy), ("rough", Some(&patient.rough))]
                {
                    let what = format!("{what}, gate {gate}");
                    rows.extend(set.map(|set| (what, patient.name.clone(), set.run(&gated, 0.0))));
                }
            }
        }
        rows
    });
    let mut totals: BTreeMap<String, Run> = BTreeMap::new();
    let mut worst = Vec::new();
    let mut labels = Vec::new();
    for (what, name, run) in results.into_iter().flatten() {
        let total = totals.entry(what.clone()).or_default();
        total.counts.add(run.counts);
        total.ventricular.add(run.ventricular);
        total.paced.add(run.paced);
        total.premature.add(run.premature);
        total.fusions_too.add(run.fusions_too);
        total.narrow.add(run.narrow);
        total.distance_ms += run.distance_ms;
        if run.paced.tp + run.paced.missed == 0 {
            total.unpaced.add(run.ventricular);
        }
        total.seconds.extend(&run.seconds);
        if what == "held out" {
            worst.push((run.counts.errors(), format!("{name}:{}+{}", run.counts.fp, run.counts.missed)));
            labels
                .push((run.ventricular.errors(), format!("{name}:{}+{}", run.ventricular.fp, run.ventricular.missed)));
        }
    }
    for (what, total) in &totals {
        println!("{what:20} {}", total.counts);
    }
    for (mut list, what) in [(worst, "errors"), (labels, "ventricular errors")] {
        list.sort_by(|a, b| b.cmp(a));
        println!("{what} {}", list.iter().take(14).map(|w| w.1.clone()).collect::<Vec<_>>().join(" "));
    }
    for what in ["held out", "noisy", "rough", "lead 2"] {
        if let Some(total) = totals.get(what) {
            println!("{what} within 50 ms {}", total.narrow);
            println!("{what} mean error {:.2} ms", total.distance_ms / total.counts.tp.max(1) as f64);
            println!("{what} ventricular {}", total.ventricular);
            println!("{what} ventricular, V alone {}", total.premature);
            println!("{what} ventricular, fusions as others {}", total.fusions_too);
            println!("{what} ventricular, records without pacing {}", total.unpaced);
            println!("{what} paced {}", total.paced);
            println!("{what} {}", quality(&total.seconds));
        }
    }
}

fn stress(patients: &[Patient], nstdb: &Path, seed: u64) -> Result<(), Failure> {
    let networks = train(training(patients, |name| name != "118" && name != "119"), seed).networks();
    let records: Vec<Prepared> = records::names(nstdb)?
        .iter()
        .map(|name| Prepared::new(records::load(nstdb, name, 0)?, 0.0))
        .collect::<Result<_, Failure>>()?;
    for gate in GATES {
        let networks = Networks { gate, ..networks.clone() };
        let mut total = Counts::default();
        let mut text = String::new();
        for record in &records {
            let run = record.run(&networks, 0.0);
            total.add(run.counts);
            text += &format!(" {}:{}+{}", record.record.name, run.counts.fp, run.counts.missed);
            if gate.to_bits() == SHIPPED.gate.to_bits() {
                println!("{} {}", record.record.name, quality(&run.seconds));
            }
        }
        println!("stress, gate {gate} {total}{text}");
    }
    Ok(())
}

fn main() -> Result<(), Failure> {
    let folder = std::env::args().nth(1).ok_or("usage: train_qrs DATA [--write] [--cv] [--stress]")?;
    let (mitdb, nstdb) = (Path::new(&folder).join("mitdb"), Path::new(&folder).join("nstdb"));
    let seed = option("seed", 0.0) as u64;
    let patients = patients(&mitdb, &nstdb, flag("--cv"))?;
    if flag("--stress") {
        stress(&patients, &nstdb, seed)?;
    }
    if flag("--cv") {
        cross_validate(&patients, seed);
    }
    if flag("--write") {
        let file = concat!(env!("CARGO_MANIFEST_DIR"), "/src/ecg/weights.rs");
        std::fs::write(file, train(training(&patients, |_| true), seed).source())?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::records::Record;

    /// Two minutes of narrow beats, every fifth one early and wide.
    fn record(seed: u64) -> Record {
        let mut random = Random::new(seed);
        let mut samples: Vec<f64> = (0..43_200).map(|_| random.uniform(-12.0, 12.0).round()).collect();
        let (mut beats, mut kinds, mut at) = (Vec::new(), Vec::new(), 300);
        while at < samples.len() - 300 {
            let early = beats.len() % 5 == 4;
            let half = if early { 24 } else { 9 };
            for i in 0..2 * half {
                samples[at + i - half] += 300.0 * (1.0 - (i as f64 - half as f64).abs() / half as f64);
            }
            beats.push(at as i64);
            kinds.push(if early { 5 } else { 1 });
            at += if beats.len() % 5 == 4 { 180 } else { 280 + random.below(40) };
        }
        Record { name: seed.to_string(), fs_hz: 360.0, samples, beats, kinds, excluded: vec![] }
    }

    fn weights(threads: usize) -> String {
        let prepared = parallel(threads, 6, |i| {
            let copy = augment::augment(&record(i as u64), &[vec![0.0; 20_000]], -2.0, i as u64);
            Prepared::new(if i % 2 == 0 { copy } else { record(i as u64) }, 1.0).expect("a rate in range")
        });
        let (set, rough) = prepared.split_at(4);
        train((set.iter().collect(), rough.iter().collect()), 3).source()
    }

    #[test]
    fn the_same_weights_come_out_of_every_run_on_any_number_of_threads() {
        let once = weights(1);
        assert!(once.lines().count() > 100);
        assert_eq!(once, weights(3));
    }
}

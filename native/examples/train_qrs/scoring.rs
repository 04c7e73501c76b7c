//! One-to-one matching within +-150 ms, as in `bench/qrs_scoring.py`.

/// Pairs sorted beats and detections in order; for each beat the place of its detection.
pub fn pair(beats: &[i64], found: &[i64], window: i64) -> Vec<Option<usize>> {
    let mut pairs = vec![None; beats.len()];
    let near = |i: usize, j: usize| i < beats.len() && j < found.len() && (beats[i] - found[j]).abs() <= window;
    let distance = |i: usize, j: usize| (beats[i] - found[j]).abs();
    let (mut i, mut j) = (0, 0);
    while i < beats.len() && j < found.len() {
        if !near(i, j) {
            if found[j] < beats[i] { j += 1 } else { i += 1 }
        } else if j + 1 < found.len()
            && distance(i, j + 1) < distance(i, j)
            && !(near(i + 1, j + 1) && distance(i + 1, j + 1) < distance(i, j + 1))
        {
            j += 1;
        } else if i + 1 < beats.len() && distance(i + 1, j) < distance(i, j) && !near(i + 1, j + 1) {
            i += 1;
        } else {
            pairs[i] = Some(j);
            (i, j) = (i + 1, j + 1);
        }
    }
    pairs
}

/// Counts of one record or many.
#[derive(Clone, Copy, Default)]
pub struct Counts {
    pub tp: usize,
    pub fp: usize,
    pub missed: usize,
}

impl Counts {
    pub fn add(&mut self, other: Self) {
        self.tp += other.tp;
        self.fp += other.fp;
        self.missed += other.missed;
    }

    pub fn errors(&self) -> usize {
        self.fp + self.missed
    }
}

impl std::fmt::Display for Counts {
    fn fmt(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        let (tp, fp, missed) = (self.tp as f64, self.fp as f64, self.missed as f64);
        let (se, ppv) = (100.0 * tp / (tp + missed).max(1.0), 100.0 * tp / (tp + fp).max(1.0));
        let f1 = 200.0 * tp / (2.0 * tp + fp + missed).max(1.0);
        write!(f, "TP {} FP {} FN {} Se {se:.3} PPV {ppv:.3} F1 {f1:.3}", self.tp, self.fp, self.missed)
    }
}

/// Counts hits, false alarms and misses outside the excluded stretches.
pub fn count(beats: &[i64], found: &[i64], excluded: &[(i64, i64)], window: i64) -> Counts {
    let counted = |at: i64| excluded.iter().all(|&(first, last)| at < first || at > last);
    let pairs = pair(beats, found, window);
    let mut used = vec![false; found.len()];
    let mut counts = Counts::default();
    for (&beat, place) in beats.iter().zip(&pairs) {
        if let Some(j) = *place {
            used[j] = true;
        }
        if counted(beat) {
            if place.is_some() { counts.tp += 1 } else { counts.missed += 1 }
        }
    }
    counts.fp = found.iter().zip(&used).filter(|&(&at, &used)| !used && counted(at)).count();
    counts
}

/// Positions of false alarms and misses outside the excluded stretches, in order.
pub fn errors(beats: &[i64], found: &[i64], excluded: &[(i64, i64)], window: i64) -> Vec<i64> {
    let counted = |at: i64| excluded.iter().all(|&(first, last)| at < first || at > last);
    let pairs = pair(beats, found, window);
    let mut used = vec![false; found.len()];
    let mut errors = Vec::new();
    for (&beat, place) in beats.iter().zip(&pairs) {
        match *place {
            Some(j) => used[j] = true,
            None if counted(beat) => errors.push(beat),
            None => {}
        }
    }
    errors.extend(found.iter().zip(&used).filter(|&(&at, &used)| !used && counted(at)).map(|(&at, _)| at));
    errors.sort_unstable();
    errors
}

/// Sum of the distances between beats and their detections outside the excluded stretches, samples.
pub fn distance(beats: &[i64], found: &[i64], excluded: &[(i64, i64)], window: i64) -> i64 {
    let counted = |at: i64| excluded.iter().all(|&(first, last)| at < first || at > last);
    let pairs = pair(beats, found, window);
    let paired = beats.iter().zip(&pairs).filter(|&(&at, _)| counted(at));
    paired.filter_map(|(&at, place)| place.map(|j| (at - found[j]).abs())).sum()
}

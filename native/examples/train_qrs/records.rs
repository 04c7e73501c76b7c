//! WFDB records as the trainer needs them: formats 212 and 16, MIT annotations.

use std::fs;
use std::io::{Error, ErrorKind};
use std::path::Path;

/// One channel with its reference beats.
#[derive(Clone)]
pub struct Record {
    pub name: String,
    pub fs_hz: f64,
    pub samples: Vec<f64>,
    pub beats: Vec<i64>,
    /// Annotation type of each beat (1 normal, 5 ventricular, 12 paced, ...).
    pub kinds: Vec<u8>,
    /// Ventricular flutter or fibrillation, not scored.
    pub excluded: Vec<(i64, i64)>,
}

impl Record {
    /// Whose it is: records 201 and 202 are of the same person.
    pub fn patient(&self) -> &str {
        if self.name == "202" { "201" } else { &self.name }
    }
}

/// Annotation types that are beats: N L R B A a J S V r F e j n E / f Q ?.
const BEATS: [u8; 19] = [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 25, 30, 34, 35, 38, 41];

/// Record names of a folder that have annotations, sorted.
pub fn names(folder: &Path) -> Result<Vec<String>, Error> {
    let mut names = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.extension().is_some_and(|e| e == "hea") && path.with_extension("atr").exists() {
            names.extend(path.file_stem().map(|stem| stem.to_string_lossy().into_owned()));
        }
    }
    names.sort();
    Ok(names)
}

/// Reads one channel of a two-channel record.
pub fn signal(folder: &Path, name: &str, channel: usize) -> Result<(f64, Vec<f64>), Error> {
    let broken = || Error::new(ErrorKind::InvalidData, format!("{name}: unexpected header"));
    let header = fs::read_to_string(folder.join(format!("{name}.hea")))?;
    let mut lines = header.lines().filter(|line| !line.starts_with('#'));
    let fs_hz = lines.next().and_then(|l| l.split_whitespace().nth(2)?.parse().ok()).ok_or_else(broken)?;
    let format = lines.next().and_then(|l| l.split_whitespace().nth(1)).ok_or_else(broken)?;
    let bytes = fs::read(folder.join(format!("{name}.dat")))?;
    let samples = match format {
        "212" => bytes.chunks_exact(3).map(|b| twelve_bits(b, channel)).collect(),
        "16" => {
            bytes.chunks_exact(4).map(|b| i16::from_le_bytes([b[2 * channel], b[2 * channel + 1]]).into()).collect()
        }
        _ => return Err(broken()),
    };
    Ok((fs_hz, samples))
}

fn twelve_bits(bytes: &[u8], channel: usize) -> f64 {
    let (low, high) = if channel == 0 { (bytes[0], bytes[1] & 0x0f) } else { (bytes[2], bytes[1] >> 4) };
    let value = i32::from(low) | i32::from(high) << 8;
    f64::from(if value >= 2048 { value - 4096 } else { value })
}

/// Reads one channel and the reference beats.
pub fn load(folder: &Path, name: &str, channel: usize) -> Result<Record, Error> {
    let (fs_hz, samples) = signal(folder, name, channel)?;
    let bytes = fs::read(folder.join(format!("{name}.atr")))?;
    let mut record = Record { name: name.to_owned(), fs_hz, samples, beats: vec![], kinds: vec![], excluded: vec![] };
    let mut words = bytes.chunks_exact(2).map(|b| u16::from_le_bytes([b[0], b[1]]));
    let (mut time, mut started) = (0_i64, None);
    while let Some(word) = words.next() {
        let (kind, value) = ((word >> 10) as u8, i64::from(word & 0x3ff));
        match kind {
            0 if value == 0 => break,
            59 => {
                let (high, low) = (words.next().unwrap_or(0), words.next().unwrap_or(0));
                time += i64::from(u32::from(high) << 16 | u32::from(low));
            }
            60..=62 => {}
            63 => drop(words.by_ref().take(value.div_euclid(2) as usize + value as usize % 2).count()),
            _ => {
                time += value;
                if BEATS.contains(&kind) {
                    record.beats.push(time);
                    record.kinds.push(kind);
                }
                match (kind, started) {
                    (32, _) => started = Some(time),
                    (33, Some(first)) => record.excluded.push((first, time)),
                    _ => {}
                }
            }
        }
    }
    Ok(record)
}

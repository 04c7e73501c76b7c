//! Elementary functions that give the same bits on every machine.
//!
//! The C library picks its `logf` and `expf` by processor, and the last bit of a feature can decide a beat. These use
//! additions, multiplications and divisions only, each rounded once, so training, tests and every server agree.

use multiversion::multiversion;

/// Natural logarithm of a positive, finite number; absolute error below 2e-6, subnormals count as the smallest normal.
#[inline(always)]
pub fn ln(x: f32) -> f32 {
    let bits = x.max(f32::MIN_POSITIVE).to_bits();
    // mantissa into [sqrt(1/2), sqrt(2)), then ln m = 2 atanh((m - 1) / (m + 1))
    let shifted = bits.wrapping_sub(0x3f35_04f3);
    let exponent = (shifted as i32) >> 23;
    let mantissa = f32::from_bits((shifted & 0x007f_ffff) + 0x3f35_04f3);
    let t = (mantissa - 1.0) / (mantissa + 1.0);
    let t2 = t * t;
    let series = 2.0 + t2 * (0.666_666_7 + t2 * (0.4 + t2 * 0.285_714_3));
    exponent as f32 * std::f32::consts::LN_2 + t * series
}

/// Logistic function, 0 to 1; absolute error below 1e-5.
#[inline(always)]
pub fn logistic(x: f32) -> f32 {
    let x = x.clamp(-30.0, 30.0);
    // exp(-|x|) = (1 - y + y^2 / 2 ...) ^ 64 with y = |x| / 64, so that the logistic needs no table
    let y = x.abs() / 64.0;
    let mut e = 1.0 / (1.0 + y * (1.0 + y * (0.5 + y * (0.166_666_67 + y * 0.041_666_668))));
    for _ in 0..6 {
        e *= e;
    }
    let p = 1.0 / (1.0 + e);
    if x >= 0.0 { p } else { 1.0 - p }
}

/// Nearest integer of a number within +-2^22, halves away from zero. Without a conversion, which would not vectorise.
#[inline(always)]
pub fn rounded(x: f32) -> i32 {
    const SHIFT: f32 = 12_582_912.0; // 1.5 * 2^23: the integer stands in the last bits, halves rounded to even
    let shifted = x + SHIFT;
    let rest = x - (shifted - SHIFT);
    let even = shifted.to_bits().wrapping_sub(SHIFT.to_bits()) as i32;
    even + (i32::from(rest >= 0.5) & i32::from(x > 0.0)) - (i32::from(rest <= -0.5) & i32::from(x < 0.0))
}

/// The largest product of a window of `N` integers with the five windows of the same length that begin at the first
/// five of the others: no less than `N + 4`.
#[multiversion(targets("x86_64+avx2"))]
pub fn best_of_five_shifts<const N: usize, const M: usize>(window: &[i16; N], others: &[i16; M]) -> i32 {
    let mut best = i32::MIN;
    for shift in 0..5 {
        let other: &[i16; N] = others[shift..].first_chunk().expect("four more than the window");
        let mut sum = 0_i32;
        for (a, b) in window.iter().zip(other) {
            sum = sum.wrapping_add(i32::from(*a) * i32::from(*b));
        }
        best = best.max(sum);
    }
    best
}

/// The least and the largest of the values.
#[multiversion(targets("x86_64+avx2"))]
pub fn extremes(values: &[f32]) -> (f32, f32) {
    (least(values), largest(values))
}

/// The largest of the values, `f32::MIN` of none. Eight lanes, so that it does not wait for each comparison in turn.
#[inline(always)]
pub fn largest(values: &[f32]) -> f32 {
    extreme(values, f32::MIN, |a, b| if a > b { a } else { b })
}

/// The least of the values, `f32::MAX` of none.
#[inline(always)]
pub fn least(values: &[f32]) -> f32 {
    extreme(values, f32::MAX, |a, b| if a < b { a } else { b })
}

#[inline(always)]
fn extreme(values: &[f32], start: f32, pick: impl Fn(f32, f32) -> f32) -> f32 {
    let Some(last) = values.last_chunk::<8>() else {
        return values.iter().fold(start, |best, &v| pick(v, best));
    };
    // the last block may overlap the one before it: no value counts more for being seen twice
    let mut lanes = *last;
    for block in values.chunks_exact(8) {
        for (lane, &value) in lanes.iter_mut().zip(block) {
            *lane = pick(value, *lane);
        }
    }
    let four: [f32; 4] = std::array::from_fn(|i| pick(lanes[i], lanes[i + 4]));
    let two = [pick(four[0], four[2]), pick(four[1], four[3])];
    pick(two[0], two[1])
}

/// Sum of the values in eight lanes, so that no addition waits for the one before it.
#[inline(always)]
pub fn sum(values: &[f32]) -> f32 {
    let mut lanes = [0.0; 8];
    let mut blocks = values.chunks_exact(8);
    for block in &mut blocks {
        for (lane, &value) in lanes.iter_mut().zip(block) {
            *lane += value;
        }
    }
    for (lane, &value) in lanes.iter_mut().zip(blocks.remainder()) {
        *lane += value;
    }
    let four: [f32; 4] = std::array::from_fn(|i| lanes[i] + lanes[i + 4]);
    (four[0] + four[2]) + (four[1] + four[3])
}

/// Mean of the values, and mean of the least in each of four quarters (of what four equal ones leave, nothing).
#[multiversion(targets("x86_64+avx2"))]
pub fn mean_and_floor(values: &[f32]) -> (f32, f32) {
    let quarters = values.chunks_exact(values.len() / 4).take(4);
    (sum(values) / values.len() as f32, quarters.map(least).sum::<f32>() / 4.0)
}

/// The lower and the upper median of eight values, `K` such lists side by side, by a sorting network: no branch to guess.
#[multiversion(targets("x86_64+avx2"))]
pub fn middle_of_8<const K: usize>(values: &[[f32; K]; 8]) -> ([f32; K], [f32; K]) {
    let mut v = *values;
    macro_rules! sort {
        ($(($i:literal, $j:literal)),+) => {$(
            for k in 0..K {
                let (a, b) = (v[$i][k], v[$j][k]);
                v[$i][k] = if b < a { b } else { a };
                v[$j][k] = if b < a { a } else { b };
            }
        )+};
    }
    sort!((0, 2), (1, 3), (4, 6), (5, 7), (0, 4), (1, 5), (2, 6), (3, 7), (0, 1), (2, 3), (4, 5), (6, 7));
    sort!((2, 4), (3, 5), (1, 4), (3, 6), (1, 2), (3, 4), (5, 6));
    (v[3], v[4])
}

/// Median of the first `count` (at most 8) values; the mean of the middle two when `count` is even.
pub fn median8(values: &[f32; 8], count: usize) -> f32 {
    if count >= 8 {
        let ([lower], [upper]) = middle_of_8(&values.map(|v| [v]));
        return 0.5 * (upper + lower);
    }
    let mut sorted = *values;
    let used = &mut sorted[..count.min(8)];
    for i in 1..used.len() {
        let mut j = i;
        while j > 0 && used[j - 1] > used[j] {
            used.swap(j - 1, j);
            j -= 1;
        }
    }
    match used.len() {
        0 => 0.0,
        n if n % 2 == 1 => used[n / 2],
        n => 0.5 * (used[n / 2] + used[n / 2 - 1]),
    }
}

/// The lower and the upper median of 34 values: each has as many smaller ones as its rank says.
#[inline(always)]
pub fn middle_of_34(values: &[f32; 34]) -> (f32, f32) {
    const LANES: usize = 40; // counts of so many values stay in registers
    let mut padded = [f32::MAX; LANES];
    padded[..34].copy_from_slice(values);
    let (mut lower, mut upper) = ([f32::MIN; LANES], [f32::MIN; LANES]);
    for block in padded.chunks_exact(LANES) {
        let block: [f32; LANES] = std::array::from_fn(|i| block[i]);
        let mut smaller = [0_i32; LANES];
        for &value in values {
            for (count, &other) in smaller.iter_mut().zip(&block) {
                *count += i32::from(value < other);
            }
        }
        for i in 0..LANES {
            let (below, above) = (block[i].max(lower[i]), block[i].max(upper[i]));
            lower[i] = if smaller[i] <= 16 { below } else { lower[i] };
            upper[i] = if smaller[i] <= 17 { above } else { upper[i] };
        }
    }
    (largest(&lower), largest(&upper))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ln_and_logistic_agree_with_the_library() {
        for i in -60..60 {
            let x = 1.37_f32.powi(i);
            assert!((ln(x) - x.ln()).abs() < 5e-6 * x.ln().abs().max(1.0), "{x}");
            let z = i as f32 / 4.0;
            assert!((logistic(z) - 1.0 / (1.0 + (-z).exp())).abs() < 1e-5, "{z}");
        }
    }

    #[test]
    fn extremes_and_medians_of_eight_are_those_of_sorting() {
        let mut state = 7_u32;
        for count in 0..40 {
            let values: Vec<f32> = (0..count)
                .map(|_| {
                    state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                    (state >> 28) as f32 - 8.0
                })
                .collect();
            assert_eq!(largest(&values), values.iter().copied().fold(f32::MIN, f32::max));
            assert_eq!(least(&values), values.iter().copied().fold(f32::MAX, f32::min));
            if let Some(eight) = values.first_chunk::<8>() {
                let mut sorted = *eight;
                sorted.sort_by(f32::total_cmp);
                assert_eq!(median8(eight, 8), 0.5 * (sorted[3] + sorted[4]));
            }
            if let Some(many) = values.first_chunk::<34>() {
                let mut sorted = *many;
                sorted.sort_by(f32::total_cmp);
                assert_eq!(middle_of_34(many), (sorted[16], sorted[17]));
            }
        }
    }

    #[test]
    fn a_sum_in_lanes_holds_every_value_once() {
        let values: Vec<f32> = (0..41).map(|i| (i * i % 17) as f32).collect();
        for count in 0..values.len() {
            assert_eq!(sum(&values[..count]), values[..count].iter().sum::<f32>(), "{count}");
        }
        assert_eq!(
            mean_and_floor(&[3.0, 1.0, 5.0, 7.0, 2.0, 2.0, 9.0, 4.0, 6.0]),
            (39.0 / 9.0, (1.0 + 5.0 + 2.0 + 4.0) / 4.0)
        );
    }

    #[test]
    fn rounding_is_that_of_the_library() {
        for i in -400_000..400_000 {
            let x = i as f32 / 8.0;
            assert_eq!(rounded(x), x.round() as i32, "{x}");
            let near = f32::from_bits(x.to_bits().wrapping_add(1));
            assert_eq!(rounded(near), near.round() as i32, "{near}");
        }
        assert_eq!(rounded(0.499_999_97), 0);
    }

    #[test]
    fn median_of_none_odd_and_even() {
        let values = [3.0, 1.0, 2.0, 9.0, 0.0, 0.0, 0.0, 0.0];
        assert_eq!(median8(&values, 0), 0.0);
        assert_eq!(median8(&values, 3), 2.0);
        assert_eq!(median8(&values, 4), 2.5);
    }
}

//! Which samples count, by how much of the CPU something else had meanwhile.

use crate::machine::Disturbance;

/// More of a CPU than this taken away, and a sample is noise.
pub(crate) const DISTURBED: f64 = 0.3;
/// So many remain however noisy they are, and at least half: the best few of many would be a lottery.
const KEEP_AT_LEAST: usize = 3;

/// Where the system does not tell, everything counts.
pub(crate) fn level(disturbance: Option<Disturbance>) -> f64 {
    disturbance.map_or(0.0, |d| d.stolen + d.others + d.slowed)
}

/// For each of `levels` whether it counts: the disturbed ones do not, the worst first, as long as enough remain.
pub(crate) fn counting(levels: &[f64]) -> Vec<bool> {
    let mut best_first: Vec<usize> = (0..levels.len()).collect();
    best_first.sort_by(|&a, &b| levels[a].total_cmp(&levels[b]));
    let quiet = levels.iter().filter(|&&level| level <= DISTURBED).count();
    let keep = quiet.max(KEEP_AT_LEAST).max(levels.len().div_ceil(2));
    let mut counts = vec![false; levels.len()];
    for &index in best_first.iter().take(keep) {
        counts[index] = true;
    }
    counts
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kept(levels: &[f64]) -> Vec<usize> {
        let counts = counting(levels);
        (0..levels.len()).filter(|&index| counts[index]).collect()
    }

    #[test]
    fn disturbed_samples_are_discarded() {
        assert_eq!(kept(&[0.1, 0.6, 0.2, 0.25, 0.1]), [0, 2, 3, 4]);
        assert!(kept(&[]).is_empty());
    }

    #[test]
    fn the_least_disturbed_remain_when_all_are() {
        assert_eq!(kept(&[0.9, 0.5, 1.5, 0.4, 0.8]), [1, 3, 4]);
        assert_eq!(kept(&[0.9, 0.5]), [0, 1]);
        assert_eq!(
            kept(&[0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.35, 1.0]),
            [3, 4, 5, 6]
        );
    }
}

// SPDX-License-Identifier: MIT
//! The median.

/// The middle one, or the upper one of two.
pub(crate) fn median(numbers: impl IntoIterator<Item = f64>) -> f64 {
    let mut sorted = Vec::from_iter(numbers);
    sorted.sort_by(f64::total_cmp);
    sorted.get(sorted.len() / 2).copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_the_middle_one() {
        assert_eq!(median([3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median([4.0, 1.0, 3.0, 2.0]), 3.0);
        assert_eq!(median([1.0, 1e9, 2.0]), 2.0);
        assert_eq!(median([]), 0.0);
    }
}

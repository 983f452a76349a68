// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Sorting in place and searching, without allocation and without a panic: heapsort, and halving.
//!
//! Williams, "Algorithm 232: Heapsort" (CACM, 1964), with Floyd's construction of the heap: at
//! most 2·n·log2(n) comparisons for any order. core's sort refers to `core::panicking`.

/// Sorts `items` by `less`, a strict weak order. Equal items may change places.
pub fn sort<T: Copy>(items: &mut [T], less: impl Fn(&T, &T) -> bool) {
    for root in (0..items.len() / 2).rev() {
        sift_down(items, root, &less);
    }
    let mut heap = items;
    loop {
        let Some((last, rest)) = heap.split_last_mut() else {
            return;
        };
        let Some(greatest) = rest.first_mut() else {
            return;
        };
        core::mem::swap(greatest, last);
        sift_down(rest, 0, &less);
        heap = rest;
    }
}

/// The first index at which `before` does not hold any more; it holds for the first ones only. core's `partition_point`
/// refers to `core::panicking`.
pub fn lower_bound<T>(items: &[T], before: impl Fn(&T) -> bool) -> usize {
    let (mut low, mut high) = (0, items.len());
    while low < high {
        let middle = low.wrapping_add(high.wrapping_sub(low) >> 1);
        match items.get(middle) {
            Some(item) if before(item) => low = middle.wrapping_add(1),
            _ => high = middle,
        }
    }
    low
}

/// Sinks the item at `root` until neither child is greater.
fn sift_down<T: Copy>(heap: &mut [T], root: usize, less: &impl Fn(&T, &T) -> bool) {
    let Some(&sinking) = heap.get(root) else {
        return;
    };
    let mut hole = root;
    loop {
        let left = hole.saturating_mul(2).saturating_add(1);
        let Some(&left_item) = heap.get(left) else {
            break;
        };
        let (child, item) = match heap.get(left.saturating_add(1)) {
            Some(right_item) if less(&left_item, right_item) => {
                (left.saturating_add(1), *right_item)
            }
            _ => (left, left_item),
        };
        if !less(&sinking, &item) {
            break;
        }
        if let Some(place) = heap.get_mut(hole) {
            *place = item;
        }
        hole = child;
    }
    if let Some(place) = heap.get_mut(hole) {
        *place = sinking;
    }
}

#[cfg(test)]
mod tests {
    use std::vec::Vec;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn sorts_as_the_standard_library_does(items in prop::collection::vec(any::<u16>(), 0..300)) {
            let mut ours: Vec<u16> = items.clone();
            let mut theirs = items;
            sort(&mut ours, |a, b| a < b);
            theirs.sort_unstable();
            prop_assert_eq!(ours, theirs);
        }
    }
}

//! The numbers in the names of a role's nodes. They begin at 0. A node that is removed by its name leaves a gap.

/// How many nodes a role has, and which numbers they skip.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Numbering {
    count: u32,
    /// Sorted, and all below the last number.
    gaps: Vec<u32>,
}

impl Numbering {
    /// Gaps above the last number are none.
    pub(super) fn new(count: u32, mut gaps: Vec<u32>) -> Self {
        gaps.sort_unstable();
        gaps.dedup();
        let end = end(count, &gaps);
        gaps.retain(|gap| u64::from(*gap) < end);
        Self { count, gaps }
    }

    pub(super) fn gaps(self) -> Vec<u32> {
        self.gaps
    }

    /// All numbers, the lowest first.
    pub(super) fn numbers(self) -> impl Iterator<Item = u32> {
        let Self { count, gaps } = self;
        let end = u32::try_from(end(count, &gaps)).unwrap_or(u32::MAX);
        (0..end).filter(move |n| gaps.binary_search(n).is_err())
    }

    pub(super) fn has(&self, number: u32) -> bool {
        u64::from(number) < end(self.count, &self.gaps) && self.gaps.binary_search(&number).is_err()
    }

    /// With fewer nodes the last ones leave. With more, the lowest gaps are filled first, so that a removed node comes
    /// back under its name.
    pub(super) fn with_count(&self, count: u32) -> Self {
        let filled = usize::try_from(count.saturating_sub(self.count)).unwrap_or(usize::MAX);
        Self::new(count, self.gaps.iter().skip(filled).copied().collect())
    }

    /// Without one of the nodes.
    pub(super) fn without(&self, number: u32) -> Self {
        if !self.has(number) {
            return self.clone();
        }
        let gaps = self.gaps.iter().copied().chain([number]).collect();
        Self::new(self.count - 1, gaps)
    }
}

/// The number after the last one.
fn end(count: u32, gaps: &[u32]) -> u64 {
    if count == 0 {
        return 0;
    }
    let mut end = u64::from(count);
    for gap in gaps {
        if u64::from(*gap) < end {
            end += 1;
        }
    }
    end
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn numbers(numbering: &Numbering) -> Vec<u32> {
        numbering.clone().numbers().collect()
    }

    #[test]
    fn a_removed_node_leaves_a_gap_that_is_filled_first() {
        let three = Numbering::new(3, Vec::new());
        let two = three.without(1);
        assert_eq!(numbers(&two), [0, 2]);
        assert_eq!(numbers(&two.with_count(2)), [0, 2]);
        assert_eq!(numbers(&two.with_count(1)), [0]);
        assert_eq!(two.with_count(1), Numbering::new(1, Vec::new()));
        assert_eq!(numbers(&two.with_count(3)), [0, 1, 2]);
        assert_eq!(numbers(&two.with_count(4)), [0, 1, 2, 3]);
        assert_eq!(numbers(&three.without(2)), [0, 1]);
        assert_eq!(numbers(&two.without(0)), [2]);
        assert_eq!(numbers(&two.without(0).with_count(2)), [0, 2]);
        assert_eq!(two.without(7), two);
        assert_eq!(two.without(1), two);
    }

    #[test]
    fn a_number_beyond_all_bounds_takes_no_time() {
        let many = Numbering::new(2, vec![0]).with_count(u32::MAX);
        assert!(many.has(0) && many.has(u32::MAX - 1));
        assert_eq!(many.numbers().take(2).collect::<Vec<_>>(), [0, 1]);
    }

    proptest! {
        /// The nodes that stay keep their numbers, whatever comes and goes.
        #[test]
        fn no_other_node_changes_its_number(
            count in 0_u32..9,
            gaps in proptest::collection::vec(0_u32..9, 0..5),
            next in 0_u32..12,
            removed in 0_u32..9,
        ) {
            let numbering = Numbering::new(count, gaps);
            let before = numbers(&numbering);
            prop_assert_eq!(before.len(), count as usize);
            prop_assert!((0..20).all(|n| numbering.has(n) == before.contains(&n)));
            let after = numbers(&numbering.with_count(next));
            prop_assert_eq!(after.len(), next as usize);
            let stay = before.len().min(after.len());
            prop_assert!(before[..stay].iter().all(|n| after.contains(n)));
            let left = numbers(&numbering.without(removed));
            let expected: Vec<_> = before.iter().copied().filter(|n| *n != removed).collect();
            prop_assert_eq!(left, expected);
        }
    }
}

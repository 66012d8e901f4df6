//! Sets of block numbers, which come in long ranges.

use std::collections::BTreeMap;
use std::ops::Range;

/// A set of numbers, as ranges that do not touch.
#[derive(Clone, Debug, Default)]
pub struct Ranges(BTreeMap<usize, usize>);

impl Ranges {
    /// The numbers of one range.
    pub fn all(range: Range<usize>) -> Self {
        Ranges(BTreeMap::from([(range.start, range.end)]))
    }

    /// The ranges, lowest first.
    pub fn iter(&self) -> impl Iterator<Item = Range<usize>> {
        self.0.iter().map(|(start, end)| *start..*end)
    }

    /// Removes the lowest `count` numbers in a row. Taking the lowest keeps the used memory small.
    pub fn take_first(&mut self, count: usize) -> Option<Range<usize>> {
        let (start, end) =
            self.0.iter().map(|(start, end)| (*start, *end)).find(|(start, end)| end - start >= count)?;
        self.0.remove(&start);
        if start + count < end {
            self.0.insert(start + count, end);
        }
        Some(start..start + count)
    }

    /// Adds a range that does not overlap the set.
    pub fn add(&mut self, range: Range<usize>) {
        debug_assert!(!self.overlaps(&range), "{range:?} of {self:?}");
        let Range { mut start, mut end } = range;
        if let Some((before, before_end)) =
            self.0.range(..start).next_back().map(|(start, end)| (*start, *end))
            && before_end == start
        {
            self.0.remove(&before);
            start = before;
        }
        if let Some(behind_end) = self.0.remove(&end) {
            end = behind_end;
        }
        self.0.insert(start, end);
    }

    /// Removes the numbers of a range and returns those that were in the set.
    pub fn cut(&mut self, range: &Range<usize>) -> Vec<Range<usize>> {
        let touched: Vec<(usize, usize)> = self
            .0
            .range(..range.end)
            .rev()
            .map(|(start, end)| (*start, *end))
            .take_while(|(_, end)| *end > range.start)
            .collect();
        let mut taken = Vec::new();
        for (start, end) in touched {
            self.0.remove(&start);
            if start < range.start {
                self.0.insert(start, range.start);
            }
            if end > range.end {
                self.0.insert(range.end, end);
            }
            taken.push(start.max(range.start)..end.min(range.end));
        }
        taken
    }

    pub fn overlaps(&self, range: &Range<usize>) -> bool {
        self.0.range(..range.end).next_back().is_some_and(|(_, end)| *end > range.start)
    }
}

/// The lowest `count` numbers in a row begin here. Tests compare with it.
#[cfg(test)]
pub fn first_of(numbers: &std::collections::BTreeSet<usize>, count: usize) -> Option<usize> {
    numbers.iter().copied().find(|start| (*start..start + count).all(|number| numbers.contains(&number)))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    #[derive(Clone, Debug)]
    enum Change {
        TakeFirst(usize),
        Add(Range<usize>),
        Cut(Range<usize>),
        Look(Range<usize>),
    }

    fn any_change() -> impl Strategy<Value = Change> {
        let range = || (0usize..40, 1usize..8).prop_map(|(start, length)| start..start + length);
        prop_oneof![
            (1usize..6).prop_map(Change::TakeFirst),
            range().prop_map(Change::Add),
            range().prop_map(Change::Cut),
            range().prop_map(Change::Look),
        ]
    }

    /// The ranges that these numbers form.
    fn joined(numbers: &BTreeSet<usize>) -> BTreeMap<usize, usize> {
        let starts = numbers.iter().filter(|number| **number == 0 || !numbers.contains(&(**number - 1)));
        starts.map(|start| (*start, (*start..).find(|number| !numbers.contains(number)).unwrap())).collect()
    }

    proptest! {
        #[test]
        fn ranges_are_a_set_of_numbers(changes in prop::collection::vec(any_change(), 0..60)) {
            let (mut ranges, mut set) = (Ranges::default(), BTreeSet::new());
            for change in changes {
                match change {
                    Change::TakeFirst(count) => {
                        let expected = first_of(&set, count).map(|start| start..start + count);
                        prop_assert_eq!(ranges.take_first(count), expected.clone());
                        set.retain(|number| !expected.iter().any(|taken| taken.contains(number)));
                    }
                    Change::Add(range) => {
                        if set.is_disjoint(&range.clone().collect()) {
                            ranges.add(range.clone());
                            set.extend(range);
                        }
                    }
                    Change::Cut(range) => {
                        let taken: Vec<usize> = ranges.cut(&range).into_iter().rev().flatten().collect();
                        prop_assert_eq!(taken, set.range(range.clone()).copied().collect::<Vec<_>>());
                        set.retain(|number| !range.contains(number));
                    }
                    Change::Look(range) => {
                        prop_assert_eq!(ranges.overlaps(&range), set.range(range).next().is_some());
                    }
                }
                prop_assert_eq!(&ranges.0, &joined(&set));
            }
        }
    }
}

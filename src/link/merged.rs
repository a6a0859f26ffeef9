//! One table over the exports of a whole scope, for loads of many objects.
//!
//! Each object says "no" by its own bloom filter at the price of a memory access. With sixty objects in scope that is
//! sixty for a name that the last one has; this table answers with one or two. It is filled from the chains of
//! `.gnu.hash`, which hold the hash of every export, so not a single name is read; that takes as long as some ten
//! lookups through thirty objects for each hundred exports, hence the threshold.
//!
//! The key is a GNU hash without its lowest bit, as in [`filter`](super::filter). For each key the table knows the
//! first object of the scope that has it, and which symbol that is: a candidate, whose name and version the caller
//! compares. If they differ (two names with the same hash), only the long way can tell.

/// From this many objects in a scope on the table is worth building.
pub(crate) const WORTH: usize = 24;

/// In an entry: the key in the upper half, then the object's place, then the symbol's index.
const INDEX_BITS: u32 = 20;
const PLACE_BITS: u32 = 12;

/// From half a hash to the first object of the scope that has it.
pub(crate) struct Merged {
    /// 0: free.
    entries: Box<[u64]>,
    shift: u32,
}

/// What the table says about a hash.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Said {
    /// No object of the scope has it.
    Nobody,
    /// The first one that has it, by its place in the scope, and its symbol.
    Candidate(usize, u32),
}

impl Merged {
    /// The table over the objects of a scope, in order: of each the index of its first hashed symbol and the words of
    /// its chains. `None` if there are more objects or symbols than it has room for.
    pub(crate) fn over(chains: &[(u32, &[u32])]) -> Option<Merged> {
        let count: usize = chains.iter().map(|(_, words)| words.len()).sum();
        let fits = |(first, words): &(u32, &[u32])| (*first as usize + words.len()) >> INDEX_BITS == 0;
        // Place 0 is never stored, so that no entry is 0.
        if chains.len() + 1 >= 1 << PLACE_BITS || !chains.iter().all(fits) {
            return None;
        }
        let bits = (count + count / 2).next_power_of_two().trailing_zeros().max(4);
        let mut merged = Merged { entries: vec![0; 1 << bits].into_boxed_slice(), shift: 32 - bits.min(32) };
        for (place, (first, words)) in chains.iter().enumerate() {
            for (index, word) in (*first..).zip(words.iter()) {
                let rest = (place as u64 + 1) << INDEX_BITS | u64::from(index);
                let at = merged.slot(word >> 1);
                if merged.entries[at] == 0 {
                    merged.entries[at] = u64::from(word >> 1) << 32 | rest;
                }
            }
        }
        Some(merged)
    }

    /// Who has this hash first; its lowest bit does not count.
    #[inline]
    pub(crate) fn ask(&self, hash: u32) -> Said {
        match self.entries[self.slot(hash >> 1)] as u32 {
            0 => Said::Nobody,
            rest => Said::Candidate((rest >> INDEX_BITS) as usize - 1, rest & ((1 << INDEX_BITS) - 1)),
        }
    }

    /// The entry with this key, or the free one where it would be.
    #[inline]
    fn slot(&self, key: u32) -> usize {
        let mask = self.entries.len() - 1;
        let mut at = self.home(key);
        // A third of the entries is free, so this ends.
        while self.entries[at] != 0 && (self.entries[at] >> 32) as u32 != key {
            at = (at + 1) & mask;
        }
        at
    }

    #[inline]
    fn home(&self, key: u32) -> usize {
        (key.wrapping_mul(0x9e37_79b1) >> self.shift) as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_object_that_has_a_hash_is_named_with_its_symbol() {
        let merged = Merged::over(&[(3, &[8, 21]), (1, &[20, 40, 9])]).unwrap();
        assert_eq!(merged.ask(8), Said::Candidate(0, 3));
        assert_eq!(merged.ask(9), Said::Candidate(0, 3), "the lowest bit does not count");
        assert_eq!(merged.ask(20), Said::Candidate(0, 4));
        assert_eq!(merged.ask(41), Said::Candidate(1, 2));
        assert_eq!(merged.ask(50), Said::Nobody);
    }

    #[test]
    fn what_has_no_room_gets_no_table() {
        assert!(Merged::over(&[(1 << 20, &[2])]).is_none());
        assert!(Merged::over(&vec![(0, &[][..]); 1 << 12]).is_none());
    }

    #[test]
    fn thousands_of_hashes_are_all_found_again() {
        let words: Vec<u32> = (1..50_000_u32).map(|i| i.wrapping_mul(0x85eb_ca6b)).collect();
        let merged = Merged::over(&[(1, &words)]).unwrap();
        for (index, word) in (1..).zip(&words) {
            match merged.ask(*word) {
                Said::Candidate(0, found) => assert_eq!(words[found as usize - 1] >> 1, word >> 1),
                other => panic!("{index}: {other:?}"),
            }
        }
    }
}

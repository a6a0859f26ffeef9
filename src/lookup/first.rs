//! The first object that may have a name: one small table over the exports of many objects.
//!
//! Nearly every object that is asked for a symbol says "no". A name that the library defines itself is not defined by
//! the program or by anything that the program started with. A name that the library lacks is defined by one object of
//! the scope, and by none of the twenty before that one. Bloom filters say so one by one, each at the price of a memory
//! access. This table says it at once: for each hash it has the first object that exports a name with that hash. The
//! objects before that one need not be asked.
//!
//! The table covers the scope up to the last object for which that pays. Where no covered object has a name, the
//! objects behind them are asked. A table over objects of the global scope alone is kept for the next load.
//!
//! It is filled from the chains of `.gnu.hash`, which hold the hashes of all exports, so no name is read. Different
//! hashes may share a slot. Then the table gives an object that comes too early, but never one that comes too late, and
//! the Bloom filters from there on are asked as without a table. So a slot can be one byte, and the table stays in the
//! cache of the processor.
//!
//! The key is a GNU hash without its lowest bit: in the chains, that bit marks the end of a chain.

use std::sync::Arc;

use memmap2::{MmapMut, MmapOptions};

use crate::lock::{Guarded, Lock};
use crate::object::Object;

/// For each hash, the first object of a scope that may export a name with it.
pub(crate) struct First {
    /// A slot is 0 if no covered object has the hash; otherwise it is 1 + the number of the object's group.
    slots: MmapMut,
    shift: u32,
    /// The objects of a scope are numbered in groups of 2 to the power of this, so that a number fits into a byte.
    group: u32,
    /// How many objects the table covers, from the beginning of the scope.
    covers: usize,
}

/// A table over few objects has at most this many slots, unless there are more exports.
const ENOUGH: usize = 1 << 16;

/// The last table over objects of the global scope, and the tags of the objects that it was built over.
static KEPT: Guarded<Option<(Vec<u32>, Arc<First>)>> = Guarded::new(None);

impl First {
    /// The table over `objects`, which are those of a scope in order. `None` if so many `references` do not pay for it,
    /// or if one of the objects has only the older hash table `DT_HASH`, which keeps no hashes.
    pub(crate) fn over<'o>(objects: impl Iterator<Item = &'o Object>, references: usize) -> Option<First> {
        let objects: Vec<(&[u32], usize)> =
            objects.map(|object| Some((chains(object)?, object.reference_count()))).collect::<Option<_>>()?;
        // To enter an export takes about a fourth of the time that it takes to ask a Bloom filter, and an object's own
        // references do not ask its filter. Objects at the end of the scope that do not pay are left out.
        let pays = |(exports, own): &(&[u32], usize)| (references - own.min(&references)) * 4 >= exports.len();
        let covers = objects.iter().rposition(pays)? + 1;
        let chains: Vec<&[u32]> = objects[..covers].iter().map(|(chains, _)| *chains).collect();
        let exports: usize = chains.iter().map(|words| words.len()).sum();
        (references * covers * 4 >= exports).then(|| First::new(&chains))?
    }

    /// The table over `objects` of the global scope. If they are those of the last table, it is used again.
    pub(crate) fn kept<'o>(
        objects: impl Iterator<Item = &'o Object> + Clone,
        references: usize,
        lock: &Lock,
    ) -> Option<Arc<First>> {
        let tags: Vec<u32> = objects.clone().map(|o| o.tag.id).collect();
        let mut kept = KEPT.borrow(lock);
        if let Some((_, first)) = kept.as_ref().filter(|(about, _)| *about == tags) {
            return Some(first.clone());
        }
        let first = Arc::new(First::over(objects, references)?);
        *kept = Some((tags, first.clone()));
        Some(first)
    }

    /// `None` if there is no memory for the table. The table has a mapping of its own, which is unmapped with it: freed
    /// pages of the heap might stay in the process.
    fn new(chains: &[&[u32]]) -> Option<First> {
        let exports: usize = chains.iter().map(|words| words.len()).sum();
        // Enough room that few hashes share a slot. An object is asked in vain for a hash that shares a slot, and the
        // more objects there are, the more often. But each page of the table costs as much time as a thousand exports.
        let enough = ENOUGH.max(chains.len() * 2048);
        let room = (exports * 4).min(enough).max(exports * 3 / 2);
        let bits = room.next_power_of_two().trailing_zeros().clamp(6, 31);
        let group = (0_u32..).find(|group| chains.len() >> group < usize::from(u8::MAX)).unwrap_or(0);
        let mut slots = MmapOptions::new().len(1 << bits).populate().map_anon().ok()?;
        let (shift, table) = (32 - bits, &mut slots[..]);
        // From the last object to the first: so the first one with a hash overwrites the others.
        for (place, words) in chains.iter().enumerate().rev() {
            let number = (place >> group) as u8 + 1;
            words.iter().for_each(|&word| table[slot(word, shift)] = number);
        }
        Some(First { slots, shift, group, covers: chains.len() })
    }

    /// The place in the scope before which no object has a name with this hash. The lowest bit of `hash` does not
    /// count.
    #[inline(always)]
    pub(crate) fn place(&self, hash: u32) -> usize {
        match self.slots[slot(hash, self.shift)] {
            0 => self.covers,
            number => usize::from(number - 1) << self.group,
        }
    }
}

#[inline(always)]
fn slot(hash: u32, shift: u32) -> usize {
    // Hashes that are alike would share a slot. The product with this odd number spreads them.
    ((hash >> 1).wrapping_mul(0x9e37_79b1) >> shift) as usize
}

/// The words of an object's hash chains. None of them if the object has no names; `None` if it has only `DT_HASH`.
fn chains(object: &Object) -> Option<&[u32]> {
    match object.gnu_hash() {
        Some(gnu) => Some(gnu.words()),
        None => object.symbols().has_no_hash().then_some(&[]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_before_the_place_that_is_named_has_the_hash() {
        for (objects, at_once) in [(40, 1000), (1000, 300)] {
            check(objects, at_once);
        }
    }

    /// Of 2000 exports of so many objects; so many questions must be answered with the very place.
    fn check(objects: u32, at_once: usize) {
        let each = 2000 / objects;
        let hash = |place: u32, i: u32| (place * (each - each / 4) + i).wrapping_mul(0x85eb_ca6b);
        let chains: Vec<Vec<u32>> = (0..objects).map(|place| (0..each).map(|i| hash(place, i)).collect()).collect();
        let words: Vec<&[u32]> = chains.iter().map(|words| &words[..]).collect();
        let first = First::new(&words).unwrap();
        let mut exact = 0;
        for hash in chains.iter().flatten() {
            let truly = chains.iter().position(|words| words.iter().any(|word| word >> 1 == hash >> 1)).unwrap();
            let [place, other] = [first.place(*hash), first.place(hash ^ 1)];
            assert!(place <= truly, "{hash:#x} is in object {truly}, and the table begins at {place}");
            assert_eq!(place, other, "the lowest bit does not count");
            exact += usize::from(place == truly);
        }
        assert!(exact > at_once, "of 2000 questions about {objects} objects only {exact} were answered at once");
    }

    #[test]
    fn where_nobody_has_it_those_behind_are_asked() {
        let first = First::new(&[&[2], &[], &[8]]).unwrap();
        assert_eq!([2, 8, 12].map(|hash| first.place(hash)), [0, 2, 3]);
    }
}

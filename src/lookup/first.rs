//! Who may be the first to have a name: one small table over the exports of many objects.
//!
//! Nearly every question of a relocation has a dull answer. A name that the library defines itself is not defined by
//! the program or by anything that it started with; a name that it lacks is defined by one object of a scope, and by
//! none of the twenty before that one. The bloom filters say so one by one, each at the price of a memory access. This
//! table says it at once: for each hash, the first of its objects that has an export with it. Those before that one
//! need not be asked.
//!
//! It covers the scope up to the last object for which that pays: where all those do not have a name, the others are
//! asked. If these are everybody's objects only, it is kept for the next load.
//!
//! It is filled from the chains of `.gnu.hash`, which hold the hashes of all exports: not a name is read. Different
//! hashes may share a slot; then the table names an object too early, never one too late, and the filters of those from
//! there on are asked as without it. So a slot is one byte, and the table stays in the cache of the processor.
//!
//! The key is a GNU hash without its lowest bit, which the chains use for something else.

use std::sync::Arc;

use memmap2::{MmapMut, MmapOptions};

use crate::lock::{Guarded, Lock};
use crate::object::Object;

/// The first object for each hash.
pub(crate) struct First {
    /// One more than the object's place in the scope, in groups; 0: nobody has it.
    slots: MmapMut,
    shift: u32,
    /// So many objects share a number that it fits into a byte: 2 to the power of this.
    group: u32,
    /// How many objects it covers: the first ones of a scope.
    covers: usize,
}

/// So many slots are enough for few objects, unless there are more exports.
const ENOUGH: usize = 1 << 16;

/// The last one that was built over everybody's objects, and which these are, by tag.
static KEPT: Guarded<Option<(Vec<u32>, Arc<First>)>> = Guarded::new(None);

impl First {
    /// The table over the objects of a scope in order. `None` if it is not worth it for so many `references`, or one of
    /// the objects has only the older hash table, which keeps no hashes.
    pub(crate) fn over<'o>(objects: impl Iterator<Item = &'o Object>, references: usize) -> Option<First> {
        let objects: Vec<(&[u32], usize)> =
            objects.map(|object| Some((chains(object)?, object.reference_count()))).collect::<Option<_>>()?;
        // To note an export takes about a fourth of what it takes to ask a filter, and an object's own references do
        // not ask its filter. Those at the end are left out if they are not worth it.
        let pays = |(exports, own): &(&[u32], usize)| (references - own.min(&references)) * 4 >= exports.len();
        let covers = objects.iter().rposition(pays)? + 1;
        let chains: Vec<&[u32]> = objects[..covers].iter().map(|(chains, _)| *chains).collect();
        let exports: usize = chains.iter().map(|words| words.len()).sum();
        (references * covers * 4 >= exports).then(|| First::new(&chains))?
    }

    /// The same over everybody's objects: the last one, if they are still the same.
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

    /// `None` if there is no memory for it. It has a mapping of its own, which goes with it: pages of the heap would stay.
    fn new(chains: &[&[u32]]) -> Option<First> {
        let exports: usize = chains.iter().map(|words| words.len()).sum();
        // Room enough that few share a slot: who does is asked about in vain, the more often the more objects there are.
        // But each page of it costs as much as a thousand exports.
        let enough = ENOUGH.max(chains.len() * 2048);
        let room = (exports * 4).min(enough).max(exports * 3 / 2);
        let bits = room.next_power_of_two().trailing_zeros().clamp(6, 31);
        let group = (0_u32..).find(|group| chains.len() >> group < usize::from(u8::MAX)).unwrap_or(0);
        let mut slots = MmapOptions::new().len(1 << bits).populate().map_anon().ok()?;
        let (shift, table) = (32 - bits, &mut slots[..]);
        // The first comes last and stays.
        for (place, words) in chains.iter().enumerate().rev() {
            let number = (place >> group) as u8 + 1;
            words.iter().for_each(|&word| table[slot(word, shift)] = number);
        }
        Some(First { slots, shift, group, covers: chains.len() })
    }

    /// Nobody before this place in the scope has a name with this hash; its lowest bit does not count.
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
    // An odd number, whose product spreads what is alike.
    ((hash >> 1).wrapping_mul(0x9e37_79b1) >> shift) as usize
}

/// The words of an object's hash chains; `None` if it has names, but not there.
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

//! An index over all exports of a scope: from the hash of a name to its address.
//!
//! For each name the index has the first object of the scope with a symbol of that name, under the hash that the
//! object's own `.gnu.hash` keeps. One cache line of hashes answers "no object has it". If an object may have the name,
//! one more line says where its name and its address are, and the name is compared.
//!
//! Everything else that decides whether `dlsym` takes a symbol (glibc `check_match`) depends on the symbol alone, and
//! is looked at when the index is made. Where that did not give a plain "yes", the objects are asked in turn as without
//! an index, from the first one with that hash on.
//!
//! The index takes 19 bytes an export, in private memory: 4 for a hash and 8 for a [`Place`], and three slots of eight
//! are free.

use std::arch::x86_64::{
    __m128i, _mm_cmpeq_epi32, _mm_load_si128, _mm_movemask_epi8, _mm_packs_epi16, _mm_packs_epi32, _mm_set1_epi32,
};
use std::sync::Arc;

use crate::elf::addr::Addr;
use crate::memory;
use crate::object::Object;

/// What the index knows of a name.
pub(crate) enum Known {
    /// No object of the scope defines the name.
    Missing,
    /// The address of the definition, and the place in the scope of the object that has it.
    At(Addr, usize),
    /// The index does not tell: the objects must be asked.
    NotEnough,
}

/// The index is made of numbers only, so it keeps no object mapped. Its owner keeps the scope.
pub(crate) struct Index {
    /// Where the string table of each object begins, if the tables of all objects stood one behind the other.
    starts: Box<[u32]>,
    groups: Box<[Group]>,
    /// [`SLOTS`] places for each group, in the order of its hashes.
    places: Box<[Place]>,
}

/// A cache line of hashes without their lowest bit, as the chains have them; 0 is a free slot. A hash that finds no
/// free slot in its group goes into the next group.
#[derive(Clone, Copy)]
#[repr(align(64))]
struct Group([u32; SLOTS]);

const SLOTS: usize = 16;
/// How many slots of a group are in use on average. With so many, one group in twenty is full.
const FILLED: usize = 10;

/// Where the name and the address of the first symbol with this name are.
#[derive(Clone, Copy)]
struct Place {
    /// `st_name`, counted from the beginning of the first string table (`Index::starts`). So it also says whose symbol
    /// it is.
    name: u32,
    /// The symbol's address less the load bias. [`Place::ASK`] if more than the name decides whether the symbol counts.
    value: u32,
}

impl Index {
    /// The index over the exports of `scope`. `None` if the tables of its objects do not allow one: `DT_HASH`, the
    /// older kind of hash table, keeps no hashes.
    pub(crate) fn over(scope: &[Arc<Object>]) -> Option<Index> {
        let mut starts = Vec::with_capacity(scope.len());
        let (mut end, mut count) = (0, 0);
        for object in scope {
            let symbols = object.symbols();
            starts.push(u32::try_from(end).ok()?);
            end += symbols.strings_length();
            if !symbols.has_no_hash() {
                count += symbols.gnu_hash()?.hashed_count() as usize;
            }
        }
        u32::try_from(end).ok()?;
        let groups = count / FILLED + 1;
        let mut index = Index {
            starts: starts.into(),
            groups: vec![Group([0; SLOTS]); groups].into_boxed_slice(),
            places: vec![Place { name: 0, value: 0 }; groups * SLOTS].into_boxed_slice(),
        };
        let mut zeros = 0;
        for (object, start) in scope.iter().zip(index.starts.clone()) {
            if let Some(gnu) = object.symbols().gnu_hash() {
                gnu.walk(|symbol, hash| match hash {
                    0 => zeros += 1,
                    hash => {
                        if let Some(place) = Place::of(symbol, object, start) {
                            index.add(scope, hash, start, place);
                        }
                    }
                })?;
            }
        }
        // A name whose hash is 0 cannot be in an index, because 0 marks a free slot.
        (zeros == 0).then_some(index)
    }

    /// Adds a symbol of the object whose strings begin at `start`, unless the index has its name already.
    fn add(&mut self, scope: &[Arc<Object>], hash: u32, start: u32, place: Place) {
        let mut at = self.group_of(hash);
        loop {
            for slot in at * SLOTS..(at + 1) * SLOTS {
                let known = self.groups[at].0[slot % SLOTS];
                if known == 0 {
                    self.groups[at].0[slot % SLOTS] = hash;
                    self.places[slot] = place;
                    return;
                }
                // The same hash is not yet the same name: names that differ only in the lowest bit of their last letter
                // share one here.
                if known == hash && self.string(scope, self.places[slot].name) == self.string(scope, place.name) {
                    // The object itself has this name twice, with different versions. Which of the two counts depends
                    // on the versions and on their order in the chain, so the object must be asked.
                    if self.places[slot].name >= start {
                        self.places[slot].value = Place::ASK;
                    }
                    return;
                }
            }
            at = self.after(at);
        }
    }

    fn string<'o>(&self, scope: &'o [Arc<Object>], name: u32) -> Option<&'o [u8]> {
        let owner = self.owner(name);
        scope.get(owner)?.symbols().string((name - self.starts[owner]).into())
    }

    /// What the index knows of `name`, whose GNU hash is `hash`. `scope` is the scope that the index is over.
    #[inline]
    pub(crate) fn look_up(&self, scope: &[Arc<Object>], name: &[u8], hash: u32) -> Known {
        let mut found = Known::Missing;
        self.each_slot(hash, |slot| {
            let Place { name: at, value } = self.places[slot];
            let owner = self.owner(at);
            let (Some(object), Some(start)) = (scope.get(owner), self.starts.get(owner)) else { return false };
            if !object.symbols().has_name_at(at - start, name) {
                return false;
            }
            found = match value {
                Place::ASK => Known::NotEnough,
                value => Known::At(Addr(object.bias().0.wrapping_add(value.into())), owner),
            };
            true
        });
        found
    }

    /// The place in the scope of the first object that has a symbol with this hash.
    pub(crate) fn first_place(&self, hash: u32) -> Option<usize> {
        let mut first = None;
        self.each_slot(hash, |slot| {
            first = Some(self.owner(self.places[slot].name));
            true
        });
        first
    }

    /// The place in the scope of the object whose string table has the string at `name`.
    #[inline]
    fn owner(&self, name: u32) -> usize {
        // Most names are found in the opened library itself, which is the first object of the scope.
        if self.starts.get(1).is_none_or(|second| name < *second) {
            return 0;
        }
        self.starts.partition_point(|start| *start <= name) - 1
    }

    /// The slots with this hash, in the order in which they were filled, until `is_it` says yes.
    #[inline]
    fn each_slot(&self, hash: u32, mut is_it: impl FnMut(usize) -> bool) {
        let hash = hash & !1;
        if hash == 0 {
            return;
        }
        let mut at = self.group_of(hash);
        // Most likely one of these places is read next, so they are fetched together with the group.
        let places = &self.places[at * SLOTS..][..SLOTS];
        memory::prefetch(&raw const places[0]);
        memory::prefetch(&raw const places[SLOTS / 2]);
        loop {
            let group = &self.groups[at];
            let mut same = group.same(hash);
            while same != 0 {
                if is_it(at * SLOTS + same.trailing_zeros() as usize) {
                    return;
                }
                same &= same - 1;
            }
            if group.0[SLOTS - 1] == 0 {
                return;
            }
            at = self.after(at);
        }
    }

    #[inline]
    fn group_of(&self, hash: u32) -> usize {
        // The upper bits choose the group. Hashes of short names differ mostly in their lower bits: the product spreads
        // those.
        let spread = hash.wrapping_mul(0x9e37_79b1);
        ((u64::from(spread) * self.groups.len() as u64) >> 32) as usize
    }

    #[inline]
    fn after(&self, group: usize) -> usize {
        if group + 1 == self.groups.len() { 0 } else { group + 1 }
    }
}

impl Group {
    /// A bit for each slot that has this hash. All sixteen slots are compared at once and without a branch, because the
    /// processor could not foretell which slot it is.
    #[inline]
    fn same(&self, hash: u32) -> u32 {
        let hashes: *const __m128i = self.0.as_ptr().cast();
        // SAFETY: every x86_64 processor has SSE2, and four times sixteen bytes are the group, which is aligned to 64.
        unsafe {
            let wanted = _mm_set1_epi32(hash.cast_signed());
            let four = |at: usize| _mm_cmpeq_epi32(_mm_load_si128(hashes.add(at)), wanted);
            let (low, high) = (_mm_packs_epi32(four(0), four(1)), _mm_packs_epi32(four(2), four(3)));
            _mm_movemask_epi8(_mm_packs_epi16(low, high)).cast_unsigned()
        }
    }
}

impl Place {
    const ASK: u32 = u32::MAX;

    /// The [`Place`] of symbol `index` of `object`, whose strings begin at `start`. `None` if `st_name` lies outside
    /// the string table.
    fn of(index: u32, object: &Object, start: u32) -> Option<Place> {
        let symbols = object.symbols();
        let name = symbols.get(index)?.0.st_name;
        if name as usize >= symbols.strings_length() {
            return None;
        }
        let plain = symbols.newest(index).filter(|symbol| symbol.is_where_it_seems() && !symbol.is_absolute());
        let value = plain.and_then(|symbol| u32::try_from(symbol.value().0).ok());
        Some(Place { name: start + name, value: value.unwrap_or(Place::ASK) })
    }
}

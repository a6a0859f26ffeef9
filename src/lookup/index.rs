//! An index over all exports of a scope: from the hash of a name to its address.
//!
//! For each name it has the first object in the scope with a symbol of that name, under the hash that the object's own
//! table keeps. So one cache line answers "nobody has it". If somebody may have it, one more line says where its name and
//! its address are, and the name is compared. Everything else that decides whether `dlsym` takes a symbol (glibc
//! `check_match`) depends on the symbol alone, and was looked at when the index was made; where that did not say "yes"
//! plainly, the objects are asked in turn from the first one with that hash on, as without an index.
//!
//! It takes 19 bytes an export, in private memory: 4 for a hash and 8 for a [`Place`], and three slots of eight are
//! free.

use std::arch::x86_64::{
    __m128i, _mm_cmpeq_epi32, _mm_load_si128, _mm_movemask_epi8, _mm_packs_epi16, _mm_packs_epi32, _mm_set1_epi32,
};
use std::sync::Arc;

use crate::elf::addr::Addr;
use crate::memory;
use crate::object::Object;

/// What the index knows of a name.
pub(crate) enum Known {
    /// Nobody defines it.
    Missing,
    /// It is here, in the object at this place of the scope.
    At(Addr, usize),
    /// The objects must be asked.
    NotEnough,
}

/// Plain numbers: it keeps nothing mapped. Whoever has it keeps its scope.
pub(crate) struct Index {
    /// Where the string table of each object begins.
    starts: Box<[u32]>,
    groups: Box<[Group]>,
    /// [`SLOTS`] for each group.
    places: Box<[Place]>,
}

/// A cache line of hashes, without their lowest bit, as the chains have them; 0 is a free slot. What finds no room in
/// its group is in the next one.
#[derive(Clone, Copy)]
#[repr(align(64))]
struct Group([u32; SLOTS]);

const SLOTS: usize = 16;
/// How many slots of a group are in use on average: one group in twenty is full.
const FILLED: usize = 10;

/// Where the name and the address of the first symbol with a name are.
#[derive(Clone, Copy)]
struct Place {
    /// `st_name`, as if the string tables of all objects stood one behind the other. So it says as well whose it is.
    name: u32,
    /// How far behind the load bias it lies; [`Place::ASK`] where more decides than the name.
    value: u32,
}

impl Index {
    /// `None` where the objects' tables do not allow one: those of the older kind keep no hashes.
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
        // That hash means a free slot.
        (zeros == 0).then_some(index)
    }

    /// Adds a symbol of the object whose strings begin at `start`, unless one before it has its name.
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
                // Names that differ in the lowest bit of their last letter have the same hash here.
                if known == hash && self.string(scope, self.places[slot].name) == self.string(scope, place.name) {
                    // The second in its object: now other versions count, and the order in the chain.
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

    /// What is known of `name`, whose hash is `hash`; `scope` is the one that the index is over.
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

    /// The place of the object that has the string at `name`.
    #[inline]
    fn owner(&self, name: u32) -> usize {
        // It is mostly the library itself.
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
        // Most likely one of these is needed next; so it comes together with the group.
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
        // The lower bits of a short name's hash differ more than the upper ones.
        let spread = hash.wrapping_mul(0x9e37_79b1);
        ((u64::from(spread) * self.groups.len() as u64) >> 32) as usize
    }

    #[inline]
    fn after(&self, group: usize) -> usize {
        if group + 1 == self.groups.len() { 0 } else { group + 1 }
    }
}

impl Group {
    /// A bit for each slot with this hash. All sixteen at once and without a branch, since nobody can foretell which
    /// it is.
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

    /// The place of symbol `index` of `object`, whose strings begin at `start`; `None` if its name is not there.
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

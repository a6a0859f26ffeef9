//! An index over all exports of a scope: from the hash of a name to its address.
//!
//! For each hash that the objects' own tables keep, it has the first object in the scope with a symbol of that hash. So
//! one cache line answers "nobody has it". If somebody has, one more line says where its name and its address are, and
//! the name is compared. Everything else that decides whether `dlsym` takes a symbol (glibc `check_match`) depends on
//! the symbol alone, and was looked at when the index was made; where that did not say "yes" plainly, or where the name
//! differs (two names can share a hash), the objects are asked in turn from that one on, as without an index.
//!
//! It takes 19 bytes an export, in private memory: 4 for a hash and 8 for a [`Place`], and three slots of eight are
//! free.

use std::arch::x86_64::{
    __m128i, _mm_cmpeq_epi32, _mm_load_si128, _mm_movemask_epi8, _mm_packs_epi16, _mm_packs_epi32, _mm_set1_epi32,
};
use std::sync::Arc;

use crate::elf::addr::Addr;
use crate::elf::symbol::Symbol;
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

/// Where the name and the address of the first symbol with a hash are.
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
                    hash => index.add(hash, start, Place::of(symbol, object, start)),
                })?;
            }
        }
        // That hash means a free slot.
        (zeros == 0).then_some(index)
    }

    /// Adds a symbol of the object whose strings begin at `start`, unless one before it has its hash.
    fn add(&mut self, hash: u32, start: u32, place: Place) {
        let mut at = self.group_of(hash);
        loop {
            let slots = self.groups[at].0.iter_mut().zip(&mut self.places[at * SLOTS..]);
            for (known, first) in slots {
                if *known == 0 {
                    *known = hash;
                    *first = place;
                    return;
                }
                if *known == hash {
                    // The second in its object: now other versions count, and the order in the chain.
                    if first.name >= start {
                        first.value = Place::ASK;
                    }
                    return;
                }
            }
            at = self.after(at);
        }
    }

    /// What is known of `name`, whose hash is `hash`; `scope` is the one that the index is over.
    #[inline]
    pub(crate) fn look_up(&self, scope: &[Arc<Object>], name: &[u8], hash: u32) -> Known {
        let Some(slot) = self.slot(hash) else { return Known::Missing };
        let Place { name: at, value } = self.places[slot];
        let owner = self.owner(at);
        match (scope.get(owner), self.starts.get(owner)) {
            (Some(object), Some(start)) if value != Place::ASK && object.symbols().has_name_at(at - start, name) => {
                Known::At(Addr(object.bias().0.wrapping_add(value.into())), owner)
            }
            _ => Known::NotEnough,
        }
    }

    /// The place in the scope of the first object that has a symbol with this hash.
    pub(crate) fn first_place(&self, hash: u32) -> Option<usize> {
        Some(self.owner(self.places[self.slot(hash)?].name))
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

    #[inline]
    fn slot(&self, hash: u32) -> Option<usize> {
        let hash = hash & !1;
        if hash == 0 {
            return None;
        }
        let mut at = self.group_of(hash);
        loop {
            let group = &self.groups[at];
            let same = group.same(hash);
            if same != 0 {
                return Some(at * SLOTS + same.trailing_zeros() as usize);
            }
            if group.0[SLOTS - 1] == 0 {
                return None;
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

    /// The place of symbol `index` of `object`, whose strings begin at `start`.
    fn of(index: u32, object: &Object, start: u32) -> Place {
        let symbols = object.symbols();
        // A name outside of the table is nobody's, and would look like that of another object.
        let named = |symbol: &Symbol| (symbol.0.st_name as usize) < symbols.strings_length();
        let name = start + symbols.get(index).filter(named).map_or(0, |symbol| symbol.0.st_name);
        let plain = symbols.newest(index).filter(|s| named(s) && s.is_where_it_seems() && !s.is_absolute());
        let value = plain.and_then(|symbol| u32::try_from(symbol.value().0).ok());
        Place { name, value: value.unwrap_or(Place::ASK) }
    }
}

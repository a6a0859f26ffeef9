//! An index over all exports of a scope: from the hash of a name to its address.
//!
//! For each hash that the objects' own tables keep, it has the first object in the scope with a symbol of that hash. So
//! one cache line answers "nobody has it". If somebody has, one more line says where its name and its address are, and
//! the name is compared. Everything else that decides whether `dlsym` takes a symbol (glibc `check_match`) depends on
//! the symbol alone, and was looked at when the index was made; where that did not say "yes" plainly, or where the name
//! differs (two names can share a hash), the objects are asked in turn from that one on, as without an index.
//!
//! It takes 26 bytes an export, in private memory: 4 for a hash and 12 for a [`Place`], and three slots of eight are
//! free.

use std::arch::x86_64::{
    __m128i, _mm_cmpeq_epi32, _mm_load_si128, _mm_movemask_epi8, _mm_packs_epi16, _mm_packs_epi32, _mm_set1_epi32,
};
use std::sync::Arc;

use crate::elf::addr::Addr;
use crate::object::Object;

/// What the index knows of a name.
pub(crate) enum Known {
    /// Nobody defines it.
    Missing,
    /// It is here.
    At(Addr),
    /// The objects must be asked.
    NotEnough,
}

/// Plain numbers: it keeps nothing mapped. Whoever has it keeps its scope.
pub(crate) struct Index {
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

/// The first symbol with a hash.
#[derive(Clone, Copy)]
struct Place {
    /// Its object's place in the scope.
    object: u32,
    /// `st_name`; [`Place::ASK`] where there is more to it than the name.
    name: u32,
    /// How far behind the load bias it lies.
    value: u32,
}

impl Index {
    /// `None` where the objects' tables do not allow one: those of the older kind keep no hashes.
    pub(crate) fn over(scope: &[Arc<Object>]) -> Option<Index> {
        let (mut count, mut zeros) = (0, 0);
        for object in scope.iter().filter(|o| !o.symbols().has_no_hash()) {
            object.symbols().gnu_hash()?.walk(|_, hash| {
                count += 1;
                zeros += usize::from(hash == 0);
            })?;
        }
        let groups = count / FILLED + 1;
        let mut index = Index {
            groups: vec![Group([0; SLOTS]); groups].into_boxed_slice(),
            places: vec![Place { object: 0, name: Place::ASK, value: 0 }; groups * SLOTS].into_boxed_slice(),
        };
        for (place, object) in (0..).zip(scope) {
            if let Some(gnu) = object.symbols().gnu_hash() {
                gnu.walk(|symbol, hash| index.add(hash, place, object, symbol))?;
            }
        }
        (zeros == 0).then_some(index)
    }

    /// Adds symbol `index` of the object at `place`, unless one before it has its hash.
    fn add(&mut self, hash: u32, place: u32, object: &Object, index: u32) {
        let mut at = self.group_of(hash);
        loop {
            let slots = self.groups[at].0.iter_mut().zip(&mut self.places[at * SLOTS..]);
            for (known, first) in slots {
                if *known == 0 {
                    *known = hash;
                    *first = Place::of(index, object, place);
                    return;
                }
                if *known == hash {
                    // The second in its object: now other versions count, and the order in the chain.
                    if first.object == place {
                        first.name = Place::ASK;
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
        let place = &self.places[slot];
        match scope.get(place.object as usize) {
            Some(object) if object.symbols().has_name_at(place.name, name) => {
                Known::At(Addr(object.bias().0.wrapping_add(place.value.into())))
            }
            _ => Known::NotEnough,
        }
    }

    /// The place in the scope of the first object that has a symbol with this hash.
    pub(crate) fn first_place(&self, hash: u32) -> Option<usize> {
        Some(self.places[self.slot(hash)?].object as usize)
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
        (u64::from(spread) * self.groups.len() as u64 >> 32) as usize
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
    /// No name begins there.
    const ASK: u32 = u32::MAX;

    fn of(index: u32, object: &Object, place: u32) -> Place {
        let ask = Place { object: place, name: Place::ASK, value: 0 };
        let Some(symbol) = object.symbols().newest(index).filter(|s| s.is_plain() && !s.is_absolute()) else {
            return ask;
        };
        u32::try_from(symbol.value().0).map_or(ask, |value| Place { name: symbol.0.st_name, value, ..ask })
    }
}

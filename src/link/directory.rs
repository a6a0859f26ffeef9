//! What a library's handle remembers of its scope, so that lookups by name are fast.
//!
//! `dlsym` asks one object after the other: a few memory accesses for each that says "no", and with ninety dependencies
//! most of the time goes there. Who looks up many names gets an *index* over all exports of the scope: from a hash to
//! the first object that has a symbol with it, and to the symbol. One cache line then says "nobody" or "this one", and
//! the symbol's own entry, name and version still decide. Where the first symbol with the hash is not the one (another
//! version, a reference, a hash that two names share), the objects are asked in turn from there on, as always.
//!
//! The index takes some 16 bytes an export, and making it about as long as a few hundred lookups; so it is made when
//! lookups have asked as many objects as the hash tables have buckets, and never for who looks up few names.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

use crate::elf::symbol::Wanted;
use crate::link::scope::{Definition, ask_in_turn, definition};
use crate::object::Object;

/// One for each handle.
#[derive(Default)]
pub(crate) struct Directory {
    /// How many objects were asked so far.
    asked: AtomicUsize,
    /// `None` inside: there can be none.
    index: OnceLock<Option<Index>>,
    names: OnceLock<Arc<[Arc<str>]>>,
}

impl Directory {
    /// The definition of `wanted` in `scope`, which is always the same one: what `find_by_name` says.
    #[inline]
    pub(crate) fn find<'o>(&self, scope: &'o [Arc<Object>], wanted: &Wanted<'_>) -> Option<Definition<'o>> {
        let Some(Some(index)) = self.index.get() else { return self.ask(scope, wanted) };
        let first = index.first(wanted.hash)?;
        let object = scope.get(first.object)?;
        match object.symbols().settle(wanted, first.symbol, first.alone) {
            Some(symbol) => Some(definition(object, first.symbol, symbol)),
            None => ask_in_turn(&scope[first.object..], wanted, &mut ()).1,
        }
    }

    #[cold]
    fn ask<'o>(&self, scope: &'o [Arc<Object>], wanted: &Wanted<'_>) -> Option<Definition<'o>> {
        let (asked, found) = ask_in_turn(scope, wanted, &mut ());
        if self.index.get().is_none() {
            let before = self.asked.fetch_add(asked, Ordering::Relaxed);
            let enough = scope.iter().filter_map(|o| o.symbols().gnu_hash()).map(|gnu| gnu.bucket_count()).sum();
            // One thread makes it; the others go on without.
            if before < enough && before + asked >= enough {
                let _ = self.index.set(Index::over(scope));
            }
        }
        found
    }

    /// The names of the objects of `scope`, for errors.
    pub(crate) fn names(&self, scope: &[Arc<Object>]) -> Arc<[Arc<str>]> {
        self.names.get_or_init(|| scope.iter().map(|o| o.tag.name.clone()).collect()).clone()
    }
}

/// From the hash of a name to the first symbol in a scope that has it. Plain numbers: it keeps nothing in memory.
struct Index {
    groups: Box<[Group]>,
    /// How many of the low bits of an entry are the symbol's.
    symbol_bits: u32,
}

/// As many entries as a cache line holds; one that is full may have others in the next one.
#[derive(Clone, Copy)]
#[repr(C, align(64))]
struct Group {
    /// Hashes without their lowest bit, as the chains have them. That bit says: the object has another symbol with
    /// this hash.
    hashes: [u32; SLOTS],
    /// Place in the scope, and symbol index in the low bits; 0 is free. Symbol 0 is never one that can be found.
    entries: [u32; SLOTS],
}

const SLOTS: usize = 8;
/// How many entries there are in a group on average: about one in twenty groups is full.
const FILLED: usize = 4;
const FREE: Group = Group { hashes: [0; SLOTS], entries: [0; SLOTS] };

/// The first symbol with a hash.
struct First {
    /// Its object's place in the scope.
    object: usize,
    /// Its index there.
    symbol: u32,
    /// Whether no other symbol of that object has the hash.
    alone: bool,
}

impl Index {
    /// `None` where the objects' tables do not allow one: a table of the older kind keeps no hashes.
    fn over(scope: &[Arc<Object>]) -> Option<Index> {
        let mut count = 0;
        let mut symbols = 0;
        for object in scope.iter().filter(|o| !o.symbols().has_no_hash()) {
            let gnu = object.symbols().gnu_hash()?;
            gnu.walk(|index, _| {
                count += 1;
                symbols = symbols.max(index);
            })?;
        }
        let symbol_bits = u32::BITS - symbols.leading_zeros();
        let object_bits = usize::BITS - scope.len().leading_zeros();
        if symbol_bits + object_bits > u32::BITS {
            return None;
        }
        let mut index = Index { groups: vec![FREE; count / FILLED + 1].into_boxed_slice(), symbol_bits };
        for (place, object) in (0..).zip(scope) {
            if let Some(gnu) = object.symbols().gnu_hash() {
                gnu.walk(|symbol, hash| index.add(hash, place, symbol))?;
            }
        }
        Some(index)
    }

    fn add(&mut self, hash: u32, place: u32, symbol: u32) {
        let mut at = self.group_of(hash);
        loop {
            let group = &mut self.groups[at];
            for (slot, entry) in group.entries.iter_mut().enumerate() {
                if *entry == 0 {
                    *entry = place << self.symbol_bits | symbol;
                    group.hashes[slot] = hash;
                    return;
                }
                if group.hashes[slot] & !1 == hash {
                    // Of an earlier object, it hides this one.
                    group.hashes[slot] |= u32::from(*entry >> self.symbol_bits == place);
                    return;
                }
            }
            at = self.after(at);
        }
    }

    #[inline]
    fn first(&self, hash: u32) -> Option<First> {
        let mut at = self.group_of(hash);
        loop {
            let group = &self.groups[at];
            // All eight at once, without a branch: which one it is, if any, cannot be foretold.
            let same = (0..SLOTS).fold(0, |same, slot| same | u32::from((group.hashes[slot] ^ hash) < 2) << slot);
            if same != 0 {
                let slot = same.trailing_zeros() as usize;
                let entry = group.entries[slot];
                let (object, symbol) = ((entry >> self.symbol_bits) as usize, entry & ((1 << self.symbol_bits) - 1));
                // A free slot looks like one with the hash 0.
                return (entry != 0).then(|| First { object, symbol, alone: group.hashes[slot] & 1 == 0 });
            }
            if group.entries[SLOTS - 1] == 0 {
                return None;
            }
            at = self.after(at);
        }
    }

    /// By the high bits, once all of them count.
    #[inline]
    fn group_of(&self, hash: u32) -> usize {
        let spread = (hash >> 1).wrapping_mul(0x9e37_79b1);
        (u64::from(spread) * self.groups.len() as u64 >> 32) as usize
    }

    #[inline]
    fn after(&self, group: usize) -> usize {
        if group + 1 == self.groups.len() { 0 } else { group + 1 }
    }
}

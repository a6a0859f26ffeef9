//! The short way from a reference to an address, for those whom nobody watches.
//!
//! Nearly all references are of the simplest kind: to a global symbol, whose definition is plain memory of one object.
//! They are bound here in few steps. Whatever is not so simple (a symbol that is protected, unique, thread-local or
//! absolute, one whose resolver cannot be asked yet, one that is missing, an object with only the older hash table, …)
//! gets no answer here, and goes the long way, [`Scope::bind`](super::scope::Scope::bind), which knows everything. So
//! without this file the loader would do the same, more slowly.

use std::time::{Duration, Instant};

use goblin::elf64::reloc::{R_X86_64_64, R_X86_64_GLOB_DAT, R_X86_64_JUMP_SLOT, Rela};

use super::first::First;
use super::scope::{Asked, nobody_has};
use crate::capi;
use crate::elf::addr::{Addr, Bias};
use crate::elf::gnu_hash::GnuHash;
use crate::elf::symbol::{Class, Simply, SymbolTable};
use crate::event::{Probe, Report};
use crate::memory::{self, DataWords, NothingAround, Watch};
use crate::object::Object;
use crate::runtime::ifunc;

/// What it takes to bind the plain references of one object: kept at hand while it is relocated.
pub(crate) struct Plain<'s> {
    symbols: &'s SymbolTable<'s>,
    gnu: Option<GnuHash<'s>>,
    words: DataWords<'s>,
    bias: Bias,
    /// Its calls are left for their first time.
    lazy: bool,
    /// The objects that are asked before it. `None`: no references are bound here.
    before: Option<&'s [Asked<'s>]>,
    /// It asks itself first.
    symbolic: bool,
    asked: &'s [Asked<'s>],
    first: Option<&'s First>,
    /// The last symbol, what for, and its address: linkers sort relocations so that those of one symbol follow each
    /// other. Symbol 0 is none.
    last: (u32, Class, Addr),
    /// Who was found to have something, by place.
    used: Vec<bool>,
    /// How often a symbol was asked for, and how long the answers took, if someone wants to know.
    pub count: u64,
    pub looking_up: Duration,
}

/// Not so simple: the long way knows.
struct NotPlain;

impl<'s> Plain<'s> {
    /// For `object`, before which so many are asked. `None` if it has no data.
    pub(super) fn new(
        object: &'s Object,
        before: Option<usize>,
        asked: &'s [Asked<'s>],
        first: Option<&'s First>,
    ) -> Option<Plain<'s>> {
        Some(Plain {
            symbols: object.symbols(),
            gnu: object.gnu_hash(),
            words: object.memory.data_words()?,
            bias: object.bias(),
            lazy: object.lazy.get().is_some(),
            before: before.and_then(|before| asked.get(..before)),
            symbolic: object.dynamic.symbolic,
            asked,
            first,
            last: (0, Class::Address, Addr(0)),
            used: vec![false; asked.len()],
            count: 0,
            looking_up: Duration::ZERO,
        })
    }

    /// Carries out the entries at the start of `entries`, as long as they are plain: `B + A`, or `S`, or `S + A` of a
    /// plain symbol. Returns how many that were.
    pub(crate) fn relocate<P: Probe + ?Sized>(&mut self, entries: &[Rela], report: Report<'_, P>) -> usize {
        let mut next = 0;
        while let Some(entry) = entries.get(next) {
            let (symbol, kind) = ((entry.r_info >> 32) as u32, entry.r_info as u32);
            let (class, addend) = match kind {
                R_X86_64_64 => (Class::Address, entry.r_addend),
                R_X86_64_GLOB_DAT => (Class::Address, 0),
                R_X86_64_JUMP_SLOT if !self.lazy => (Class::Plt, 0),
                _ => match self.words.store_relatives(&entries[next..]) {
                    0 => break,
                    done => {
                        next += done;
                        continue;
                    }
                },
            };
            if (self.last.0, self.last.1) != (symbol, class) || symbol == 0 {
                self.fetch_ahead(&entries[next..]);
                let Some(address) = self.ask(symbol, class, report) else { break };
                self.last = (symbol, class, address);
            }
            if !self.words.store(entry.r_offset, self.last.2.0.wrapping_add_signed(addend)) {
                break;
            }
            next += 1;
        }
        next
    }

    /// The objects whose definitions were used.
    pub(crate) fn used(&self) -> impl Iterator<Item = &'s Object> {
        self.asked.iter().zip(&self.used).filter(|(_, used)| **used).map(|(asked, _)| asked.object)
    }

    /// Relocating waits for memory more than for anything else: symbols and names lie all over the file. So those
    /// of a few entries ahead are asked for now.
    #[inline(always)]
    fn fetch_ahead(&self, entries: &[Rela]) {
        let symbol = |ahead: usize| entries.get(ahead).map(|entry| (entry.r_info >> 32) as u32);
        if let Some(symbol) = symbol(16) {
            memory::prefetch(self.symbols.address_of(symbol));
        }
        if let Some(symbol) = symbol(8) {
            memory::prefetch(self.symbols.key_place(symbol));
        }
    }

    #[inline(always)]
    fn ask<P: Probe + ?Sized>(&mut self, symbol: u32, class: Class, report: Report<'_, P>) -> Option<Addr> {
        let start = report.times_lookups().then(Instant::now);
        let address = self.bind(symbol, class, report);
        self.looking_up += start.map_or(Duration::ZERO, |start| start.elapsed());
        self.count += u64::from(report.listening() && address.is_some());
        address
    }

    /// What symbol `index` of the object is bound to.
    #[inline(always)]
    fn bind<P: Probe + ?Sized>(&mut self, index: u32, class: Class, report: Report<'_, P>) -> Option<Addr> {
        let (symbol, before) = (self.symbols.get(index)?, self.before?);
        if !symbol.is_plain() {
            if !symbol.is_plain_reference() {
                return None;
            }
            let nobody = symbol.is_weak().then_some(Addr(0));
            return self.search(index, class, self.asked, report).ok()?.or(nobody);
        }
        let own = self.bias + symbol.value();
        // No name is read here: the hash stands in the object's own chain, all but its lowest bit.
        let hash = self.gnu.as_ref()?.half_hash(index)?;
        if nobody_has(before, self.first, hash) {
            return Some(own);
        }
        self.search(index, class, before, report).ok()?.or(Some(own))
    }

    /// Asks these objects for the name of symbol `index`, in order. `None`: nobody has it.
    #[inline(never)]
    fn search<P: Probe + ?Sized>(
        &mut self,
        index: u32,
        class: Class,
        objects: &[Asked<'s>],
        report: Report<'_, P>,
    ) -> Result<Option<Addr>, NotPlain> {
        let symbol = self.symbols.get(index).ok_or(NotPlain)?;
        let wanted = self.symbols.wanted(index, &symbol, class);
        // Who asks itself first may have the name in another version.
        if self.symbolic && self.gnu.is_none_or(|gnu| gnu.may_have(wanted.hash)) {
            return Err(NotPlain);
        }
        let start = self.first.map_or(0, |first| first.place(wanted.hash));
        for (asked, by) in objects.get(start..).unwrap_or_default().iter().zip(start..) {
            let gnu = asked.gnu.as_ref().ok_or(NotPlain)?;
            if !gnu.may_have(wanted.hash) {
                continue;
            }
            let object = asked.object;
            let address = match object.symbols().find_simply(gnu, &wanted) {
                Simply::No => continue,
                Simply::Yes(_) if object.is_host() && capi::replacement(object, wanted.name).is_some() => {
                    return Err(NotPlain);
                }
                Simply::Yes(found) => object.bias() + found.value(),
                Simply::Ifunc(found) if object.is_startup() => {
                    let resolver = object.bias() + found.value();
                    // SAFETY: the resolver of a start-up object, complete and relocated.
                    unsafe { ifunc::resolve(resolver, &NothingAround, &mut Watch::default(), report) }
                }
                Simply::Ifunc(_) | Simply::Perhaps => return Err(NotPlain),
            };
            if let Some(used) = self.used.get_mut(by) {
                *used = true;
            }
            return Ok(Some(address));
        }
        Ok(None)
    }
}

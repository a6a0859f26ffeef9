//! Finds the thread-local blocks of loaded objects.
//!
//! The C library tells the module ids and blocks of its own objects only, and a block only after its first use. So both
//! are read from slots whose meaning is sure: those that refer to the object's own variables, or to a variable that no
//! other object has. The meaning of every other slot is then found from these.

use std::collections::HashMap;

use dlscope::elf::reloc::RelocKind;

use super::file::{ElfFile, Slot};
use super::process::{Block, Present, thread_pointer, through_descriptor};
use super::snapshot::Role;

/// The slots of a loaded object, and what stands in them.
pub struct Slots<'f> {
    pub file: &'f ElfFile,
    pub slots: Vec<Slot>,
    pub words: Vec<Option<u64>>,
    pub bias: u64,
}

impl Slots<'_> {
    /// The slots of one relocation type that refer to the object's own variables, each with the offset of the variable
    /// in the block and the word in the slot. Slots that no other object can take over come first.
    fn own(&self, kind: RelocKind) -> Vec<(Slot, u64, u64)> {
        let mut found: Vec<_> = self
            .slots
            .iter()
            .zip(&self.words)
            .filter(|(slot, _)| slot.kind == kind)
            .filter_map(|(slot, word)| {
                let (sure, value) = if slot.symbol == 0 {
                    (true, 0)
                } else {
                    let (symbol, _) = self.file.symbol_of(slot).filter(|(s, _)| s.is_tls() && !s.is_undefined())?;
                    (symbol.binds_locally() || symbol.is_protected(), symbol.value().0)
                };
                Some((sure, *slot, value.wrapping_add_signed(slot.addend), (*word)?))
            })
            .collect();
        found.sort_by_key(|(sure, ..)| !sure);
        found.into_iter().map(|(_, slot, offset, word)| (slot, offset, word)).collect()
    }

    fn module(&self) -> Option<u64> {
        // A module id has no addend.
        self.own(RelocKind::DtpMod64).first().map(|&(.., word)| word)
    }

    fn start(&self) -> Option<u64> {
        let of = |kind| self.own(kind).first().and_then(|&(slot, offset, word)| self.start_by(&slot, offset, word));
        of(RelocKind::TpOff64).or_else(|| of(RelocKind::TlsDesc))
    }

    /// Where the calling thread's block begins in which the variable of a slot has this `offset`. `word` is what stands in
    /// the slot. Only for slots that give a distance from the thread pointer.
    fn start_by(&self, slot: &Slot, offset: u64, word: u64) -> Option<u64> {
        let distance = match slot.kind {
            RelocKind::TpOff64 => word,
            // SAFETY: the slot is relocated: its object is loaded.
            RelocKind::TlsDesc => unsafe { through_descriptor(self.bias.wrapping_add(slot.place.0)) },
            _ => return None,
        };
        Some(thread_pointer().wrapping_add(distance).wrapping_sub(offset))
    }

    /// The exported thread-local variables, and their offsets in the block.
    fn variables(&self) -> HashMap<Vec<u8>, u64> {
        let Some(symbols) = self.file.symbols() else { return HashMap::new() };
        let exports = symbols.exports().filter(|(_, symbol, _)| symbol.is_tls());
        exports.map(|(_, symbol, _)| (symbols.name(&symbol).to_vec(), symbol.value().0)).collect()
    }

    /// Where the block begins that has these variables, if a slot of this object refers to one of them.
    fn start_of(&self, variables: &HashMap<Vec<u8>, u64>) -> Option<u64> {
        let symbols = self.file.symbols()?;
        self.slots.iter().zip(&self.words).find_map(|(slot, word)| {
            let symbol = symbols.get(slot.symbol).filter(|symbol| symbol.is_tls() && symbol.is_undefined())?;
            let value = variables.get(symbols.name(&symbol))?;
            self.start_by(slot, value.wrapping_add_signed(slot.addend), (*word)?)
        })
    }

    /// The address of the `__tls_get_addr` that this object calls.
    fn get_addr(&self) -> Option<u64> {
        let is_call = |slot: &Slot| matches!(slot.kind, RelocKind::JumpSlot | RelocKind::GlobDat);
        let calls = self.slots.iter().zip(&self.words).filter(|(slot, _)| is_call(slot));
        let named = |slot: &Slot| self.file.symbol_of(slot).is_some_and(|(_, n)| n.starts_with("__tls_get_addr@"));
        calls.filter(|(slot, _)| named(slot)).find_map(|(_, word)| *word)
    }
}

/// Fills in the blocks of those objects that have thread-local variables. `slots` has the slots of each object that was
/// loaded.
pub fn find_blocks(objects: &mut [(Present, Role)], all: &[Option<Slots<'_>>]) {
    let get_addr = all.iter().flatten().find_map(Slots::get_addr);
    for ((object, _), slots) in objects.iter_mut().zip(all) {
        let Some(slots) = slots else { continue };
        let Some(tls) = slots.file.image.tls() else { continue };
        let told = object.block;
        let module = told.map(|block| block.module).or_else(|| slots.module());
        // SAFETY: the function and the id come from slots of loaded objects.
        let asked = || Some(unsafe { call_get_addr(get_addr?, module?) });
        let users = || {
            let mut variables = slots.variables();
            let others = all.iter().flatten().filter(|other| other.bias != slots.bias);
            others.clone().for_each(|other| variables.retain(|name, _| !other.variables().contains_key(name)));
            others.clone().find_map(|other| other.start_of(&variables))
        };
        let start = slots.start().or_else(asked).or(told.and_then(|block| block.start)).or_else(users);
        object.block = Some(Block { module: module.unwrap_or(0), start, size: tls.memsz });
    }
}

/// # Safety
/// `function` is a `__tls_get_addr`, and `module` the id of a loaded object.
unsafe fn call_get_addr(function: u64, module: u64) -> u64 {
    type GetAddr = unsafe extern "C" fn(*const [u64; 2]) -> u64;
    // SAFETY: the caller's; the argument is a `tls_index` (psABI, "Thread-Local Storage").
    unsafe {
        let function: GetAddr = std::mem::transmute(function as *const ());
        function(&[module, 0])
    }
}

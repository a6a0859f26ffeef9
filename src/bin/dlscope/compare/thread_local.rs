//! Finds the thread-local blocks of loaded objects.
//!
//! The C library tells the module ids and blocks of its own objects only, and a block only after its first use. So both
//! are read from slots whose meaning is sure: those that refer to the object's own variables. The meaning of every
//! other slot is then found from these.

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
        let fixed = self.own(RelocKind::TpOff64).first().map(|&(_, offset, word)| word.wrapping_sub(offset));
        let described = || {
            let &(slot, offset, _) = self.own(RelocKind::TlsDesc).first()?;
            // SAFETY: the slot is relocated: its object is loaded.
            let distance = unsafe { through_descriptor(self.bias.wrapping_add(slot.place.0)) };
            Some(distance.wrapping_sub(offset))
        };
        fixed.or_else(described).map(|distance| thread_pointer().wrapping_add(distance))
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
pub fn find_blocks(objects: &mut [(Present, Role)], slots: &[Option<Slots<'_>>]) {
    let get_addr = slots.iter().flatten().find_map(Slots::get_addr);
    for ((object, _), slots) in objects.iter_mut().zip(slots) {
        let Some(slots) = slots else { continue };
        let Some(tls) = slots.file.image.tls() else { continue };
        let told = object.block;
        let module = told.map(|block| block.module).or_else(|| slots.module());
        // SAFETY: the function and the id come from slots of loaded objects.
        let asked = || Some(unsafe { call_get_addr(get_addr?, module?) });
        let start = slots.start().or_else(asked).or(told.and_then(|block| block.start));
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

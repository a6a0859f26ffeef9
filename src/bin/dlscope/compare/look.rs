//! Makes the snapshot of a process: finds the meaning of every word.

use std::collections::HashMap;
use std::io;
use std::ops::Range;

use dlscope::elf::reloc::RelocKind;

use super::file::{ElfFile, ExportLookup, Slot, identity};
use super::process::{Maps, OwnMemory, Present, listed, thread_pointer, through_descriptor};
use super::snapshot::{Role, SeenObject, Snapshot, WordMeaning};
use super::thread_local::{Slots, find_blocks};
use crate::bytes::path_of;

/// The process of the child, after the library was loaded.
pub struct LoadedProcess {
    /// All objects, those of the host first.
    pub objects: Vec<(Present, Role)>,
    /// The index of the opened library in `objects`.
    pub root: usize,
    /// The files of `objects`, except for objects of the host.
    pub files: Vec<Option<ElfFile>>,
    pub memory: OwnMemory,
    /// The words in the slots before constructors ran, by load bias, for the objects that dlscope's probe saw.
    pub before: HashMap<u64, Vec<Option<u64>>>,
    find: Find,
}

/// Looks up an exported symbol.
type Find = Box<dyn Fn(&ExportLookup) -> Option<u64>>;

impl LoadedProcess {
    pub fn new(
        objects: Vec<(Present, Role)>,
        root: u64,
        before: HashMap<u64, Vec<Option<u64>>>,
        find: Find,
    ) -> io::Result<LoadedProcess> {
        let root = objects.iter().position(|(o, _)| o.bias == root);
        let root = root.ok_or_else(|| io::Error::other("the opened library is in no list"))?;
        let mut files = Vec::new();
        for (at, (object, role)) in objects.iter().enumerate() {
            let wanted = *role != Role::Host || at == root;
            let file = if wanted { ElfFile::open(&path_of(&object.path)) } else { None };
            // Without the file there would be nothing to compare, and no difference could be found.
            if file.is_none() && (*role == Role::New || at == root) {
                return Err(io::Error::other(format!("{} cannot be read", object.path)));
            }
            files.push(file);
        }
        Ok(LoadedProcess { objects, root, files, memory: OwnMemory::open()?, before, find })
    }

    pub fn snapshot(mut self) -> io::Result<Snapshot> {
        let exports = self.files[self.root].as_ref().map_or(Vec::new(), ElfFile::exports);
        let found: Vec<_> = exports.iter().map(|export| (self.is_thread_local(export), (self.find)(export))).collect();
        let files = std::mem::take(&mut self.files);
        let loaded = self.objects.iter().zip(&files).map(|((present, role), file)| {
            let file = file.as_ref().filter(|_| *role != Role::Host)?;
            let slots = file.slots();
            let words = raw_words(&slots, file, present.bias, &self.memory);
            Some(Slots { file, slots, words, bias: present.bias })
        });
        let slots: Vec<Option<Slots<'_>>> = loaded.collect();
        // The lookups above may have allocated thread-local blocks, so only now all blocks can be found.
        for listed in listed() {
            if let Some((object, _)) = self.objects.iter_mut().find(|(o, _)| o.bias == listed.bias) {
                object.block = listed.block;
            }
        }
        find_blocks(&mut self.objects, &slots);
        let meaning = Meaning::new(&self.objects, Maps::read()?);
        let exports = found.iter().map(|&(tls, address)| address.map(|a| meaning.of_symbol(a, tls))).collect();
        let objects = slots.iter().enumerate().map(|(at, slots)| self.see(at, slots.as_ref(), &meaning)).collect();
        Ok(Snapshot { objects, exports, root: self.root })
    }

    fn see(&self, at: usize, slots: Option<&Slots<'_>>, meaning: &Meaning) -> SeenObject {
        let (present, role) = &self.objects[at];
        let file = identity(&path_of(&present.path));
        let seen = SeenObject { path: present.path.clone(), role: *role, file, ..SeenObject::default() };
        let Some(Slots { file, slots, words, .. }) = slots else { return seen };
        let changed = match self.before.get(&present.bias) {
            Some(before) => {
                let differs = |(_, (before, after)): &(u32, (&Option<u64>, _))| before.is_some() && *before != *after;
                (0..).zip(before.iter().zip(words)).filter(differs).map(|(n, _)| n).collect()
            }
            None => Vec::new(),
        };
        let nested = *role == Role::Nested;
        let word = |(slot, raw): (&Slot, &Option<u64>)| match raw {
            None => WordMeaning::Unreadable,
            Some(raw) if nested && is_unbound(slot, *raw, file, present.bias) => WordMeaning::Lazy,
            Some(raw) => meaning.of_slot(at as u32, slot, *raw),
        };
        let slots = slots.iter().zip(words).map(word).collect();
        let block = self.changed_in_block(present, file);
        SeenObject { slots, changed, block, pages: meaning.maps.pages(present), ..seen }
    }

    /// The words of this thread's block that differ from the `PT_TLS` image.
    fn changed_in_block(&self, present: &Present, file: &ElfFile) -> Option<Vec<u64>> {
        let (tls, start) = (file.image.tls()?, present.block?.start?);
        let from = present.bias.wrapping_add(tls.vaddr.0);
        let mut image = self.memory.read(from..from.checked_add(tls.filesz)?)?;
        let block = self.memory.read(start..start.checked_add(tls.memsz)?)?;
        image.resize(block.len(), 0);
        let words = (0..).step_by(8).zip(image.chunks(8).zip(block.chunks(8)));
        Some(words.filter(|(_, (image, block))| image != block).map(|(offset, _)| offset).collect())
    }

    fn is_thread_local(&self, export: &ExportLookup) -> bool {
        let symbols = self.files[self.root].as_ref().and_then(ElfFile::symbols);
        symbols.and_then(|s| s.get(export.symbol)).is_some_and(|s| s.is_tls())
    }
}

/// The word in each slot. A slot of 4 bytes is extended to 8, with its sign if its relocation type is signed.
pub fn raw_words(slots: &[Slot], file: &ElfFile, bias: u64, memory: &OwnMemory) -> Vec<Option<u64>> {
    let mut chunks: Vec<(Range<u64>, Vec<u8>)> = Vec::new();
    for segment in file.image.loads() {
        let inside = |slot: &&Slot| slot.place >= segment.vaddr && slot.place.0 - segment.vaddr.0 < segment.memsz;
        let places = slots.iter().filter(inside).map(|slot| slot.place.0);
        let ends = slots.iter().filter(inside).map(|slot| slot.place.0.saturating_add(slot.size() as u64));
        let (Some(start), Some(end)) = (places.min(), ends.max()) else { continue };
        if let Some(bytes) = memory.read(bias.wrapping_add(start)..bias.wrapping_add(end)) {
            chunks.push((start..end, bytes));
        }
    }
    let word = |slot: &Slot| {
        let (range, bytes) = chunks.iter().find(|(range, _)| range.contains(&slot.place.0))?;
        let size = slot.size().min(8);
        let at = (slot.place.0 - range.start) as usize;
        let mut word = [0; 8];
        word[..size].copy_from_slice(bytes.get(at..at + size)?);
        let word = u64::from_le_bytes(word);
        Some(if slot.kind == RelocKind::Pc32 { word as i32 as u64 } else { word })
    };
    slots.iter().map(word).collect()
}

/// Whether a jump slot still points into the PLT: glibc adds the bias to the word from the file, and binds the slot at
/// the first call.
fn is_unbound(slot: &Slot, raw: u64, file: &ElfFile, bias: u64) -> bool {
    slot.kind == RelocKind::JumpSlot && file.word(slot.place).is_some_and(|left| raw == bias.wrapping_add(left))
}

/// Finds what words mean in this process.
struct Meaning<'a> {
    objects: &'a [(Present, Role)],
    maps: Maps,
    /// The indexes of the objects, by ascending address.
    order: Vec<u32>,
}

impl<'a> Meaning<'a> {
    fn new(objects: &'a [(Present, Role)], maps: Maps) -> Meaning<'a> {
        let mut order: Vec<u32> = (0..objects.len() as u32).collect();
        order.sort_by_key(|&at| objects[at as usize].0.span.start);
        Meaning { objects, maps, order }
    }

    fn of_slot(&self, own: u32, slot: &Slot, raw: u64) -> WordMeaning {
        let present = &self.objects[own as usize].0;
        let place = present.bias.wrapping_add(slot.place.0);
        match slot.kind {
            // The word may point to the end of the object, and there the next object may begin: the addend is sure.
            RelocKind::Relative | RelocKind::Relative64 if raw == present.bias.wrapping_add_signed(slot.addend) => {
                WordMeaning::Object(own, slot.addend as u64)
            }
            RelocKind::Pc32 => self.of_address(raw.wrapping_add(place).wrapping_sub(slot.addend as u64)),
            RelocKind::Size32 | RelocKind::Size64 | RelocKind::Abs32 | RelocKind::DtpOff64 => WordMeaning::Value(raw),
            RelocKind::DtpMod64 => self.of_module(raw),
            RelocKind::TpOff64 => {
                self.of_thread_local(thread_pointer().wrapping_add(raw)).unwrap_or(WordMeaning::Value(raw))
            }
            RelocKind::TlsDesc => {
                // SAFETY: the loader has made a descriptor of these two words.
                let offset = unsafe { through_descriptor(place) };
                let address = thread_pointer().wrapping_add(offset);
                // An undefined weak variable has no block: its address is the addend in every thread, so its distance
                // from the thread pointer differs from process to process (glibc `_dl_tlsdesc_undefweak`).
                let nowhere = (address == slot.addend as u64).then_some(WordMeaning::Value(address));
                nowhere.or_else(|| self.of_thread_local(address)).unwrap_or(WordMeaning::Value(offset))
            }
            _ => self.of_address(raw),
        }
    }

    fn of_symbol(&self, address: u64, thread_local: bool) -> WordMeaning {
        let variable = thread_local.then(|| self.of_thread_local(address)).flatten();
        variable.unwrap_or_else(|| self.of_address(address))
    }

    fn of_address(&self, address: u64) -> WordMeaning {
        let after = self.order.partition_point(|&at| self.objects[at as usize].0.span.start <= address);
        let below = after.checked_sub(1).map(|n| self.order[n]);
        let inside = below.filter(|&at| address < self.objects[at as usize].0.span.end);
        // Symbols such as `_end` have the address behind the last byte of their object.
        let at_end = || below.filter(|&at| address == self.objects[at as usize].0.span.end);
        match inside.or_else(at_end) {
            Some(at) => WordMeaning::Object(at, address.wrapping_sub(self.objects[at as usize].0.bias)),
            None if self.maps.contains(address) => WordMeaning::Elsewhere,
            None => WordMeaning::Value(address),
        }
    }

    fn of_module(&self, id: u64) -> WordMeaning {
        let at = self.objects.iter().position(|(o, _)| o.block.is_some_and(|b| b.module == id));
        at.map_or(WordMeaning::Value(id), |at| WordMeaning::Module(at as u32))
    }

    fn of_thread_local(&self, address: u64) -> Option<WordMeaning> {
        let in_block = |o: &Present, may_be_end: bool| {
            let block = o.block?;
            let offset = address.checked_sub(block.start?)?;
            (offset < block.size || may_be_end && offset == block.size).then_some(offset)
        };
        // Loaded objects first: dlscope takes their blocks from the block of the program.
        let find = |may_be_end| {
            let objects = self.objects.iter().enumerate().rev();
            objects.filter_map(|(at, (o, _))| Some((at, in_block(o, may_be_end)?))).next()
        };
        find(false).or_else(|| find(true)).map(|(at, offset)| WordMeaning::ThreadLocal(at as u32, offset))
    }
}

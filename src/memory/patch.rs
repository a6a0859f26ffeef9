//! Stores of single words into an object's memory, and the populating of pages for many such stores.

use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};

use nix::sys::mman::{self, MmapAdvise};

use super::{Memory, Region, fits, name_of, pointer, raw};
use crate::elf::addr::{Addr, Vaddr, Word, page_up};
use crate::event::{Kind, Report};

/// A number that relocations store.
pub(crate) trait Storable: Copy + Into<u64> {}
impl Storable for u64 {}
impl Storable for u32 {}

/// The words of an object's data segment. A copy of the segment's bounds is kept here, so that a loop which stores many
/// words checks each of them with one comparison.
#[derive(Clone, Copy)]
pub(crate) struct DataWords<'m> {
    memory: &'m Memory,
    report: Report<'m>,
    /// `B`, the load bias.
    bias: u64,
    start: u64,
    /// How many places, from the start of the segment on, have room for a whole word. It is 0 if a probe listens closely:
    /// then every store goes the long way.
    room: u64,
}

impl DataWords<'_> {
    /// [`Memory::store`] for a word that most likely lies in the data segment. The long way, for all other words and
    /// for probes, begins with `tell`: one comparison decides on both, because a library may have 100,000 such words.
    #[track_caller]
    #[inline(always)]
    pub(crate) fn store(&self, place: Vaddr, value: u64, tell: impl FnOnce()) -> Option<()> {
        if place.0.wrapping_sub(self.start) >= self.room {
            tell();
            return self.memory.store(place, value, self.report);
        }
        let slot = pointer(Addr(self.bias.wrapping_add(place.0))).cast::<u64>();
        // SAFETY: as for `Memory::store`: the whole word lies in the writable segment.
        unsafe { slot.write_unaligned(value) };
        Some(())
    }
}

impl Memory {
    /// Stores `value`, 4 or 8 bytes, at `place`. `None`: that is not inside a writable segment, and nothing is stored.
    #[track_caller]
    #[inline(never)]
    pub(crate) fn store<V: Storable>(&self, place: Vaddr, value: V, report: Report<'_>) -> Option<()> {
        let size = size_of::<V>() as u64;
        if !fits(&self.data, place, size) && !self.may_store(place, size) {
            return None;
        }
        let address = self.bias + place;
        let slot = pointer(address).cast::<V>();
        if report.closely() {
            // SAFETY: as for the write below; a writable segment that was checked is readable, too.
            let before = unsafe { slot.read_unaligned() };
            report.tell_each(|| Kind::Store {
                address,
                before: Word(before.into()),
                after: Word(value.into()),
                size: size_of::<V>() as u8,
            });
        }
        // SAFETY: the whole slot lies in a segment of ours that is mapped writable at this stage; no Rust
        // reference to memory in writable segments is ever made.
        unsafe { slot.write_unaligned(value) };
        Some(())
    }

    /// The words of the data segment, for a loop that stores many of them.
    pub(crate) fn data_words<'m>(&'m self, report: Report<'m>) -> DataWords<'m> {
        let room = if report.closely() { 0 } else { (self.data.end.0 - self.data.start.0).saturating_sub(7) };
        DataWords { memory: self, report, bias: self.bias.0, start: self.data.start.0, room }
    }

    /// Takes the page faults of `range` all at once: the kernel copies its pages for this process
    /// (`MADV_POPULATE_WRITE`, Linux 5.14), for half of what the faults would cost. The bytes stay, but each page is a
    /// copy from now on, so this is only for pages that will be written to. An older kernel refuses, and the faults
    /// come one by one.
    #[track_caller]
    pub(crate) fn populate(&self, range: Range<Vaddr>, report: Report<'_>) {
        let pages = range.start.page_down()..Vaddr(page_up(range.end.0).unwrap_or(0));
        let within = pages.start >= self.data.start.page_down() && pages.end.0 <= page_up(self.data.end.0).unwrap_or(0);
        if !within || pages.start >= pages.end || self.owned.is_none() {
            return;
        }
        let (address, length) = (self.bias + pages.start, pages.end.0 - pages.start.0);
        // SAFETY: writable pages of our own; their content does not change.
        let done = unsafe { mman::madvise(raw(address), length as usize, MmapAdvise::MADV_POPULATE_WRITE) };
        report.tell(|| Kind::Populate { address, length, error: done.err().map(name_of) });
    }

    /// [`Memory::store`] for a word that other threads read and write at the same time: a slot that is bound at its
    /// first call.
    #[track_caller]
    pub(crate) fn store_shared(&self, place: Vaddr, value: u64, report: Report<'_>) -> Option<()> {
        let address = self.bias + place;
        if !self.is_writable(place) || !address.0.is_multiple_of(8) {
            return None;
        }
        // SAFETY: an aligned word in a segment of ours that is mapped writable. Code of the library only loads it
        // whole, and so does the processor's indirect jump.
        let slot = unsafe { AtomicU64::from_ptr(pointer(address).cast()) };
        let before = slot.swap(value, Ordering::AcqRel);
        report.tell_each(|| Kind::Store { address, before: Word(before), after: Word(value), size: 8 });
        Some(())
    }

    /// Whether the 8 bytes at `place` lie in a writable segment of an object that dlscope mapped.
    pub(crate) fn is_writable(&self, place: Vaddr) -> bool {
        let holds = |r: &Region| r.prot.writable() && fits(&r.range, place, 8);
        self.owned.is_some() && self.regions.iter().any(holds)
    }

    /// Whether `size` bytes at `place` may be written in a segment other than the last writable one, which `data` is.
    #[cold]
    fn may_store(&self, place: Vaddr, size: u64) -> bool {
        let text_open = self.text_open.load(Ordering::Relaxed);
        let may = |r: &Region| (r.prot.writable() || text_open) && fits(&r.range, place, size);
        self.owned.is_some() && self.regions.iter().any(may)
    }
}

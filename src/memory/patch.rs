//! Stores of words that need more than a check of their place, and the populating of pages for many stores.

use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};

use nix::sys::mman::{self, MmapAdvise};

use super::{Memory, Region, fits, name_of, pointer, raw};
use crate::elf::addr::{Vaddr, Word, page_up};
use crate::event::{Kind, Report};

impl Memory {
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
    pub(super) fn may_store(&self, place: Vaddr, size: u64) -> bool {
        let text_open = self.text_open.load(Ordering::Relaxed);
        let may = |r: &Region| (r.prot.writable() || text_open) && fits(&r.range, place, size);
        self.owned.is_some() && self.regions.iter().any(may)
    }
}

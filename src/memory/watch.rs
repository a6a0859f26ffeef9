//! What foreign code changes in the memory of objects: the memory as it was before, and the bytes that differ after.
//!
//! A library may have gigabytes of zeros that it never touches. To read such a page costs time, and to copy it costs
//! memory. So a large range of zeros is looked at through `/proc/self/pagemap`, which says of each page whether it was
//! ever touched (Linux, `Documentation/admin-guide/mm/pagemap.rst`).

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::ops::Range;
use std::os::unix::fs::FileExt;

use super::foreign::Around;
use super::{Memory, Region};
use crate::elf::addr::{Addr, PAGE, Vaddr};

/// As many bytes of zeros are looked at as any other memory. To ask the kernel about them would take longer.
const FEW: u64 = 1 << 20;

/// A writable segment of an object that we mapped.
pub(super) struct Writable {
    at: Addr,
    range: Range<Vaddr>,
    /// Where its pages of zeros begin: as the end of `range`, if they are few.
    zeros: Vaddr,
}

impl Writable {
    pub(super) fn of(region: &Region, at: Addr) -> Writable {
        let Region { range, zeros, .. } = region;
        let few = range.end.0.saturating_sub(zeros.0) < FEW;
        Writable { at, range: range.clone(), zeros: if few { range.end } else { *zeros } }
    }

    fn length(&self) -> u64 {
        self.range.end.0 - self.range.start.0
    }

    /// The page of zeros that begins `from` bytes behind the start of the segment.
    fn page(&self, from: u64) -> Range<Vaddr> {
        let start = self.range.start.0 + from;
        Vaddr(start)..Vaddr((start + PAGE).min(self.range.end.0))
    }

    /// The pages of zeros that were touched, each by its distance from the start of the segment.
    fn touched(&self) -> Vec<u64> {
        let from = self.zeros.0 - self.range.start.0;
        let (first, count) = ((self.at.0 + from) / PAGE, (self.length() - from).div_ceil(PAGE));
        let all = (0..count).map(|page| from + page * PAGE);
        match pagemap(first, count) {
            // Bit 63: present; bit 62: swapped out.
            Some(words) => all.zip(words).filter(|(_, word)| word >> 62 != 0).map(|(page, _)| page).collect(),
            None => all.collect(),
        }
    }
}

/// What the kernel says of `count` pages from the page with the number `first` on, a word for each.
fn pagemap(first: u64, count: u64) -> Option<Vec<u64>> {
    if count == 0 {
        return Some(Vec::new());
    }
    let mut bytes = vec![0; count as usize * 8];
    File::open("/proc/self/pagemap").ok()?.read_exact_at(&mut bytes, first * 8).ok()?;
    Some(bytes.as_chunks().0.iter().map(|word| u64::from_le_bytes(*word)).collect())
}

/// The writable memory of objects as it was last seen. It is kept from call to call, so that each call costs one
/// comparison and not two copies.
#[derive(Default)]
pub(crate) struct Watch {
    seen: BTreeMap<Addr, Seen>,
}

/// A writable segment as it was last seen.
struct Seen {
    length: u64,
    /// All of it up to the pages of zeros.
    bytes: Vec<u8>,
    /// Those pages of zeros that were touched, each by its distance from the start of the segment.
    pages: BTreeMap<u64, Vec<u8>>,
}

impl Seen {
    fn now(memory: &Memory, segment: &Writable) -> Seen {
        let bytes = memory.copy(segment.range.start..segment.zeros).unwrap_or_default();
        let page = |from| Some((from, memory.copy(segment.page(from))?));
        Seen { length: segment.length(), bytes, pages: segment.touched().into_iter().filter_map(page).collect() }
    }

    /// The bytes from `from` on that are kept in one piece.
    fn piece(&mut self, from: u64) -> Option<&mut [u8]> {
        if from < self.bytes.len() as u64 {
            return self.bytes.get_mut(from as usize..);
        }
        // The first page of zeros begins where `bytes` end.
        let page = from - (from - self.bytes.len() as u64) % PAGE;
        let length = PAGE.min(self.length.checked_sub(page)?);
        let bytes = self.pages.entry(page).or_insert_with(|| vec![0; length as usize]);
        bytes.get_mut((from - page) as usize..)
    }
}

impl Watch {
    /// Copies the memory of objects that came since the last look, and forgets that of objects that went.
    pub(super) fn look(&mut self, around: &(impl Around + ?Sized)) {
        let mut here = Vec::new();
        around.each(&mut |memory| {
            for segment in memory.writable() {
                if self.seen.get(&segment.at).is_none_or(|seen| seen.length != segment.length()) {
                    self.seen.insert(segment.at, Seen::now(memory, &segment));
                }
                here.push(segment.at);
            }
        });
        self.seen.retain(|at, _| here.contains(at));
    }

    /// Notes a word that the loader itself stored at `place` since the last call. The loader told of it, so the next
    /// call must not be said to have changed it.
    pub(crate) fn stored(&mut self, memory: &Memory, place: Vaddr) {
        let address = memory.bias() + place;
        let Some((start, seen)) = self.seen.range_mut(..=address).next_back() else { return };
        let from = address.0 - start.0;
        if from >= seen.length {
            return;
        }
        // The word may lie in two pieces.
        let now = memory.copy(place..Vaddr(place.0 + (seen.length - from).min(8))).unwrap_or_default();
        for (at, byte) in (from..).zip(now) {
            if let Some([old, ..]) = seen.piece(at) {
                *old = byte;
            }
        }
    }

    /// The bytes that differ from what was seen: address, before, after. Objects that came or went since have events of
    /// their own.
    pub(super) fn changes(&mut self, around: &(impl Around + ?Sized)) -> Vec<(Addr, Vec<u8>, Vec<u8>)> {
        let mut changes = Vec::new();
        around.each(&mut |memory| {
            for segment in memory.writable() {
                let Some(seen) = self.seen.get_mut(&segment.at) else { continue };
                let mut compare = |from: u64, old: &mut [u8]| {
                    let start = Vaddr(segment.range.start.0 + from);
                    if memory.differs(start, old) {
                        let now = memory.copy(start..Vaddr(start.0 + old.len() as u64)).unwrap_or_default();
                        changes.extend(differences(Addr(segment.at.0 + from), old, &now));
                        old.copy_from_slice(&now);
                    }
                };
                // Compared page by page: most pages did not change.
                for (number, old) in seen.bytes.chunks_mut(PAGE as usize).enumerate() {
                    compare(number as u64 * PAGE, old);
                }
                // A page that was touched before may be one of zeros again (madvise(2), `MADV_DONTNEED`).
                let pages: BTreeSet<u64> = segment.touched().into_iter().chain(seen.pages.keys().copied()).collect();
                for from in pages {
                    if let Some(old) = seen.piece(from) {
                        compare(from, old);
                    }
                }
            }
        });
        changes
    }
}

/// The runs of bytes in which two states of the same memory differ.
fn differences(start: Addr, old: &[u8], new: &[u8]) -> Vec<(Addr, Vec<u8>, Vec<u8>)> {
    let mut runs: Vec<(usize, usize)> = Vec::new();
    // Compared word by word, so that a variable which changed in some of its bytes is told as a whole.
    for (index, (a, b)) in old.chunks(8).zip(new.chunks(8)).enumerate() {
        if a != b {
            let (from, to) = (index * 8, index * 8 + a.len());
            match runs.last_mut() {
                Some(last) if last.1 == from => last.1 = to,
                _ => runs.push((from, to)),
            }
        }
    }
    runs.into_iter()
        .map(|(from, to)| (Addr(start.0 + from as u64), old[from..to].to_vec(), new[from..to].to_vec()))
        .collect()
}

//! Brings pages into memory before a load, and counts the pages of objects after it.

use std::fs::File;
use std::ops::Range;
use std::os::unix::fs::FileExt as _;

use dlscope::elf::addr::{Addr, PAGE};
use dlscope::event::{Event, Kind, Tag};
use nix::libc;
use serde::{Deserialize, Serialize};

use crate::compare::process::Maps;

/// Brings the pages of a mapping into memory, writable ones as private copies. Their contents stay the same. This is
/// madvise(2) with `MADV_POPULATE_READ` or `MADV_POPULATE_WRITE`, since Linux 5.14. Returns whether the kernel did it.
pub fn bring_in(address: Addr, length: u64, writable: bool) -> bool {
    let advice = if writable { libc::MADV_POPULATE_WRITE } else { libc::MADV_POPULATE_READ };
    let start = std::ptr::with_exposed_provenance_mut(address.0 as usize);
    // SAFETY: populating changes no byte of memory; where nothing is mapped the kernel refuses.
    unsafe { libc::madvise(start, length as usize, advice) == 0 }
}

/// Brings all mapped files of this process into memory, because every load reads symbol tables of the host. Returns
/// `false` if the kernel is too old for that.
pub fn bring_in_host() -> bool {
    let maps = Maps::read().map_or(Vec::new(), |maps| maps.0);
    let readable = maps.iter().filter(|mapping| !mapping.path.is_empty() && mapping.rights.starts_with('r'));
    let bring_in = |range: &Range<u64>| bring_in(Addr(range.start), range.end - range.start, false);
    readable.filter(|mapping| bring_in(&mapping.range)).count() > 0
}

/// An object whose pages are counted.
pub struct WatchedObject {
    tag: Tag,
    span: Range<u64>,
    /// The ranges that are mapped from the file.
    from_file: Vec<Range<u64>>,
    /// Its pages when it was published: relocated, but before its constructors.
    published: Option<PageCounts>,
}

/// The state of an object's pages, as the kernel tells it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PageCounts {
    /// All pages from its first to its last, gaps included.
    pub span: u64,
    /// Pages in this process's page table.
    pub resident: u64,
    /// Pages of the file that were written to, so that the kernel copied them for this process.
    pub copied: u64,
    /// Pages that began as zeros, and were touched.
    pub zeroed: u64,
}

/// An object's pages before and after constructors.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ObjectPages {
    pub object: String,
    pub published: PageCounts,
    pub ready: PageCounts,
}

/// Learns from an event which pages an object has.
pub fn note(seen: &mut Vec<WatchedObject>, event: &Event) {
    let mine =
        |seen: &mut Vec<WatchedObject>| event.object.as_ref().and_then(|tag| seen.iter().position(|s| s.tag == *tag));
    match &event.kind {
        Kind::Placed { address, length, .. } => {
            let Some(tag) = event.object.clone() else { return };
            seen.push(WatchedObject {
                tag,
                span: address.0..address.0 + length,
                from_file: Vec::new(),
                published: None,
            });
        }
        Kind::Map { address, length, .. } => {
            if let Some(at) = mine(seen) {
                seen[at].from_file.push(address.0..address.0 + length);
            }
        }
        Kind::MapZero { address, .. } => {
            if let Some(at) = mine(seen) {
                // A segment's pages of zeros lie behind its pages of the file.
                let cut = |range: &mut Range<u64>| {
                    if range.contains(&address.0) {
                        range.end = address.0;
                    }
                };
                seen[at].from_file.iter_mut().for_each(cut);
            }
        }
        Kind::Publish { objects } => {
            for object in seen.iter_mut().filter(|s| objects.contains(&s.tag)) {
                object.published = object.look();
            }
        }
        _ => {}
    }
}

impl WatchedObject {
    /// Counts the pages. `/proc/self/pagemap` has a word for each page: bit 63 says that it is present, bit 62 that it
    /// is swapped out, bit 61 that it is a page of a file or shared.
    fn look(&self) -> Option<PageCounts> {
        let first = self.span.start / PAGE;
        let count = (self.span.end / PAGE - first) as usize;
        let mut bytes = vec![0; count * 8];
        File::open("/proc/self/pagemap").ok()?.read_exact_at(&mut bytes, first * 8).ok()?;
        let mut pages = PageCounts { span: count as u64, ..PageCounts::default() };
        for (at, word) in bytes.chunks_exact(8).enumerate() {
            let word = u64::from_le_bytes(word.try_into().ok()?);
            let (there, of_file) = (word >> 62 != 0, word & 1 << 61 != 0);
            let address = (first + at as u64) * PAGE;
            pages.resident += word >> 63;
            if there && !of_file {
                match self.from_file.iter().any(|range| range.contains(&address)) {
                    true => pages.copied += 1,
                    false => pages.zeroed += 1,
                }
            }
        }
        Some(pages)
    }

    /// The counts of the object, when the load is over.
    pub fn finish(&self) -> Option<ObjectPages> {
        let ready = self.look()?;
        Some(ObjectPages { object: self.tag.name.to_string(), published: self.published.unwrap_or(ready), ready })
    }
}

//! Pages of objects: brought in beforehand, and looked at afterwards.

use std::fs::{self, File};
use std::ops::Range;
use std::os::unix::fs::FileExt as _;

use dlscope::elf::addr::{Addr, PAGE};
use dlscope::event::{Event, Kind, Tag};
use nix::libc;
use serde::{Deserialize, Serialize};

/// Brings the pages of a mapping into memory; those that may be written as private copies. Contents stay the same.
/// madvise(2), `MADV_POPULATE_READ` and `MADV_POPULATE_WRITE`, since Linux 5.14.
pub fn bring_in(address: Addr, length: u64, writable: bool) -> bool {
    let advice = if writable { libc::MADV_POPULATE_WRITE } else { libc::MADV_POPULATE_READ };
    let start = std::ptr::with_exposed_provenance_mut(address.0 as usize);
    // SAFETY: populating changes no byte of memory; where nothing is mapped the kernel refuses.
    unsafe { libc::madvise(start, length as usize, advice) == 0 }
}

/// The same for everything that this process has of files: symbol tables of the host are read by every load.
/// `false`: the kernel is too old for it.
pub fn bring_in_host() -> bool {
    let Ok(maps) = fs::read_to_string("/proc/self/maps") else { return false };
    let number = |text: &str| u64::from_str_radix(text, 16).ok();
    let mut done = false;
    for line in maps.lines().filter(|line| line.contains('/')) {
        let mut words = line.split_ascii_whitespace();
        let range = words.next().and_then(|range| range.split_once('-'));
        let (Some((start, end)), Some(rights)) = (range, words.next()) else { continue };
        if let (Some(start), Some(end)) = (number(start), number(end))
            && rights.starts_with('r')
        {
            done |= bring_in(Addr(start), end - start, false);
        }
    }
    done
}

/// One object: where it lies, and which of its pages are private when.
pub struct Seen {
    tag: Tag,
    span: Range<u64>,
    /// Ranges that came from the file; what `MapZero` replaced is out again.
    from_file: Vec<Range<u64>>,
    /// As it was published: relocated, no constructor run.
    published: Option<Pages>,
}

/// What the kernel says of an object's pages.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pages {
    /// All that it spans, gaps too.
    pub span: u64,
    /// In memory and in this process's page table.
    pub resident: u64,
    /// Pages of the file that were written, so the kernel copied them for this process.
    pub copied: u64,
    /// Pages that were zero at first, and were touched.
    pub zeroed: u64,
}

/// An object's pages before and after constructors.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ObjectPages {
    pub object: String,
    pub published: Pages,
    pub ready: Pages,
}

/// Takes note of what an event says about pages.
pub fn note(seen: &mut Vec<Seen>, event: &Event) {
    let mine = |seen: &mut Vec<Seen>| event.object.as_ref().and_then(|tag| seen.iter().position(|s| s.tag == *tag));
    match &event.kind {
        Kind::Placed { address, length, .. } => {
            let Some(tag) = event.object.clone() else { return };
            seen.push(Seen { tag, span: address.0..address.0 + length, from_file: Vec::new(), published: None });
        }
        Kind::Map { address, length, .. } => {
            if let Some(at) = mine(seen) {
                seen[at].from_file.push(address.0..address.0 + length);
            }
        }
        Kind::MapZero { address, .. } => {
            if let Some(at) = mine(seen) {
                // A segment's zero pages are behind its file pages.
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

impl Seen {
    /// Reads `/proc/self/pagemap`: a word for each page. Bit 63: present. Bit 62: swapped out. Bit 61: a page of a
    /// file, or shared.
    fn look(&self) -> Option<Pages> {
        let first = self.span.start / PAGE;
        let count = (self.span.end / PAGE - first) as usize;
        let mut bytes = vec![0; count * 8];
        File::open("/proc/self/pagemap").ok()?.read_exact_at(&mut bytes, first * 8).ok()?;
        let mut pages = Pages { span: count as u64, ..Pages::default() };
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

    /// What is known of the object at the end.
    pub fn finish(&self) -> Option<ObjectPages> {
        let ready = self.look()?;
        Some(ObjectPages { object: self.tag.name.to_string(), published: self.published.unwrap_or(ready), ready })
    }
}

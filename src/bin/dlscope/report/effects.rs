//! The data from which the page rebuilds memory at every event: the effects in order, and pages of files.
//!
//! The script of the page carries out the effects as [`Replay`](dlscope::replay::Replay) does, with one difference: the
//! report has only those pages of files that an event is about. Of all other pages the script knows the place and the
//! rights, but not the bytes.

use std::collections::BTreeSet;

use dlscope::elf::addr::{Addr, PAGE, page_down};
use dlscope::elf::image::Prot;
use dlscope::replay::{Change, Effect, Origin};
use serde::Serialize;

use crate::walk::Memory;

/// The kinds of effect. The script has the same list.
const OPERATIONS: [&str; 5] = ["zero", "file", "bytes", "protect", "unmap"];

/// All effects. Each field is a list of its own, because such lists compress well.
#[derive(Default, Serialize)]
pub struct Effects {
    operations: Vec<&'static str>,
    /// The index in `operations`.
    operation: Vec<u8>,
    /// The first address, as the difference from the effect before.
    address: Vec<i64>,
    /// How many bytes.
    length: Vec<u64>,
    /// The rights, as in `p_flags`.
    prot: Vec<u32>,
    /// For each effect `file`: the index of the file, and the offset in it.
    maps: Vec<(usize, u64)>,
    files: Vec<MappedFile>,
    #[serde(skip)]
    last: u64,
    /// The bytes of all effects `bytes`, one after another.
    #[serde(skip)]
    bytes: Vec<u8>,
}

/// A file that was mapped.
#[derive(Serialize)]
struct MappedFile {
    path: String,
    length: u64,
    /// The numbers of the pages that are in the report.
    pages: BTreeSet<u64>,
}

impl Effects {
    /// An empty list.
    pub fn new() -> Effects {
        Effects { operations: OPERATIONS.to_vec(), ..Effects::default() }
    }

    /// The number of effects.
    pub fn len(&self) -> usize {
        self.operation.len()
    }

    /// Adds what an event did to memory; `memory` is as it was after the event.
    pub fn add(&mut self, effect: &Effect, memory: &Memory) {
        let (operation, prot) = match &effect.change {
            Change::Zeros(prot) => ("zero", *prot),
            Change::File { prot, .. } => {
                let Some(origin) = memory.page(effect.address).and_then(|page| page.origin.as_ref()) else { return };
                let file = self.file(&origin.path);
                self.maps.push((file, origin.offset.0));
                ("file", *prot)
            }
            Change::Bytes { after, .. } => {
                self.bytes.extend_from_slice(after);
                ("bytes", Prot::NONE)
            }
            Change::Protect(prot) => ("protect", *prot),
            Change::Unmap => ("unmap", Prot::NONE),
        };
        let number = OPERATIONS.iter().position(|known| *known == operation).unwrap_or_default();
        self.operation.push(number as u8);
        self.address.push(effect.address.0.wrapping_sub(self.last) as i64);
        self.last = effect.address.0;
        self.length.push(effect.length);
        self.prot.push(prot.0);
    }

    /// The index of a file in `files`.
    pub fn file(&mut self, path: &str) -> usize {
        self.files.iter().position(|file| file.path == path).unwrap_or_else(|| {
            self.files.push(MappedFile { path: path.into(), length: 0, pages: BTreeSet::new() });
            self.files.len() - 1
        })
    }

    /// Keeps a range of a file, because the report shows it.
    pub fn keep_of_file(&mut self, file: usize, offset: u64, length: u64) {
        self.files[file].pages.extend(offset / PAGE..(offset + length).div_ceil(PAGE));
    }

    /// Keeps the pages of files in a range of `memory`, because the report shows it.
    pub fn keep(&mut self, memory: &Memory, address: Addr, length: u64) {
        for at in (page_down(address.0)..address.0 + length).step_by(PAGE as usize) {
            if let Some(origin) = memory.page(Addr(at)).and_then(|page| page.origin.as_ref()) {
                let file = self.file(&origin.path);
                self.keep_of_file(file, origin.offset.0, PAGE);
            }
        }
    }

    /// All bytes of the report: those of the effects, then the pages of files.
    pub fn bytes(&mut self, memory: &Memory) -> Vec<u8> {
        let mut bytes = std::mem::take(&mut self.bytes);
        for file in &mut self.files {
            file.length = memory.file_length(&file.path).unwrap_or_default();
            for &page in &file.pages {
                let part = memory.file_bytes(&file.path, page * PAGE..(page + 1) * PAGE).unwrap_or_default();
                bytes.extend_from_slice(&part);
                bytes.resize(bytes.len() + PAGE as usize - part.len(), 0);
            }
        }
        bytes
    }

    /// A hash of all memory: FNV-1a over the address and rights of each page, and its bytes if they are in the report.
    /// The script computes the same.
    pub fn hash(&self, memory: &Memory) -> u32 {
        let mut hash = 0x811c_9dc5_u32;
        let mut add = |bytes: &[u8]| {
            for byte in bytes {
                hash = (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193);
            }
        };
        for (at, page) in memory.pages() {
            let known = page.origin.as_ref().is_none_or(|origin| self.has(origin));
            add(&at.0.to_le_bytes());
            add(&[page.prot.0 as u8, known.into()]);
            if known {
                add(&page.bytes[..]);
            }
        }
        hash
    }

    /// Whether a page of a file is in the report.
    fn has(&self, origin: &Origin) -> bool {
        let file = self.files.iter().find(|file| *file.path == *origin.path);
        file.is_some_and(|file| file.pages.contains(&(origin.offset.0 / PAGE)))
    }
}

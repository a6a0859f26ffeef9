//! What the page needs to rebuild memory at every event: the effects in order, and the pages of files that it shows.
//!
//! It is what [`Replay`](dlscope::replay::Replay) does, with one difference: of files only those pages are in the
//! report that an event is about. The bytes of other pages are unknown to it; their places and rights are not.

use std::collections::{BTreeSet, HashMap};

use dlscope::elf::addr::{Addr, PAGE, page_down};
use dlscope::elf::image::Prot;
use dlscope::event::Kind;
use serde::Serialize;

use crate::walk::Walk;

/// What is done to memory. The script has the same list.
const OPERATIONS: [&str; 5] = ["zero", "file", "bytes", "protect", "unmap"];

/// All effects, each field a list of its own: such lists compress well.
#[derive(Default, Serialize)]
pub struct Effects {
    operations: Vec<&'static str>,
    /// Which of `operations`.
    operation: Vec<u8>,
    /// Where, as the difference from the effect before.
    address: Vec<i64>,
    /// How many bytes.
    length: Vec<u64>,
    /// The rights, as in `p_flags`.
    prot: Vec<u32>,
    /// For each `file`: which one, and from which offset on.
    maps: Vec<(usize, u64)>,
    files: Vec<File>,
    #[serde(skip)]
    last: u64,
    /// The bytes of each `bytes`, one after another; then the pages of `files`.
    #[serde(skip)]
    bytes: Vec<u8>,
}

/// A file that was mapped.
#[derive(Serialize)]
struct File {
    path: String,
    length: usize,
    /// Which of its pages are in the report, by number.
    pages: BTreeSet<u64>,
}

impl Effects {
    /// None so far.
    pub fn new() -> Effects {
        Effects { operations: OPERATIONS.to_vec(), ..Effects::default() }
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.operation.len()
    }

    /// Adds what an event did to memory, if it did anything.
    pub fn add(&mut self, kind: &Kind, origins: &Origins) {
        match kind {
            Kind::Reserve { address, length } => self.push("zero", *address, *length, Prot::NONE),
            Kind::MapZero { address, length, prot } => self.push("zero", *address, *length, *prot),
            Kind::Map { address, length, prot, fd, offset, .. }
            | Kind::MapWhole { address, length, prot, fd, offset } => {
                let Some(path) = origins.open.get(fd) else { return };
                let file = self.file(path);
                self.maps.push((file, offset.0));
                self.push("file", *address, *length, *prot);
            }
            Kind::Zero { address, length } => self.write(*address, &vec![0; *length as usize]),
            Kind::Store { address, after, size, .. } => {
                self.write(*address, &after.0.to_le_bytes()[..usize::from(*size)]);
            }
            Kind::Changed { address, after, .. } => self.write(*address, &after.0),
            Kind::Protect { address, length, prot, .. } => self.push("protect", *address, *length, *prot),
            Kind::Unmap { address, length, error: None } => self.push("unmap", *address, *length, Prot::NONE),
            _ => {}
        }
    }

    fn write(&mut self, address: Addr, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
        self.push("bytes", address, bytes.len() as u64, Prot::NONE);
    }

    fn push(&mut self, operation: &str, address: Addr, length: u64, prot: Prot) {
        let number = OPERATIONS.iter().position(|known| *known == operation).unwrap_or_default();
        self.operation.push(number as u8);
        self.address.push(address.0.wrapping_sub(self.last) as i64);
        self.last = address.0;
        self.length.push(length);
        self.prot.push(prot.0);
    }

    /// The number of a file.
    pub fn file(&mut self, path: &str) -> usize {
        self.files.iter().position(|file| file.path == path).unwrap_or_else(|| {
            self.files.push(File { path: path.into(), length: 0, pages: BTreeSet::new() });
            self.files.len() - 1
        })
    }

    /// A range of a file is shown.
    pub fn keep_of_file(&mut self, file: usize, offset: u64, length: u64) {
        self.files[file].pages.extend(offset / PAGE..(offset + length).div_ceil(PAGE));
    }

    /// A range of memory is shown: the pages of files there are needed.
    pub fn keep(&mut self, origins: &Origins, address: Addr, length: u64) {
        for at in pages_of(address, length) {
            if let Some(Origin::File(path, offset)) = origins.pages.get(&at) {
                let file = self.file(path);
                self.keep_of_file(file, *offset, PAGE);
            }
        }
    }

    /// Takes the pages out of the files: all bytes of the report.
    pub fn bytes(&mut self, walk: &Walk) -> Vec<u8> {
        let mut bytes = std::mem::take(&mut self.bytes);
        for file in &mut self.files {
            let content = walk.memory().file(&file.path).unwrap_or_default();
            file.length = content.len();
            for &page in &file.pages {
                let start = (page * PAGE) as usize;
                let part = content.get(start..content.len().min(start + PAGE as usize)).unwrap_or_default();
                bytes.extend_from_slice(part);
                bytes.resize(bytes.len() + PAGE as usize - part.len(), 0);
            }
        }
        bytes
    }

    /// A hash of all modelled memory; the script computes the same. FNV-1a over address, rights and bytes, as far as
    /// they are in the report.
    pub fn hash(&self, walk: &Walk, origins: &Origins) -> u32 {
        let mut hash = 0x811c_9dc5_u32;
        let mut add = |bytes: &[u8]| {
            for byte in bytes {
                hash = (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193);
            }
        };
        for (at, page) in walk.memory().pages() {
            let known = self.has(origins, at);
            add(&at.0.to_le_bytes());
            add(&[page.prot.0 as u8, known.into()]);
            if known {
                add(&page.bytes[..]);
            }
        }
        hash
    }

    fn has(&self, origins: &Origins, page: Addr) -> bool {
        match origins.pages.get(&page.0) {
            Some(Origin::File(path, offset)) => {
                let file = self.files.iter().find(|file| file.path == *path);
                file.is_some_and(|file| file.pages.contains(&(offset / PAGE)))
            }
            _ => true,
        }
    }
}

/// Where each page of memory came from.
#[derive(Default)]
pub struct Origins {
    open: HashMap<i32, String>,
    pages: HashMap<u64, Origin>,
}

enum Origin {
    Zero,
    /// The path, and the offset there.
    File(String, u64),
}

impl Origins {
    /// Follows an event.
    pub fn follow(&mut self, kind: &Kind) {
        match kind {
            Kind::Open { path, fd: Ok(fd) } => drop(self.open.insert(*fd, path.clone())),
            Kind::MemoryFile { name, fd, .. } => drop(self.open.insert(*fd, name.clone())),
            Kind::CloseFile { fd } => drop(self.open.remove(fd)),
            Kind::Reserve { address, length } | Kind::MapZero { address, length, .. } => {
                self.pages.extend(pages_of(*address, *length).map(|at| (at, Origin::Zero)));
            }
            Kind::Map { address, length, fd, offset, .. } | Kind::MapWhole { address, length, fd, offset, .. } => {
                let Some(path) = self.open.get(fd) else { return };
                let page = |at| (at, Origin::File(path.clone(), offset.0 + (at - address.0)));
                self.pages.extend(pages_of(*address, *length).map(page));
            }
            Kind::Unmap { address, length, error: None } => {
                for at in pages_of(*address, *length) {
                    self.pages.remove(&at);
                }
            }
            _ => {}
        }
    }
}

fn pages_of(address: Addr, length: u64) -> impl Iterator<Item = u64> {
    (page_down(address.0)..address.0 + length).step_by(PAGE as usize)
}

//! Rebuilds, from files and events alone, the memory of every object as it was at any event.
//!
//! A replay proves that the stream of events is complete: if an effect on memory were missing from it, the
//! rebuilt bytes would differ from the real ones. Views use a replay to go backwards: [`Replay::undo`] takes
//! back the last event exactly.
//!
//! ```
//! use std::sync::Arc;
//! use dlscope::{Loader, Recorder, replay::Replay};
//!
//! let recorder = Arc::new(Recorder::with_capacity(1 << 14));
//! let prepared = Loader::new().probe(recorder.clone()).prepare("libz.so.1")?;
//! let mut replay = Replay::new(|path| std::fs::read(path));
//! for event in recorder.events() {
//!     replay.apply(&event).unwrap();
//! }
//! // The first bytes of the library, at its first address: the ELF header.
//! assert_eq!(replay.read(prepared.load_bias() + dlscope::elf::addr::Vaddr(0), 4).unwrap(), b"\x7fELF");
//! # Ok::<(), dlscope::Error>(())
//! ```

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::ops::Range;
use std::sync::Arc;

use crate::elf::addr::{Addr, FileOffset, PAGE, Word, page_down};
use crate::elf::image::Prot;
use crate::event::{Event, Kind};

mod content;

use content::Pages;
pub use content::{Content, PageBytes};

/// One page of modelled memory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page {
    /// The page's access rights.
    pub prot: Prot,
    /// The page's bytes. Zeros where the page is not readable.
    pub bytes: PageBytes,
    /// The file that it was mapped from, whatever was written to it since; `None` for a page that began as zeros.
    pub origin: Option<Origin>,
}

/// A page of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    /// The path of the file, as in its event.
    pub path: Arc<str>,
    /// Where the page begins in the file.
    pub offset: FileOffset,
}

impl Page {
    fn zero(prot: Prot) -> Page {
        Page { prot, bytes: PageBytes::zeros(), origin: None }
    }

    /// The page `at` bytes behind `offset`; it is zero from the end of the file on.
    fn of_file(file: &OpenFile, prot: Prot, offset: FileOffset, at: u64) -> Page {
        let offset = FileOffset(offset.0 + at);
        let bytes = PageBytes::of_file(file.content.clone(), offset);
        Page { prot, bytes, origin: Some(Origin { path: file.path.clone(), offset }) }
    }
}

/// What one event did to the memory of objects.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Effect {
    /// The first address that it concerns.
    pub address: Addr,
    /// How many bytes it concerns.
    pub length: u64,
    /// What became of them.
    pub change: Change,
}

/// What became of a range of memory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// Pages of zeros were mapped, with these rights.
    Zeros(Prot),
    /// Pages of a file were mapped.
    File {
        /// Their rights.
        prot: Prot,
        /// The descriptor of the file.
        fd: i32,
        /// Where the first page begins in the file.
        offset: FileOffset,
    },
    /// Bytes were written.
    Bytes {
        /// What must have stood there, where the event says so.
        before: Option<Vec<u8>>,
        /// What stands there now.
        after: Vec<u8>,
    },
    /// Pages got these rights.
    Protect(Prot),
    /// Nothing is mapped there any more.
    Unmap,
}

impl Effect {
    /// The effect of an event of this kind; `None` if it has none on the memory of objects.
    pub fn of(kind: &Kind) -> Option<Effect> {
        let (&address, length, change) = match kind {
            Kind::Reserve { address, length } => (address, *length, Change::Zeros(Prot::NONE)),
            Kind::MapZero { address, length, prot } => (address, *length, Change::Zeros(*prot)),
            Kind::Map { address, length, prot, fd, offset, .. }
            | Kind::MapWhole { address, length, prot, fd, offset } => {
                (address, *length, Change::File { prot: *prot, fd: *fd, offset: *offset })
            }
            Kind::Zero { address, length } => {
                (address, *length, Change::Bytes { before: None, after: vec![0; *length as usize] })
            }
            Kind::Store { address, before, after, size } => {
                let bytes = |word: &Word| word.0.to_le_bytes()[..usize::from(*size)].to_vec();
                (address, u64::from(*size), Change::Bytes { before: Some(bytes(before)), after: bytes(after) })
            }
            // Loads that the foreign code started itself may have changed `before` in the meantime.
            Kind::Changed { address, after, .. } => {
                (address, after.0.len() as u64, Change::Bytes { before: None, after: after.0.clone() })
            }
            Kind::Protect { address, length, prot, .. } => (address, *length, Change::Protect(*prot)),
            Kind::Unmap { address, length, error: None } => (address, *length, Change::Unmap),
            _ => return None,
        };
        Some(Effect { address, length, change })
    }
}

/// A file that events told of.
#[derive(Clone, Debug)]
struct OpenFile {
    path: Arc<str>,
    content: Arc<Pages>,
}

/// Why an event does not fit what came before it. The stream is then incomplete or damaged.
#[derive(Debug, thiserror::Error)]
#[error("event {seq} ({event}): {problem}")]
pub struct Mismatch {
    /// [`Event::seq`].
    pub seq: u64,
    /// The event's kind.
    pub event: &'static str,
    /// What is wrong.
    pub problem: String,
}

/// What it takes to undo one event. There may be a million of these, so the rare ones are boxed.
#[derive(Debug)]
enum Undo {
    Nothing,
    /// The pages as they were before; `None` for a page that was not there.
    Pages(Box<[(u64, Option<Page>)]>),
    /// The bytes that stood there before, at most eight: how many, and which.
    Word(Addr, u8, [u8; 8]),
    /// The bytes that stood there before, however many.
    Bytes(Box<(Addr, Vec<u8>)>),
    /// The file that the descriptor stood for before.
    Descriptor(Box<(i32, Option<OpenFile>)>),
}

const _: () = assert!(size_of::<Undo>() <= 24);

impl Undo {
    fn bytes(address: Addr, before: Vec<u8>) -> Undo {
        let mut word = [0; 8];
        match word.get_mut(..before.len()) {
            Some(part) => {
                part.copy_from_slice(&before);
                Undo::Word(address, before.len() as u8, word)
            }
            None => Undo::Bytes(Box::new((address, before))),
        }
    }
}

/// Modelled memory, which follows a stream of events forwards and backwards.
pub struct Replay<F> {
    files: F,
    /// The file that each open descriptor stands for.
    open: HashMap<i32, OpenFile>,
    /// Files that were read, by path. The same file is often opened again.
    read: HashMap<String, OpenFile>,
    pages: BTreeMap<u64, Page>,
    done: Vec<Undo>,
}

impl<F: FnMut(&str) -> io::Result<C>, C: Into<Content>> Replay<F> {
    /// Memory without any object. `files` gives the content of a file by the path in its event, as bytes or as an open
    /// file; for a library that was given as bytes, it gets the library's name.
    pub fn new(files: F) -> Replay<F> {
        Replay { files, open: HashMap::new(), read: HashMap::new(), pages: BTreeMap::new(), done: Vec::new() }
    }

    /// Does to the model what `event` did to memory. An event without an effect on memory does nothing.
    ///
    /// # Errors
    /// [`Mismatch`] if that is not possible: the event stores into a page that is not there, or over other
    /// bytes than it says.
    pub fn apply(&mut self, event: &Event) -> Result<(), Mismatch> {
        let undo = self.effect(&event.kind);
        let undo = undo.map_err(|problem| Mismatch { seq: event.seq, event: event.kind.name(), problem })?;
        self.done.push(undo);
        Ok(())
    }

    /// Takes the last event back. `false` if no event is left.
    pub fn undo(&mut self) -> bool {
        match self.done.pop() {
            None => return false,
            Some(Undo::Nothing) => {}
            Some(Undo::Pages(before)) => {
                for (at, page) in before {
                    match page {
                        Some(page) => self.pages.insert(at, page),
                        None => self.pages.remove(&at),
                    };
                }
            }
            Some(Undo::Word(address, length, bytes)) => self.write(address, &bytes[..usize::from(length)]),
            Some(Undo::Bytes(before)) => self.write(before.0, &before.1),
            Some(Undo::Descriptor(before)) => match *before {
                (fd, Some(file)) => drop(self.open.insert(fd, file)),
                (fd, None) => drop(self.open.remove(&fd)),
            },
        }
        true
    }

    fn effect(&mut self, kind: &Kind) -> Result<Undo, String> {
        match kind {
            Kind::Open { path, fd: Ok(fd) } => return self.open_file(*fd, path),
            Kind::MemoryFile { name, fd, .. } => return self.open_file(*fd, name),
            Kind::CloseFile { fd } => return Ok(Undo::Descriptor(Box::new((*fd, self.open.remove(fd))))),
            _ => {}
        }
        let Some(Effect { address, length, change }) = Effect::of(kind) else { return Ok(Undo::Nothing) };
        match change {
            Change::Zeros(prot) => Ok(self.fill(address, length, |_| Page::zero(prot))),
            Change::File { prot, fd, offset } => {
                let file = self.open.get(&fd).ok_or_else(|| format!("no file is open as {fd}"))?.clone();
                Ok(self.fill(address, length, |at| Page::of_file(&file, prot, offset, at)))
            }
            Change::Bytes { before, after } => self.overwrite(address, &after, before.as_deref()),
            Change::Protect(prot) => self.protect(address, length, prot),
            // The mapping of `/etc/ld.so.cache` was never modelled, so to unmap it changes nothing.
            Change::Unmap => {
                let before = pages_of(address, length).map(|at| (at, self.pages.remove(&at))).collect();
                Ok(Undo::Pages(before))
            }
        }
    }

    fn open_file(&mut self, fd: i32, path: &str) -> Result<Undo, String> {
        let file = match self.read.get(path) {
            Some(file) => file.clone(),
            None => {
                let content = (self.files)(path).and_then(|content| Pages::new(content.into()));
                let content = content.map_err(|e| format!("{path}: {e}"))?;
                let file = OpenFile { path: path.into(), content: Arc::new(content) };
                self.read.insert(path.into(), file.clone());
                file
            }
        };
        Ok(Undo::Descriptor(Box::new((fd, self.open.insert(fd, file)))))
    }
}

impl<F> Replay<F> {
    /// Replaces whole pages. `page` is told how many bytes behind `address` each lies.
    fn fill(&mut self, address: Addr, length: u64, page: impl Fn(u64) -> Page) -> Undo {
        let pages = pages_of(address, length);
        Undo::Pages(pages.map(|at| (at, self.pages.insert(at, page(at - address.0)))).collect())
    }

    fn protect(&mut self, address: Addr, length: u64, prot: Prot) -> Result<Undo, String> {
        let mut before = Vec::new();
        for at in pages_of(address, length) {
            let page = self.pages.get_mut(&at).ok_or_else(|| format!("no page at {at:#x}"))?;
            before.push((at, Some(page.clone())));
            page.prot = prot;
        }
        Ok(Undo::Pages(before.into()))
    }

    /// Writes bytes into writable pages, where `expected` must stand.
    fn overwrite(&mut self, address: Addr, bytes: &[u8], expected: Option<&[u8]>) -> Result<Undo, String> {
        let before = self.read(address, bytes.len()).ok_or_else(|| format!("no memory at {address}"))?;
        if expected.is_some_and(|expected| expected != before) {
            return Err(format!("at {address} stands {before:02x?}, not {expected:02x?}"));
        }
        let writable = pages_of(address, bytes.len() as u64).all(|at| self.pages[&at].prot.writable());
        if !writable {
            return Err(format!("the page at {address} is not writable"));
        }
        self.write(address, bytes);
        Ok(Undo::bytes(address, before))
    }

    fn write(&mut self, address: Addr, bytes: &[u8]) {
        for (n, byte) in bytes.iter().enumerate() {
            let at = address.0 + n as u64;
            if let Some(page) = self.pages.get_mut(&page_down(at)) {
                page.bytes.own()[(at % PAGE) as usize] = *byte;
            }
        }
    }

    /// The `length` bytes from `address` on, if all of them are mapped.
    pub fn read(&self, address: Addr, length: usize) -> Option<Vec<u8>> {
        let mut bytes = Vec::with_capacity(length);
        let mut at = address.0;
        while bytes.len() < length {
            let page = self.pages.get(&page_down(at))?;
            let from = (at % PAGE) as usize;
            let part = (length - bytes.len()).min(PAGE as usize - from);
            bytes.extend_from_slice(&page.bytes[from..from + part]);
            at += part as u64;
        }
        Some(bytes)
    }

    /// The bytes of a range of a file that an event opened, as far as the file has them, by the path in that event; also
    /// after the file was closed.
    pub fn file_bytes(&self, path: &str, range: Range<u64>) -> Option<Vec<u8>> {
        self.read.get(path).map(|file| file.content.bytes(range))
    }

    /// The length of a file that an event opened.
    pub fn file_length(&self, path: &str) -> Option<u64> {
        self.read.get(path).map(|file| file.content.length())
    }

    /// The page that holds `address`, if one is mapped.
    pub fn page(&self, address: Addr) -> Option<&Page> {
        self.pages.get(&page_down(address.0))
    }

    /// Every page with its address, ascending.
    pub fn pages(&self) -> impl Iterator<Item = (Addr, &Page)> {
        self.pages.iter().map(|(&at, page)| (Addr(at), page))
    }

    /// Ranges of neighbouring pages with equal rights, as `/proc/self/maps` shows them.
    pub fn regions(&self) -> Vec<(Range<Addr>, Prot)> {
        let mut regions: Vec<(Range<Addr>, Prot)> = Vec::new();
        for (at, page) in self.pages() {
            match regions.last_mut() {
                Some((range, prot)) if range.end == at && *prot == page.prot => range.end = Addr(at.0 + PAGE),
                _ => regions.push((at..Addr(at.0 + PAGE), page.prot)),
            }
        }
        regions
    }
}

/// The addresses of the pages that a range touches.
fn pages_of(address: Addr, length: u64) -> impl Iterator<Item = u64> {
    (page_down(address.0)..address.0 + length).step_by(PAGE as usize)
}

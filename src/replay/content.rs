//! The bytes of files, page by page. Pages share them until somebody writes.

use std::fmt;
use std::fs::File;
use std::io;
use std::ops::{Deref, Range};
use std::os::unix::fs::FileExt as _;
use std::sync::{Arc, OnceLock};

use crate::elf::addr::{FileOffset, PAGE};

/// The bytes of one page.
type Bytes = [u8; PAGE as usize];

static ZEROS: Bytes = [0; PAGE as usize];

/// Where a replay has the bytes of a file from.
///
/// Of a [`File`] each page is read when it is first needed, and only once. A page that cannot be read any more, because
/// the file has become shorter, is zero: a `File` costs little memory, and bytes cannot change behind a replay.
#[derive(Debug)]
pub enum Content {
    /// All its bytes.
    Bytes(Vec<u8>),
    /// The open file.
    File(File),
}

impl From<Vec<u8>> for Content {
    fn from(bytes: Vec<u8>) -> Content {
        Content::Bytes(bytes)
    }
}

impl From<File> for Content {
    fn from(file: File) -> Content {
        Content::File(file)
    }
}

impl Content {
    fn length(&self) -> io::Result<u64> {
        match self {
            Content::Bytes(bytes) => Ok(bytes.len() as u64),
            Content::File(file) => Ok(file.metadata()?.len()),
        }
    }

    /// The page at `offset`; it is zero from the end of the file on.
    fn page(&self, offset: u64) -> Bytes {
        let mut page = ZEROS;
        match self {
            Content::Bytes(bytes) => {
                let rest = bytes.get(offset as usize..).unwrap_or_default();
                let length = rest.len().min(page.len());
                page[..length].copy_from_slice(&rest[..length]);
            }
            Content::File(file) => fill(file, &mut page, offset),
        }
        page
    }
}

fn fill(file: &File, page: &mut Bytes, offset: u64) {
    let mut done = 0;
    while let Ok(read @ 1..) = file.read_at(&mut page[done..], offset + done as u64) {
        done += read;
    }
}

/// A file, and those of its pages that somebody looked at.
#[derive(Debug)]
pub struct Pages {
    content: Content,
    length: u64,
    read: Box<[OnceLock<Box<Bytes>>]>,
}

impl Pages {
    pub fn new(content: Content) -> io::Result<Pages> {
        let length = content.length()?;
        let read = (0..length.div_ceil(PAGE)).map(|_| OnceLock::new()).collect();
        Ok(Pages { content, length, read })
    }

    /// The page at `offset`, a multiple of the page's size.
    fn page(&self, offset: FileOffset) -> &Bytes {
        match self.read.get((offset.0 / PAGE) as usize) {
            Some(page) => page.get_or_init(|| Box::new(self.content.page(offset.0))),
            None => &ZEROS,
        }
    }

    pub fn length(&self) -> u64 {
        self.length
    }

    /// The bytes of a range, as far as the file has them.
    pub fn bytes(&self, range: Range<u64>) -> Vec<u8> {
        let mut bytes = Vec::new();
        let mut at = range.start;
        while at < range.end.min(self.length) {
            let start = at - at % PAGE;
            let end = range.end.min(self.length).min(start + PAGE);
            bytes.extend_from_slice(&self.page(FileOffset(start))[(at - start) as usize..(end - start) as usize]);
            at = end;
        }
        bytes
    }
}

/// The bytes of a modelled page: its own, or those of the file that it was mapped from.
#[derive(Clone)]
pub struct PageBytes(Source);

#[derive(Clone)]
enum Source {
    Zeros,
    File(Arc<Pages>, FileOffset),
    Own(Arc<Bytes>),
}

impl PageBytes {
    pub(super) fn zeros() -> PageBytes {
        PageBytes(Source::Zeros)
    }

    pub(super) fn of_file(file: Arc<Pages>, offset: FileOffset) -> PageBytes {
        PageBytes(Source::File(file, offset))
    }

    /// The bytes, to be written to. Other pages do not change.
    pub(super) fn own(&mut self) -> &mut Bytes {
        if !matches!(self.0, Source::Own(_)) {
            self.0 = Source::Own(Arc::new(**self));
        }
        match &mut self.0 {
            Source::Own(bytes) => Arc::make_mut(bytes),
            Source::Zeros | Source::File(..) => unreachable!("the page has bytes of its own now"),
        }
    }
}

impl Deref for PageBytes {
    type Target = Bytes;

    fn deref(&self) -> &Bytes {
        match &self.0 {
            Source::Zeros => &ZEROS,
            Source::File(file, offset) => file.page(*offset),
            Source::Own(bytes) => bytes,
        }
    }
}

impl PartialEq for PageBytes {
    fn eq(&self, other: &PageBytes) -> bool {
        **self == **other
    }
}

impl Eq for PageBytes {}

impl fmt::Debug for PageBytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn two_pages_and_a_bit() -> Vec<u8> {
        (0..2 * PAGE as usize + 100).map(|at| (at % 251) as u8).collect()
    }

    #[test]
    fn a_file_gives_the_same_pages_as_its_bytes_and_zeros_behind_its_end() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        let bytes = two_pages_and_a_bit();
        fs::write(&path, &bytes).unwrap();
        for content in [Content::from(bytes.clone()), Content::from(File::open(&path).unwrap())] {
            let pages = Pages::new(content).unwrap();
            assert_eq!(pages.bytes(0..u64::MAX), bytes);
            assert_eq!(pages.bytes(4000..4200), bytes[4000..4200]);
            assert_eq!(pages.page(FileOffset(2 * PAGE))[..100], bytes[2 * PAGE as usize..]);
            assert_eq!(pages.page(FileOffset(2 * PAGE))[100..], ZEROS[100..]);
            assert_eq!(*pages.page(FileOffset(7 * PAGE)), ZEROS);
        }
    }

    #[test]
    fn what_was_read_once_stays_whatever_becomes_of_the_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        let bytes = two_pages_and_a_bit();
        fs::write(&path, &bytes).unwrap();
        let pages = Arc::new(Pages::new(File::open(&path).unwrap().into()).unwrap());
        let first = PageBytes::of_file(pages.clone(), FileOffset(0));
        assert_eq!(first[..], bytes[..PAGE as usize]);
        File::create(&path).unwrap();
        assert_eq!(first[..], bytes[..PAGE as usize], "the file is empty now");
        let second = PageBytes::of_file(pages.clone(), FileOffset(PAGE));
        assert_eq!(*second, ZEROS, "nobody had read this page");
        let mut own = first.clone();
        own.own()[0] = 77;
        assert_eq!((own[0], first[0]), (77, bytes[0]), "a write changes one page alone");
    }
}

//! A second mapping of a part of an object's file, to read tables that lie in a writable segment.
//!
//! `patchelf` appends a writable segment to a library and moves `.dynstr`, `.gnu.hash` and other tables there. A Rust
//! slice must not refer to memory that other code may write at any time, so these tables are not read where the library
//! has them. The same bytes of the file are mapped once more, read-only: this takes one system call, and the page cache
//! has the pages already. glibc and musl read such tables in the writable segment itself.

use std::os::fd::{AsRawFd, BorrowedFd};
use std::sync::Arc;

use memmap2::{Mmap, MmapOptions};

use super::Memory;
use crate::elf::addr::{Addr, FileOffset, PAGE, page_down};
use crate::event::{Kind, Probe, Report, Request, Stage, Tag};

/// The file that an object is mapped from, while it is open, and who is told of more mappings of it.
#[derive(Clone, Copy)]
pub(crate) struct Source<'a> {
    pub fd: BorrowedFd<'a>,
    pub report: Report<'a>,
}

/// Bytes of an object's file, mapped read-only for dlscope itself.
pub(crate) struct View {
    /// `None` once it is unmapped.
    map: Option<Mmap>,
    tag: Tag,
    probe: Option<Arc<dyn Probe>>,
}

impl View {
    /// Maps `length` bytes of the file that `memory` is mapped from, from the page of `offset` on. `None` if the kernel
    /// refuses, or if the memory is the host's.
    pub(crate) fn map(memory: &Memory, source: Source<'_>, offset: FileOffset, length: u64) -> Option<View> {
        let Source { fd, report } = source;
        let owned = memory.owned.as_ref()?;
        let start = FileOffset(page_down(offset.0));
        let length = offset.0 - start.0 + length;
        let mut options = MmapOptions::new();
        options.offset(start.0).len(length as usize);
        // SAFETY: as for every read-only segment of the object, nobody may write to the file in place while it is in
        // use. Whoever does changes the code of the library, too.
        let map = unsafe { options.map(&fd) }.ok()?;
        let view = View { map: Some(map), tag: owned.tag.clone(), probe: owned.probe.clone() };
        report.tell(|| Kind::View { address: view.address(), length, fd: fd.as_raw_fd(), offset: start });
        Some(view)
    }

    fn address(&self) -> Addr {
        self.map.as_ref().map_or(Addr(0), |map| Addr(map.as_ptr() as u64))
    }

    /// The bytes from the byte at `offset` in the file on.
    ///
    /// # Safety
    /// The result must not be used after this `View` is dropped.
    pub(crate) unsafe fn tail(&self, offset: FileOffset) -> Option<&'static [u8]> {
        let bytes = self.map.as_ref()?.get((offset.0 % PAGE) as usize..)?;
        // SAFETY: the mapping stays where it is until `drop`; the lifetime is the caller's promise.
        Some(unsafe { std::slice::from_raw_parts(bytes.as_ptr(), bytes.len()) })
    }
}

impl Drop for View {
    fn drop(&mut self) {
        let Some(map) = self.map.take() else { return };
        let (address, length) = (Addr(map.as_ptr() as u64), map.len() as u64);
        drop(map);
        let request = Request::current();
        let report = request.report(self.probe.as_deref(), Stage::Close).about(&self.tag);
        report.tell(|| Kind::Unmap { address, length, error: None });
    }
}

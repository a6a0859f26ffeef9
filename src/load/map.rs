//! Stage 4, map: the steps of the plan, carried out.
//!
//! mmap(2); glibc `_dl_map_segments`, musl `map_library`. Every effect on memory is in [`Memory`].

use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

use crate::elf::plan::Plan;
use crate::error::Result;
use crate::event::{Probe, Report, Stage, Tag};
use crate::load::read::Headers;
use crate::memory::Memory;

/// Maps the file `fd` as the plan says. The memory keeps `probe`, to tell it when the object is unmapped.
///
/// # Errors
/// The first call that the kernel refuses. Nothing stays mapped then.
#[inline(never)] // a stage: see docs/gdb.md
pub(crate) fn map(
    plan: &Plan,
    file: &Headers,
    fd: &OwnedFd,
    tag: &Tag,
    probe: Option<&Arc<dyn Probe>>,
    report: Report<'_>,
) -> Result<Memory> {
    Memory::map(plan, &file.image, fd.as_fd(), tag, probe.cloned(), report.at(Stage::Map))
        .map_err(|kind| kind.of(&*tag.name, Stage::Map))
}

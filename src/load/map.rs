//! Stage 4, map: the steps of the plan, carried out.
//!
//! mmap(2); glibc `_dl_map_segments`, musl `map_library`. Every effect on memory is in [`Memory`].

use std::os::fd::AsFd;

use crate::elf::plan::Plan;
use crate::error::Result;
use crate::event::{Report, Stage, Tag};
use crate::load::read::OpenFile;
use crate::memory::{Memory, Owned};
use crate::namespace::Namespace;

/// Maps the file as the plan says. The memory keeps the namespace's probe, to tell it when the object is unmapped.
///
/// # Errors
/// The first call that the kernel refuses. Nothing stays mapped then.
#[inline(never)] // a stage: see docs/gdb.md
pub(crate) fn map(
    plan: &Plan,
    file: &OpenFile,
    tag: &Tag,
    namespace: &Namespace,
    report: Report<'_>,
) -> Result<Memory> {
    let report = report.at(Stage::Map);
    let owned = Owned { tag: tag.clone(), probe: namespace.probe.clone() };
    let mapped = Memory::map(plan, &file.headers.image, file.fd.as_fd(), owned, report);
    mapped.map_err(|kind| kind.of(&*tag.name, Stage::Map))
}

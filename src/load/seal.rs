//! Stage 9, seal: what only relocations had to write becomes read-only.
//!
//! `PT_GNU_RELRO`; glibc `_dl_protect_relro`.

use crate::elf::addr::Vaddr;
use crate::error::Result;
use crate::event::{Report, Stage};
use crate::load::batch::{Batch, Relocated, Sealed};

/// Makes the `PT_GNU_RELRO` range of every new object read-only.
///
/// # Errors
/// A range that does not lie in the object, or a call that the kernel refuses. Every new object is unmapped then.
#[inline(never)] // a stage: see docs/gdb.md
pub(crate) fn seal(batch: Batch<Relocated>, report: Report<'_>) -> Result<Batch<Sealed>> {
    let report = report.at(Stage::Seal);
    for object in batch.new_objects() {
        let Some(relro) = object.image.relro() else { continue };
        let end = relro.vaddr.checked_add(relro.memsz).unwrap_or(Vaddr(u64::MAX));
        let range = relro.vaddr..end;
        let sealed = object.memory.seal(range, report.about(&object.tag));
        sealed.map_err(|kind| kind.of(object.label(), Stage::Seal))?;
    }
    Ok(batch.then(|Relocated(links)| Sealed(links)))
}

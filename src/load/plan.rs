//! Stage 3, plan: which mappings the file asks for, before the first of them is made.
//!
//! gABI "Program Loading"; glibc `_dl_map_segments`, musl `map_library`. [`Plan::new`] works out the steps, and touches
//! no memory.

use std::sync::Arc;

use crate::elf::image::Image;
use crate::elf::plan::Plan;
use crate::error::{ErrorKind, Result};
use crate::event::{Kind, Report, Stage, Tag};

/// The steps that put the file's `PT_LOAD` segments into memory.
///
/// # Errors
/// [`ErrorKind::Malformed`] for segments that cannot be mapped as they say, [`ErrorKind::Policy`] for what dlscope
/// refuses: segments that are writable and executable at once, executable stacks.
#[inline(never)] // a stage: see docs/gdb.md
pub(crate) fn plan(image: &Image, tag: &Tag, report: Report<'_>) -> Result<Plan> {
    let plan = refuse_executable_stack(image).and_then(|()| Plan::new(image));
    let plan = plan.map_err(|kind| kind.of(&*tag.name, Stage::Plan))?;
    report.at(Stage::Plan).tell(|| Kind::Planned { plan: Arc::new(plan.clone()) });
    Ok(plan)
}

fn refuse_executable_stack(image: &Image) -> Result<(), ErrorKind> {
    if !image.wants_executable_stack() {
        return Ok(());
    }
    let found = match image.stack() {
        Some(_) => "p_flags RWX, an executable stack,",
        None => "no such program header, which asks for an executable stack,",
    };
    Err(ErrorKind::Policy {
        what: "PT_GNU_STACK".into(),
        found: found.into(),
        reason: "it would make every stack of the process executable; relink with -z noexecstack, and give assembly files a .note.GNU-stack section".into(),
    })
}

//! IFUNC: a function that is chosen at load time.
//!
//! gABI extension `STT_GNU_IFUNC` and psABI `R_X86_64_IRELATIVE`; glibc `elf_ifunc_invoke`; musl has none. The
//! symbol's address is not the function but a *resolver*, which looks at the processor and returns the address
//! of the best implementation. `memcpy` in glibc is one.
//!
//! So relocating such a reference runs code of the library that defines it, before its constructors. A
//! resolver may call functions through that library's own GOT; hence the two passes of `load::relocate`.

use crate::elf::addr::Addr;
use crate::event::Report;
use crate::memory::{self, Around, Watch};

/// Calls the resolver at `resolver`, and returns the address of the implementation that it chooses. `around` is the
/// memory that the resolver may change.
///
/// # Safety
/// The resolver's object and all that it depends on are relocated as far as a resolver may expect.
#[track_caller]
pub(crate) unsafe fn resolve(
    resolver: Addr,
    around: &(impl Around + ?Sized),
    watch: &mut Watch,
    report: Report<'_>,
) -> Addr {
    // SAFETY: the caller says that the resolver's object is relocated far enough.
    unsafe { memory::call_resolver(resolver, around, watch, report) }
}

//! What a debugger needs: a place to stop where it learns of a library that came or goes.
//!
//! gdb finds the system's libraries in `r_debug` of `<link.h>`, which belongs to ld.so: dlscope never writes there.
//! `docs/gdb/dlscope.py` sets a breakpoint on [`dlscope_debug_state`] instead, reads its arguments and adds the
//! library's symbols. With no debugger it is a call of an empty function, once for each library.

use std::arch::naked_asm;
use std::ffi::{CStr, c_char};

use crate::elf::addr::Bias;

/// Tells a debugger about one library. `loaded` is 1 once the library is mapped, before any of its code runs, and 0
/// before it is unmapped. `bias` is its load bias in bytes. The function does nothing: a debugger that stops here reads
/// its arguments.
#[unsafe(naked)]
#[unsafe(no_mangle)]
extern "C" fn dlscope_debug_state(loaded: u64, path: *const c_char, bias: u64) {
    naked_asm!(".cfi_startproc", "ret", ".cfi_endproc")
}

/// A debugger knows an object, until this is dropped.
pub(crate) struct Told {
    path: *const c_char,
    bias: u64,
}

/// Tells a debugger of an object that is mapped now. `path` must live at least as long as what is returned.
pub(crate) fn tell(path: &CStr, bias: Bias) -> Told {
    dlscope_debug_state(1, path.as_ptr(), bias.0);
    Told { path: path.as_ptr(), bias: bias.0 }
}

// SAFETY: the path is only handed on, to a function that does nothing with it.
unsafe impl Send for Told {}
// SAFETY: as for `Send`: nothing reads the path.
unsafe impl Sync for Told {}

impl Drop for Told {
    fn drop(&mut self) {
        dlscope_debug_state(0, self.path, self.bias);
    }
}

//! dlscope for C programs: `cargo build --release --example from_c` makes `target/release/examples/libfrom_c.a`.
//!
//! ```c
//! void *dlscope_open(const char *name);              // NULL: see dlscope_error
//! void *dlscope_symbol(void *library, const char *name);
//! void  dlscope_close(void *library);
//! const char *dlscope_error(void);                   // of this thread; valid until its next error
//! ```
//!
//! `cc host.c -Ltarget/release/examples -lfrom_c -lgcc_s -lm`

use std::cell::RefCell;
use std::ffi::{CStr, CString, c_char, c_void};
use std::ptr;

use dlscope::{Error, Library};

thread_local! {
    static ERROR: RefCell<CString> = RefCell::default();
}

fn keep(error: Error) -> *mut c_void {
    ERROR.set(CString::new(error.to_string()).unwrap_or_default());
    ptr::null_mut()
}

/// Opens a library, as [`Library::open`].
///
/// # Safety
/// `name` is a C string; the library's code may run.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dlscope_open(name: *const c_char) -> *mut c_void {
    // SAFETY: the caller's.
    let library = unsafe { Library::open(CStr::from_ptr(name).to_string_lossy().as_ref()) };
    library.map_or_else(keep, |library| Box::into_raw(Box::new(library)).cast())
}

/// Finds a symbol, as [`Library::get`].
///
/// # Safety
/// `library` is open, `name` is a C string.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dlscope_symbol(library: *mut c_void, name: *const c_char) -> *mut c_void {
    // SAFETY: the caller's; what is done with the address is the caller's affair.
    let found = unsafe { (*library.cast::<Library>()).get::<*mut c_void>(CStr::from_ptr(name).to_bytes()) };
    found.map_or_else(keep, |symbol| symbol.as_raw_ptr().cast())
}

/// Ends one use of a library, as [`Library::close`].
///
/// # Safety
/// `library` is open; it is not used any more.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dlscope_close(library: *mut c_void) {
    // SAFETY: the caller's: made by `dlscope_open`.
    drop(unsafe { Box::from_raw(library.cast::<Library>()) });
}

/// What was wrong last.
#[unsafe(no_mangle)]
pub extern "C" fn dlscope_error() -> *const c_char {
    ERROR.with_borrow(|error| error.as_ptr())
}

//! A C interface to dlscope. `cargo build --release --example from_c` makes `target/release/examples/libfrom_c.a`,
//! which has these functions:
//!
//! ```c
//! void *dlscope_open(const char *name);              // NULL if it fails: see dlscope_error
//! void *dlscope_symbol(void *library, const char *name);
//! void  dlscope_close(void *library);
//! const char *dlscope_error(void);                   // the last error of this thread; valid until its next one
//! ```
//!
//! To link a C program with it: `cc host.c -Ltarget/release/examples -lfrom_c -lgcc_s -lm`

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

/// Opens a library, as [`Library::open`] does.
///
/// # Safety
/// `name` is a C string, and the library's code may run.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dlscope_open(name: *const c_char) -> *mut c_void {
    // SAFETY: the caller's promise.
    let library = unsafe { Library::open(CStr::from_ptr(name).to_string_lossy().as_ref()) };
    library.map_or_else(keep, |library| Box::into_raw(Box::new(library)).cast())
}

/// Looks up a symbol, as [`Library::get`] does.
///
/// # Safety
/// `library` came from `dlscope_open` and is not closed. `name` is a C string.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dlscope_symbol(library: *mut c_void, name: *const c_char) -> *mut c_void {
    // SAFETY: the caller's promise. Nothing is done with the address here; what the caller does with it is the caller's
    // responsibility.
    let found = unsafe { (*library.cast::<Library>()).get::<*mut c_void>(CStr::from_ptr(name).to_bytes()) };
    found.map_or_else(keep, |symbol| symbol.as_raw_ptr().cast())
}

/// Ends one use of a library, as [`Library::close`] does.
///
/// # Safety
/// `library` came from `dlscope_open` and is not closed. Nothing of it is used after this call.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dlscope_close(library: *mut c_void) {
    // SAFETY: the caller's promise: `dlscope_open` made the box.
    drop(unsafe { Box::from_raw(library.cast::<Library>()) });
}

/// The last error of this thread, as text. It is valid until the thread's next error.
#[unsafe(no_mangle)]
pub extern "C" fn dlscope_error() -> *const c_char {
    ERROR.with_borrow(|error| error.as_ptr())
}

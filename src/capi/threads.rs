//! `pthread_create` and `thrd_create`, for programs whose C ABI is ours.

use std::ffi::{c_int, c_void};

use nix::libc;

use crate::host::real::Real;
use crate::runtime::tls;

type PthreadCreate = unsafe extern "C" fn(
    *mut libc::pthread_t,
    *const libc::pthread_attr_t,
    extern "C" fn(*mut c_void) -> *mut c_void,
    *mut c_void,
) -> c_int;

type ThrdCreate = unsafe extern "C" fn(*mut libc::pthread_t, extern "C" fn(*mut c_void) -> c_int, *mut c_void) -> c_int;

static THRD_CREATE: Real = Real::named(b"thrd_create");
static PTHREAD_CREATE: Real = Real::named(b"pthread_create");

/// `pthread_create`: glibc's, but never while a library's thread-local variables are being put into all threads.
/// Without this there is a moment in which a new thread is in nobody's list yet and has its copy of the template
/// already (`docs/tls.md`).
///
/// # Safety
/// As `pthread_create`.
///
/// # Panics
/// If glibc has no such function, which it has since 2.34.
pub unsafe extern "C" fn pthread_create(
    thread: *mut libc::pthread_t,
    attributes: *const libc::pthread_attr_t,
    start: extern "C" fn(*mut c_void) -> *mut c_void,
    argument: *mut c_void,
) -> c_int {
    let real = PTHREAD_CREATE.must_be_there();
    let _creating = tls::creating();
    // SAFETY: a function of this name and so of this type, found in glibc; the caller's arguments.
    unsafe { std::mem::transmute::<*mut (), PthreadCreate>(real)(thread, attributes, start, argument) }
}

/// `thrd_create` of C11: glibc's, with the same care. glibc's does not pass through a `pthread_create` of the program.
///
/// # Safety
/// As `thrd_create`.
///
/// # Panics
/// If glibc has no such function, which it has since 2.28.
pub unsafe extern "C" fn thrd_create(
    thread: *mut libc::pthread_t,
    start: extern "C" fn(*mut c_void) -> c_int,
    argument: *mut c_void,
) -> c_int {
    let real = THRD_CREATE.must_be_there();
    let _creating = tls::creating();
    // SAFETY: a function of this name and so of this type, found in glibc; the caller's arguments.
    unsafe { std::mem::transmute::<*mut (), ThrdCreate>(real)(thread, start, argument) }
}

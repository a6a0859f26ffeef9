//! `pthread_create` and `thrd_create`, for programs whose C ABI is ours.

use std::ffi::{c_int, c_void};
use std::ptr;

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
/// A stack whose size the program says gets as much more as our thread-local words and the arena take, which glibc puts at
/// its end: a stack of `PTHREAD_STACK_MIN` bytes would be too small otherwise.
pub unsafe extern "C" fn pthread_create(
    thread: *mut libc::pthread_t,
    attributes: *const libc::pthread_attr_t,
    start: extern "C" fn(*mut c_void) -> *mut c_void,
    argument: *mut c_void,
) -> c_int {
    let real = PTHREAD_CREATE.must_be_there();
    // SAFETY: the caller's: null or valid attributes.
    let roomier = unsafe { attributes.as_ref() }.and_then(with_room);
    let attributes = roomier.as_ref().map_or(attributes, ptr::from_ref);
    let _creating = tls::creating();
    // SAFETY: a function of this name and so of this type, found in glibc; the caller's arguments.
    unsafe { std::mem::transmute::<*mut (), PthreadCreate>(real)(thread, attributes, start, argument) }
}

/// These attributes with a stack that has room for what dlscope adds to each thread. `None`: they need none, because the
/// program brings the stack itself or it is large enough.
fn with_room(attributes: &libc::pthread_attr_t) -> Option<libc::pthread_attr_t> {
    const LARGE: usize = 1 << 20;
    let (mut lowest, mut size) = (ptr::null_mut(), 0);
    // SAFETY: valid attributes, and room for the answers. The copy is only read, for the time of one call: what it points to
    // stays the original's.
    unsafe {
        libc::pthread_attr_getstack(attributes, &mut lowest, &mut size);
        // Attributes without a stack answer as if its end were at 0.
        if size >= LARGE || lowest.addr().wrapping_add(size) != 0 {
            return None;
        }
        let mut copy = ptr::read(attributes);
        (libc::pthread_attr_setstacksize(&mut copy, size + tls::ROOM) == 0).then_some(copy)
    }
}

/// `thrd_create` of C11: glibc's, with the same care. glibc's does not pass through a `pthread_create` of the program.
///
/// # Safety
/// As `thrd_create`.
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

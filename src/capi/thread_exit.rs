//! Destructors of `thread_local` variables (C++, Rust) of loaded libraries.
//!
//! Itanium C++ ABI; glibc `__cxa_thread_atexit_impl`. The compiler registers each with the library's own
//! `__dso_handle`, so that the library stays mapped until it ran. glibc looks that up in its own list, where our
//! objects are not; so loaded libraries reach these functions instead. They register with glibc all the same,
//! which keeps the order among all destructors of the thread, but with a wrapper that counts for *our* object.

use std::ffi::{c_int, c_void};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use crate::elf::addr::Addr;
use crate::host::real::Real;
use crate::lock::Lock;
use crate::namespace::namespaces;
use crate::object::Object;
use crate::runtime::{tls, unwind};

/// A destructor of a thread-local variable.
pub type Destructor = unsafe extern "C-unwind" fn(*mut c_void);

type Register = unsafe extern "C" fn(Destructor, *mut c_void, *const c_void) -> c_int;

/// glibc's own. In a program whose C ABI is ours, the name means our function.
static OF_GLIBC: Real = Real::named(b"__cxa_thread_atexit_impl");

/// One registered destructor of a loaded library.
struct AtThreadEnd {
    destructor: Destructor,
    argument: *mut c_void,
    /// Counted up while this waits. Holding the object also keeps it mapped.
    object: Option<Arc<Object>>,
}

/// `__cxa_thread_atexit_impl` for loaded libraries.
///
/// # Safety
/// As glibc's: the destructor may be called with the argument when the thread ends.
pub unsafe extern "C" fn thread_atexit_impl(
    destructor: Destructor,
    argument: *mut c_void,
    dso: *const c_void,
) -> c_int {
    // Where the program's own libraries come here, too, most calls are theirs: no lock for those.
    let object = if unwind::is_interposed() && !unwind::knows(dso as u64) {
        None
    } else {
        let lock = Lock::acquire();
        let at = Addr(dso as u64);
        namespaces(&lock).into_iter().find_map(|n| n.members(&lock).objects().find(|o| o.memory.contains(at)))
    };
    if object.is_none() {
        // The host's own: what glibc counts for itself is left to it.
        // SAFETY: the caller keeps what this function's `# Safety` section asks for.
        return unsafe {
            std::mem::transmute::<*mut (), Register>(OF_GLIBC.must_be_there())(destructor, argument, dso)
        };
    }
    if let Some(object) = &object {
        object.thread_destructors.fetch_add(1, Ordering::SeqCst);
    }
    let registered = Box::new(AtThreadEnd { destructor, argument, object });
    let own = (&raw const HERE).cast();
    // SAFETY: a function and its argument, which glibc calls once; the DSO is dlscope's own, which is in glibc's
    // list (or, unknown to it, counts as the program's).
    unsafe {
        std::mem::transmute::<*mut (), Register>(OF_GLIBC.must_be_there())(run, Box::into_raw(registered).cast(), own)
    }
}

/// `__cxa_thread_atexit` of libstdc++: the same, under the name of the C++ ABI.
///
/// # Safety
/// As [`thread_atexit_impl`].
pub unsafe extern "C" fn thread_atexit(destructor: Destructor, argument: *mut c_void, dso: *const c_void) -> c_int {
    // SAFETY: the caller keeps what this function's `# Safety` section asks for.
    unsafe { thread_atexit_impl(destructor, argument, dso) }
}

/// An address in dlscope's own object.
static HERE: u8 = 0;

unsafe extern "C-unwind" fn run(registered: *mut c_void) {
    // SAFETY: what `thread_atexit_impl` gave to glibc, which calls this once.
    let AtThreadEnd { destructor, argument, object } = *unsafe { Box::from_raw(registered.cast::<AtThreadEnd>()) };
    // SAFETY: as the library registered it; the object is mapped, `object` holds it.
    unsafe { destructor(argument) };
    let Some(object) = object else { return };
    // Destructors of pthread keys run after these, and may be the library's, too: each Rust library with a
    // `thread_local!` has one. So the library waits for them, and then for the next close, as in glibc.
    tls::keep_for_thread(Arc::new(Counted(object)));
}

/// One destructor that ran, and still counts.
struct Counted(Arc<Object>);

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.thread_destructors.fetch_sub(1, Ordering::SeqCst);
    }
}

//! glibc's own functions of those names that a program with our C ABI means otherwise.

use std::ffi::{c_int, c_void};
use std::sync::atomic::{AtomicPtr, Ordering};

use nix::libc;

use crate::elf::symbol::{Class, Want, Wanted};
use crate::host;
use crate::lock::Lock;
use crate::runtime::tls;

/// A function of glibc, looked up once by our own means.
pub(crate) struct Real {
    name: &'static str,
    at: AtomicPtr<()>,
}

impl Real {
    pub(crate) const fn new(name: &'static str) -> Real {
        Real { name, at: AtomicPtr::new(std::ptr::null_mut()) }
    }

    /// Its address.
    ///
    /// # Panics
    /// If glibc has no such function, which it has since 2.34.
    pub(crate) fn get(&self) -> *mut () {
        let known = self.at.load(Ordering::Relaxed);
        if !known.is_null() {
            return known;
        }
        let wanted = Wanted::new(self.name.as_bytes(), Want::Newest, Class::Plt);
        let lock = Lock::acquire();
        let found = host::look_silently(&lock).ok().and_then(|host| {
            let libraries = host.objects.iter().filter(|o| host::is_c_library(o));
            let found = libraries.filter_map(|o| Some(o.symbols().find(&wanted, &mut ())?.1.address(o.bias())));
            found.into_iter().next()
        });
        let Some(address) = found else { panic!("glibc has no {}", self.name) };
        let address = std::ptr::with_exposed_provenance_mut(address.0 as usize);
        self.at.store(address, Ordering::Relaxed);
        address
    }
}

type PthreadCreate = unsafe extern "C" fn(
    *mut libc::pthread_t,
    *const libc::pthread_attr_t,
    extern "C" fn(*mut c_void) -> *mut c_void,
    *mut c_void,
) -> c_int;

static PTHREAD_CREATE: Real = Real::new("pthread_create");

/// `pthread_create`: glibc's, but never while a library's thread-local variables are being put into all threads.
/// Without this there is a moment in which a new thread is in nobody's list yet and has its copy of the template
/// already (`docs/tls.md`).
///
/// # Safety
/// As `pthread_create`.
pub unsafe extern "C" fn pthread_create(
    thread: *mut libc::pthread_t,
    attributes: *const libc::pthread_attr_t,
    start: extern "C" fn(*mut c_void) -> *mut c_void,
    argument: *mut c_void,
) -> c_int {
    let real = PTHREAD_CREATE.get();
    let _creating = tls::creating();
    // SAFETY: a function of this name and so of this type, found in glibc; the caller's arguments.
    unsafe { std::mem::transmute::<*mut (), PthreadCreate>(real)(thread, attributes, start, argument) }
}

//! glibc's own functions, where `interpose!` gives their names to the program.
//!
//! Found by our own lookup (`startup.rs`), when they are first needed: by whoever unwinds, in a signal handler maybe.

use std::ffi::{c_int, c_void};
use std::sync::atomic::{AtomicPtr, Ordering};

use nix::libc;

use super::startup::{self, Startup};
use crate::elf::symbol::{Class, Want, Wanted};

/// A function of glibc.
pub(crate) struct Real {
    name: &'static [u8],
    found: AtomicPtr<()>,
}

static ITERATE: Real = Real::named(b"dl_iterate_phdr");
static FIND_OBJECT: Real = Real::named(b"_dl_find_object");

/// The callback of `dl_iterate_phdr`.
pub type Visit = unsafe extern "C" fn(*mut libc::dl_phdr_info, usize, *mut c_void) -> c_int;
type Iterate = unsafe extern "C" fn(Option<Visit>, *mut c_void) -> c_int;
type FindObject = unsafe extern "C" fn(*mut c_void, *mut DlFindObject) -> c_int;

/// `struct dl_find_object` of `<dlfcn.h>`.
#[allow(missing_debug_implementations)]
#[derive(Default)]
#[repr(C)]
pub struct DlFindObject {
    pub(crate) dlfo_flags: u64,
    pub(crate) dlfo_map_start: u64,
    pub(crate) dlfo_map_end: u64,
    pub(crate) dlfo_link_map: u64,
    pub(crate) dlfo_eh_frame: u64,
    /// Reserved before glibc 2.42.
    pub(crate) dlfo_sframe: u64,
    reserved: [u64; 6],
}

/// glibc's own `dl_iterate_phdr`. The name alone could mean ours: then it would call itself.
pub(crate) fn iterate() -> Iterate {
    let real = ITERATE.get();
    if real.is_null() {
        return libc::dl_iterate_phdr;
    }
    // SAFETY: a function of this name and so of this type, found in glibc.
    unsafe { std::mem::transmute::<*mut (), Iterate>(real) }
}

/// glibc's own `_dl_find_object`; −1, as for an address that it does not know, where it has none.
///
/// # Safety
/// `result` has room for a `struct dl_find_object`.
pub(crate) unsafe fn find_object(pc: *mut c_void, result: *mut DlFindObject) -> c_int {
    let real = FIND_OBJECT.get();
    if real.is_null() {
        return -1;
    }
    // SAFETY: glibc's function of this type, found by name; the caller's arguments.
    unsafe { std::mem::transmute::<*mut (), FindObject>(real)(pc, result) }
}

impl Real {
    pub(crate) const fn named(name: &'static [u8]) -> Real {
        Real { name, found: AtomicPtr::new(std::ptr::null_mut()) }
    }

    /// Where it is; null if this glibc has none.
    pub(crate) fn get(&self) -> *mut () {
        let known = self.found.load(Ordering::Relaxed);
        if !known.is_null() {
            return known;
        }
        let found = self.find().unwrap_or(std::ptr::null_mut());
        self.found.store(found, Ordering::Relaxed);
        found
    }

    /// The same for a function without which nothing goes on. If this glibc has none, the process ends: a panic would use
    /// thread-local variables, for which such a function may be wanted.
    pub(crate) fn must_be_there(&self) -> *mut () {
        let found = self.get();
        if found.is_null() {
            for part in [b"dlscope: glibc has no ", self.name, b"\n"] {
                // SAFETY: so many bytes are there.
                unsafe { libc::write(2, part.as_ptr().cast(), part.len()) };
            }
            std::process::abort();
        }
        found
    }

    fn find(&self) -> Option<*mut ()> {
        let wanted = Wanted::new(self.name, Want::Newest, Class::Plt);
        startup::maps().filter(|map| startup::is_c_library(map)).find_map(|map| {
            // Its first segment has the address 0, so it begins at the load bias. `_dl_find_object` would say so, too, but
            // may be what is looked for.
            let object = Startup::of(map, map.l_addr)?;
            let (_, symbol) = object.symbols.find(&wanted, &mut ())?;
            Some(std::ptr::with_exposed_provenance_mut(symbol.address(object.bias).0 as usize))
        })
    }
}

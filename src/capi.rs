//! The C functions: `dlopen` and its kin over our namespaces.
//!
//! POSIX `<dlfcn.h>`, `<link.h>`; glibc `dlfcn/`. Loaded libraries call them themselves: libcrypto opens its
//! engines with these, glib its modules. libc's own versions know nothing of our objects, so references to them
//! are bound to these instead (and only those that would have gone to libc: a library's own `dlsym` stays its
//! own).
//!
//! Everything here is a plain function: no symbol of this name is exported, and programs that link this crate keep
//! their own `dlopen`. `examples/dlscope_preload.rs` gives them their C names, in a library that any program can be
//! put on with `LD_PRELOAD`.

use std::ffi::{CStr, c_void};

use crate::elf::addr::Addr;
use crate::host;
use crate::object::Object;
use crate::runtime::{tls, unwind};

mod address;
mod errors;
pub(crate) mod handles;
mod info;
mod open;
pub(crate) mod real;
mod symbol;

pub use crate::runtime::caller::{dlmopen, dlopen, dlsym, dlvsym};
pub use crate::runtime::tls::{thread_atexit, thread_atexit_impl};
pub use crate::runtime::unwind::{find_object, iterate_phdr};
pub use address::{dladdr, dladdr1};
pub use errors::dlerror;
pub use info::dlinfo;
pub use open::{dlclose, dlmopen_from, dlopen_from};
pub use real::pthread_create;
pub use symbol::{dlsym_from, dlvsym_from};

/// dlscope's own function for a name that libc defines, if it has one.
///
/// Only for what would have gone to libc and ld.so; a library's own function of such a name stays its own. And
/// for one function of libstdc++: a host's copy has bound libc's `__cxa_thread_atexit_impl` long ago.
pub(crate) fn replacement(object: &Object, name: &[u8]) -> Option<Addr> {
    let function = match name {
        b"__cxa_thread_atexit" if object.is_host() => thread_atexit as *const (),
        _ if !host::is_c_library(object) => return None,
        b"__tls_get_addr" => tls::get_addr as *const (),
        b"__cxa_thread_atexit_impl" => thread_atexit_impl as *const (),
        b"dlopen" => dlopen as *const (),
        b"dlmopen" => dlmopen as *const (),
        b"dlsym" => dlsym as *const (),
        b"dlvsym" => dlvsym as *const (),
        b"dlclose" => dlclose as *const (),
        b"dlerror" => dlerror as *const (),
        b"dladdr" => dladdr as *const (),
        b"dladdr1" => dladdr1 as *const (),
        b"dlinfo" => dlinfo as *const (),
        b"dl_iterate_phdr" => iterate_phdr as *const (),
        b"_dl_find_object" if unwind::is_interposed() => find_object as *const (),
        _ => return None,
    };
    Some(Addr(function.expose_provenance() as u64))
}

/// Whether `handle` is this object's.
fn is(object: &Object, handle: *mut c_void) -> bool {
    object.handle().cast() == handle.cast_const()
}

/// What glibc calls the program in its messages: `argv[0]`.
fn program_name() -> String {
    let argv = host::arguments().argv;
    // SAFETY: captured at start-up: null, or an array of C strings that ends in null.
    let name = unsafe { if argv.is_null() || (*argv).is_null() { c"" } else { CStr::from_ptr(*argv) } };
    if name.is_empty() { "<main program>".into() } else { name.to_string_lossy().into_owned() }
}

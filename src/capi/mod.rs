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

use std::arch::naked_asm;
use std::ffi::{CStr, c_void};
use std::sync::{Arc, OnceLock};

use crate::elf::addr::Addr;
use crate::elf::gnu_hash;
use crate::heap;
use crate::host;
use crate::lock;
use crate::lookup::scope;
use crate::namespace::{self, Namespace};
use crate::object::Object;
use crate::policy::{StandIn, Whose};
use crate::runtime::{tls, unwind};

mod address;
mod backtrace;
mod caller;
mod errors;
mod handles;
mod info;
mod open;
mod symbol;
mod thread_exit;
mod threads;

pub use crate::heap::Heap;
pub use crate::runtime::unwind::{find_object, iterate_phdr};
pub use address::{dladdr, dladdr1};
pub use backtrace::{backtrace_symbols, backtrace_symbols_fd};
pub use caller::{dlmopen, dlopen, dlsym, dlvsym};
pub use errors::dlerror;
pub use info::dlinfo;
pub use open::{dlclose, dlmopen_from, dlopen_from};
pub use symbol::{dlsym_from, dlvsym_from};
pub use thread_exit::{thread_atexit, thread_atexit_impl};
pub use threads::{pthread_create, thrd_create};

/// What loaded libraries get in place of the C library's functions. The last one is libstdc++'s: the host's copy has
/// bound libc's `__cxa_thread_atexit_impl` long ago.
pub(crate) static STAND_INS: &[StandIn] = &[
    stand_in(b"__tls_get_addr", || Some(tls::get_addr as *const ())),
    stand_in(b"__cxa_thread_atexit_impl", || Some(thread_atexit_impl as *const ())),
    stand_in(b"dlopen", || Some(dlopen as *const ())),
    stand_in(b"dlmopen", || Some(dlmopen as *const ())),
    stand_in(b"dlsym", || Some(dlsym as *const ())),
    stand_in(b"dlvsym", || Some(dlvsym as *const ())),
    stand_in(b"dlclose", || Some(dlclose as *const ())),
    stand_in(b"dlerror", || Some(dlerror as *const ())),
    stand_in(b"dladdr", || Some(dladdr as *const ())),
    stand_in(b"dladdr1", || Some(dladdr1 as *const ())),
    stand_in(b"dlinfo", || Some(dlinfo as *const ())),
    stand_in(b"backtrace_symbols", || Some(backtrace_symbols as *const ())),
    stand_in(b"backtrace_symbols_fd", || Some(backtrace_symbols_fd as *const ())),
    stand_in(b"dl_iterate_phdr", || Some(iterate_phdr as *const ())),
    stand_in(b"_dl_find_object", || unwind::is_interposed().then_some(find_object as *const ())),
    StandIn { whose: Whose::Host, ..stand_in(b"__cxa_thread_atexit", || Some(thread_atexit as *const ())) },
];

/// The names of the functions that loaded libraries get from here and not from the C library (or libstdc++), whose own
/// do not know the objects of dlscope.
pub fn replaced_names() -> impl Iterator<Item = &'static str> {
    STAND_INS.iter().filter_map(|stand_in| str::from_utf8(stand_in.name).ok())
}

const fn stand_in(name: &'static [u8], address: fn() -> Option<*const ()>) -> StandIn {
    StandIn { name, hash: gnu_hash::hash_byte_by_byte(name), whose: Whose::CLibrary, address }
}

/// `__tls_get_addr` for the modules of dlscope and for those of ld.so. `index` points to the number of a module, as
/// `RTLD_DI_TLS_MODID` and `dlpi_tls_modid` give it, and to an offset. Returns the address in the calling thread's block.
///
/// # Safety
/// As glibc's: `index` points to these two words, and the module is loaded.
#[unsafe(naked)]
pub unsafe extern "C" fn tls_get_addr(index: *const c_void) -> *mut c_void {
    naked_asm!(".cfi_startproc", "jmp {inner}", ".cfi_endproc", inner = sym tls::get_addr)
}

/// What [`before_first_use`] was given.
static BEFORE_FIRST_USE: OnceLock<fn()> = OnceLock::new();

/// Has `act` called when the process-wide namespace is used for the first time: it may make one of its own
/// ([`Loader::make_process_wide`](crate::Loader::make_process_wide)), and opens nothing. For a constructor that runs too
/// early to allocate.
pub fn before_first_use(act: fn()) {
    let _ = BEFORE_FIRST_USE.set(act);
}

/// The namespace of [`Library::open`](crate::Library::open) and of these functions, one for the process.
pub(crate) fn process_wide() -> &'static Arc<Namespace> {
    static USED: OnceLock<()> = OnceLock::new();
    if let Some(act) = BEFORE_FIRST_USE.get() {
        lock::made_once(&USED, act);
    }
    namespace::process_wide(STAND_INS)
}

/// dlscope's own function for a name that `object` defines, if it has one.
fn replacement(object: &Object, name: &[u8]) -> Option<Addr> {
    scope::stand_in(STAND_INS, object, name, gnu_hash::hash(name))
}

/// The same for a name that a start-up object defines.
fn replacement_of(name: &[u8], is_c_library: bool) -> Option<Addr> {
    STAND_INS.iter().find(|stand_in| stand_in.name == name)?.address_for(|| is_c_library)
}

/// Refuses what an allocator wants that was called while guarded state was borrowed, or a signal handler that came then:
/// it would wait for its own thread.
fn not_meanwhile() -> Result<(), &'static str> {
    if lock::is_borrowing() {
        return Err("called by an allocator or a signal handler in the middle of another call of the loader");
    }
    Ok(())
}

/// Refuses to begin what might have to be given up half-way for lack of memory, which is not possible everywhere.
fn enough_memory() -> Result<(), &'static str> {
    if heap::has_reserve() { Ok(()) } else { Err("cannot allocate memory") }
}

/// Whether `handle` is this object's.
fn is(object: &Object, handle: *mut c_void) -> bool {
    object.handle().cast() == handle.cast_const()
}

/// What glibc calls the program in its messages: `argv[0]`.
fn program_name() -> String {
    String::from_utf8_lossy(program_name_bytes()).into_owned()
}

fn program_name_bytes() -> &'static [u8] {
    let argv = host::arguments().argv;
    // SAFETY: captured at start-up: null, or an array of C strings that ends in null.
    let name = unsafe { if argv.is_null() || (*argv).is_null() { c"" } else { CStr::from_ptr(*argv) } };
    if name.is_empty() { b"<main program>" } else { name.to_bytes() }
}

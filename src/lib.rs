//! **dlscope**: `dlopen` under a microscope.
//!
//! A shared-library loader for x86_64 Linux, written by hand, that never calls libc's `dlopen`, `dlsym` or
//! `dlclose`. It opens an ELF file, maps its segments with plain system calls, applies its relocations, finds
//! its exports through the dynamic symbol hash tables, runs its constructors, lets you call it, and unloads it.
//! Every step is a typed [`event::Event`].
//!
//! ```
//! use std::ffi::c_int;
//! // SAFETY: libm's constructors do nothing surprising, and `abs` has this type (stdlib.h).
//! unsafe {
//!     let libm = dlscope::Library::open("libm.so.6")?;
//!     let cos = libm.get::<unsafe extern "C" fn(f64) -> f64>("cos")?;
//!     assert_eq!(cos(0.0), 1.0);
//! }
//! # Ok::<(), dlscope::Error>(())
//! ```
//!
//! # The map
//!
//! A load falls through these stages once, top to bottom. `Loader::load` in `src/loader.rs` is their list; each
//! is one file, one group of events and one chapter in `docs/chapters/`.
//!
//! | # | stage | file | what it does | specification | glibc / musl |
//! |---|---|---|---|---|---|
//! | 1 | find | `link/search.rs`, `link/tokens.rs`, `link/ldcache.rs` | name → path → open file | ld.so(8) | `_dl_map_object` / `load_library` |
//! | 2 | read | `link/search.rs`, `elf/image.rs` | the file header and program headers | gABI "ELF Header", "Program Header" | `open_verify` / `map_library` |
//! | 3 | plan | `elf/plan.rs` | `PT_LOAD`s → mapping steps | gABI "Program Loading" | `_dl_map_segments` / `map_library` |
//! | 4 | map | `memory.rs` | the steps, carried out | mmap(2) | the same |
//! | 5 | dynamic | `elf/dynamic.rs`, `object.rs` | `PT_DYNAMIC` → checked tables | gABI "Dynamic Section" | `elf_get_dynamic_info` / `decode_dyn` |
//! | 6 | needed | `link/needed.rs` | `DT_NEEDED`, breadth first, each once | gABI "Shared Object Dependencies" | `_dl_map_object_deps` / `load_deps` |
//! | 7 | versions | `link/versions.rs`, `elf/version.rs` | every needed version is there | LSB "Symbol Versioning" | `_dl_check_map_versions` / – |
//! | 8 | relocate | `link/relocate.rs`, `link/scope.rs`, `elf/reloc.rs` | patch what depends on addresses | psABI "Relocation" | `_dl_relocate_object` / `reloc_all` |
//! | 9 | seal | `memory.rs` | `PT_GNU_RELRO` → read-only | | `_dl_protect_relro` |
//! | 10 | publish | `batch.rs`, `namespace.rs` | the objects enter the namespace | dlopen(3) | `update_scopes` / `dlopen` |
//! | 11 | init | `runtime/init.rs` | constructors, dependencies first | gABI "Initialization and Termination" | `_dl_init` / `do_init_fini` |
//! | – | lookup | `library.rs`, `elf/symbol.rs`, `elf/gnu_hash.rs`, `elf/sysv_hash.rs`, `link/index.rs` | a symbol by name | gABI "Hash Table" | `do_lookup_x` / `find_sym2` |
//! | – | close | `runtime/init.rs`, `namespace.rs` | destructors, unmapping | | `_dl_close_worker` |
//!
//! If you touch an object's memory you are in `memory.rs`; what only the specification says is in `elf/` (pure,
//! no `unsafe`); what chooses between objects is in `link/`; the host's objects are in `host.rs`. To read the
//! minimal loader, follow [`Library::open`] through `loader`, `elf/`, `memory`, `link/relocate` and `library`:
//! every other chapter hangs off one named call that can be stepped over.
//!
//! # Limits
//!
//! x86_64 Linux with glibc 2.35 or newer. Executable stacks and segments
//! that are writable and executable at once are refused by policy. An exception that escapes a constructor
//! unwinds through [`Loader::open`]; the library then stays half initialised. Libraries that the *host* opens after
//! start-up are used only when something needs them, and the host may close them again.
//! Initial-exec thread-local variables of all loaded libraries share 8 KiB; `docs/tls.md` says how to change that.

#[cfg(not(all(target_arch = "x86_64", target_os = "linux", target_env = "gnu")))]
compile_error!("dlscope loads x86_64 libraries into glibc processes on Linux: other targets are not supported");

mod batch;
#[doc(hidden)]
pub mod bench;
pub mod capi;
pub mod elf;
mod error;
pub mod event;
mod hash;
mod host;
mod library;
mod link;
mod loader;
mod lock;
mod memory;
mod namespace;
mod object;
pub mod replay;
mod runtime;

#[doc(hidden)]
pub use runtime::unwind;

pub use error::{Error, ErrorKind, Result, Where};
pub use event::{Event, Probe, Recorder, Silent};
pub use library::{Export, Library, LoadedObject, Symbol};
pub use loader::{Inspected, Inspection, Loader, Prepared};
pub use namespace::Bind;

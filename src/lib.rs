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
//! `examples/minimal.rs` has the whole idea in one file: read it first. A load falls through these stages once, top to
//! bottom. `src/load/mod.rs` calls them by name; each is one file, one group of events and one chapter in
//! `docs/chapters/`.
//!
//! | # | stage | file | what it does | specification | glibc / musl |
//! |---|---|---|---|---|---|
//! | 1 | find | `load/find.rs` | name → path → open file | ld.so(8) | `_dl_map_object` / `load_library` |
//! | 2 | read | `load/read.rs`, `elf/image.rs` | the file header and program headers | gABI "ELF Header", "Program Header" | `open_verify` / `map_library` |
//! | 3 | plan | `load/plan.rs`, `elf/plan.rs` | `PT_LOAD`s → mapping steps | gABI "Program Loading" | `_dl_map_segments` / `map_library` |
//! | 4 | map | `load/map.rs`, `memory.rs` | the steps, carried out | mmap(2) | the same |
//! | 5 | dynamic | `load/dynamic.rs`, `elf/dynamic.rs`, `object.rs` | `PT_DYNAMIC` → checked tables | gABI "Dynamic Section" | `elf_get_dynamic_info` / `decode_dyn` |
//! | 6 | needed | `load/needed.rs` | `DT_NEEDED`, breadth first, each once | gABI "Shared Object Dependencies" | `_dl_map_object_deps` / `load_deps` |
//! | 7 | versions | `load/versions.rs`, `elf/version.rs` | every needed version is there | LSB "Symbol Versioning" | `_dl_check_map_versions` / – |
//! | 8 | relocate | `load/relocate.rs`, `lookup/scope.rs`, `elf/reloc.rs` | fill in every pointer that was unknown until now | psABI "Relocation" | `_dl_relocate_object` / `reloc_all` |
//! | 9 | seal | `load/seal.rs` | `PT_GNU_RELRO` → read-only | | `_dl_protect_relro` |
//! | 10 | publish | `load/publish.rs`, `namespace/` | the objects enter the namespace | dlopen(3) | `update_scopes` / `dlopen` |
//! | 11 | init | `load/init.rs` | constructors, dependencies first | gABI "Initialization and Termination" | `_dl_init` / `do_init_fini` |
//! | – | lookup | `library.rs`, `library/lookup.rs`, `elf/symbol.rs`, `elf/gnu_hash.rs` | a symbol by name | gABI "Hash Table" | `do_lookup_x` / `find_sym2` |
//! | – | close | `load/close.rs` | destructors, unmapping | | `_dl_close_worker` |
//!
//! To read the minimal loader, follow [`Library::open`] through `load/`: every chapter of `runtime/` hangs off one named
//! call that can be stepped over. A silent load of the smallest library, a lookup in it and the call execute 2,350 lines
//! in 42 files at most, and a test keeps count (`tests/minimal_lines.rs`).
//!
//! # The floors
//!
//! ```text
//! os.rs, os/                          libloading's interface to what only some systems have
//! loader.rs, loader/, bench.rs        what users meet: a namespace with its policy, and the ways to load into it
//! capi/                               the C ABI: dlopen, dlsym and their kin over our namespaces
//! library.rs, library/                an open library: get, call, close
//! load/                               the story: all eleven stages, and the way back
//! runtime/                            chapters: thread-local storage, lazy binding, unwinding, IFUNCs, debuggers
//! lookup/                             who is asked for a symbol, in which order, and what makes that fast
//! namespace/                          what is loaded, what needs what, and in which orders
//! host/                               the objects that the system's loader mapped
//! object.rs, object/                  one mapped file with its tables
//! memory.rs, memory/                  everything that happens to an object's memory
//! policy.rs                           what the user decided
//! replay.rs, replay/                  memory as it was at any event
//! lock.rs                             one lock for the process, and what it takes to fork
//! event.rs, event/                    what the loader says while it works
//! elf/                                what the file says: pure, without `unsafe`
//! error.rs                            what can go wrong, and the names of the stages
//! heap.rs                             memory for the loader alone, where the C ABI is ours
//! thread.rs, thread/                  a few words for each thread
//! elf/addr.rs                         addresses, each kind a type of its own
//! text.rs                             names, which are bytes, as text
//! ```
//!
//! A file imports what stands on its own floor or on one below; `tests/floor_plan.rs` holds that.
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

#[cfg(target_feature = "crt-static")]
compile_error!(
    "a static program has no ld.so, whose objects dlscope builds on: compile without -C target-feature=+crt-static"
);

#[doc(hidden)]
pub mod bench;
pub mod capi;
pub mod elf;
mod error;
pub mod event;
mod heap;
mod host;
mod library;
mod load;
mod loader;
mod lock;
mod lookup;
mod memory;
mod namespace;
mod object;
pub mod os;
mod policy;
pub mod replay;
mod runtime;
pub mod text;
mod thread;

#[doc(hidden)]
pub use runtime::unwind;

pub use error::{Error as Refusal, ErrorKind, Where};
pub use event::{Event, Probe, Recorder};
pub use library::{AsFilename, AsSymbolName, Error, Export, Library, LoadedObject, Result, Symbol, library_filename};
pub use loader::{Inspected, Inspection, Loader, Prepared};
pub use policy::Bind;

//! The hidden subcommand `compare-child`: a process that loads one library with one loader, looks at its own memory,
//! writes what it saw to a file and ends.

use std::collections::{HashMap, HashSet};
use std::env;
use std::ffi::{CString, OsStr, OsString, c_void};
use std::fs;
use std::io;
use std::mem::ManuallyDrop;
use std::ops::Range;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use clap::ValueEnum;
use dlscope::elf::addr::Vaddr;
use dlscope::event::{Detail, Event, Kind, Probe, Tag};
use dlscope::{ErrorKind, Library, Loader};
use libloading::os::unix;
use nix::libc;

use super::file::{ElfFile, ExportLookup};
use super::look::{LoadedProcess, raw_words};
use super::process::{Maps, OwnMemory, Present, listed};
use super::snapshot::{LoadResult, Role};
use super::way::DlscopeOptions;
use crate::bytes::path_of;
use crate::page::short;

/// The loader that a child uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum WhichLoader {
    /// glibc's `dlopen`.
    System,
    /// dlscope.
    Dlscope,
}

/// Load one library with one loader and write the result to a file
#[derive(clap::Args)]
pub struct ChildArgs {
    #[arg(value_enum)]
    loader: WhichLoader,
    /// The file for the result. It is not standard output, because libraries print there
    out: PathBuf,
    library: OsString,
    #[command(flatten)]
    options: DlscopeOptions,
}

/// Runs the subcommand.
pub fn run(args: &ChildArgs) -> ! {
    let told = attempt(args).and_then(|outcome| fs::write(&args.out, serde_json::to_vec(&outcome)?));
    let status = match told {
        Ok(()) => 0,
        Err(error) => {
            eprintln!("compare-child: {error}");
            1
        }
    };
    // SAFETY: nothing is left to be done; no destructor of the library runs.
    unsafe { libc::_exit(status) }
}

fn attempt(args: &ChildArgs) -> io::Result<LoadResult> {
    let start = Before { objects: listed(), folder: env::current_dir()? };
    let loaded = match args.loader {
        WhichLoader::System => by_system(&args.library, start)?,
        WhichLoader::Dlscope => by_dlscope(&args.library, start, args.options.watched)?,
    };
    match loaded {
        Ok(mut loaded) => {
            if let Some(corrupt) = args.options.corrupt {
                corrupt.carry_out(&mut loaded)?;
            }
            loaded.snapshot().map(LoadResult::Loaded)
        }
        Err(refused) => Ok(refused),
    }
}

/// The process before the library was loaded.
struct Before {
    objects: Vec<Present>,
    /// The current directory. Constructors may change it, and the library's path may be relative.
    folder: PathBuf,
}

type Opened = io::Result<Result<LoadedProcess, LoadResult>>;

// ── the system's loader ──────────────────────────────────────────────────────────────────────────────────

fn by_system(name: &OsStr, start: Before) -> Opened {
    // SAFETY: the user asks for this library's code to run, in this process that is made for it.
    let opened = unsafe { unix::Library::open(Some(name), libc::RTLD_NOW) };
    let handle = match opened {
        Ok(library) => library.into_raw(),
        Err(error) => return Ok(Err(LoadResult::Refused { reason: reason(&error), policy: false })),
    };
    env::set_current_dir(&start.folder)?;
    let before = start.objects;
    let after = listed();
    let root = root_of(handle).and_then(|bias| after.iter().find(|o| o.bias == bias)).cloned();
    let root = root.ok_or_else(|| io::Error::other("dlopen's handle is in no list"))?;
    let new: Vec<_> = after.into_iter().filter(|o| !before.iter().any(|b| b.bias == o.bias)).collect();
    let closure = closure(&root.path, &new);
    let mut objects: Vec<_> = before.into_iter().map(|o| (o, Role::Host)).collect();
    objects.extend(new.iter().enumerate().filter(|(n, _)| closure[*n]).map(|(_, o)| (o.clone(), Role::New)));
    objects.extend(new.iter().enumerate().filter(|(n, _)| !closure[*n]).map(|(_, o)| (o.clone(), Role::Nested)));
    let find = move |export: &ExportLookup| find_by_system(handle, export);
    Ok(Ok(LoadedProcess::new(objects, root.bias, HashMap::new(), Box::new(find))?))
}

/// The message of `dlerror`.
fn reason(error: &libloading::Error) -> String {
    std::error::Error::source(error).map_or_else(|| error.to_string(), ToString::to_string)
}

/// The load bias of the object of a handle.
fn root_of(handle: *mut c_void) -> Option<u64> {
    let mut map: *const u64 = std::ptr::null();
    // SAFETY: a handle from `dlopen`, and room for a pointer, as dlinfo(3) wants.
    let told = unsafe { libc::dlinfo(handle, libc::RTLD_DI_LINKMAP, (&raw mut map).cast()) };
    // SAFETY: a `link_map` begins with `l_addr` (<link.h>).
    (told == 0 && !map.is_null()).then(|| unsafe { *map })
}

fn find_by_system(handle: *mut c_void, export: &ExportLookup) -> Option<u64> {
    let name = CString::new(export.name.as_slice()).ok()?;
    let version = export.version.as_deref().map(CString::new).transpose().ok()?;
    // SAFETY: the handle is open; the names are C strings. The first call of `dlerror` clears an older error.
    let (found, error) = unsafe {
        libc::dlerror();
        let found = match &version {
            Some(version) => libc::dlvsym(handle, name.as_ptr(), version.as_ptr()),
            None => libc::dlsym(handle, name.as_ptr()),
        };
        // Null may be a symbol's value, so only `dlerror` tells.
        (found, found.is_null() && !libc::dlerror().is_null())
    };
    (!error).then_some(found as u64)
}

/// For each new object whether it is the library or one of its dependencies. Code of the library loaded the others.
fn closure(root: &str, new: &[Present]) -> Vec<bool> {
    let files: Vec<_> = new.iter().map(|o| ElfFile::open(&path_of(&o.path))).collect();
    let named = |name: &str| {
        let name = short(name);
        new.iter().zip(&files).position(|(object, file)| {
            short(&object.path) == name || file.as_ref().and_then(ElfFile::soname).as_deref() == Some(name)
        })
    };
    let mut reached = vec![false; new.len()];
    let mut waiting: Vec<usize> = new.iter().position(|o| o.path == root).into_iter().collect();
    while let Some(at) = waiting.pop() {
        if !std::mem::replace(&mut reached[at], true) {
            let needs = files[at].as_ref().map_or(Vec::new(), ElfFile::needed);
            waiting.extend(needs.iter().filter_map(|name| named(name)));
        }
    }
    reached
}

// ── dlscope ─────────────────────────────────────────────────────────────────────────────────────────────────

fn by_dlscope(name: &OsStr, start: Before, watched: bool) -> Opened {
    let probe = Arc::new(Witness::new(watched)?);
    let loader = Loader::new().probe(probe.clone());
    // SAFETY: the user asks for this library's code to run, in this process that is made for it.
    let library = match unsafe { loader.open(name) } {
        Ok(library) => library,
        Err(error) => {
            let policy = matches!(error.kind, ErrorKind::Policy { .. });
            return Ok(Err(LoadResult::Refused { reason: error.to_string(), policy }));
        }
    };
    env::set_current_dir(&start.folder)?;
    let untouched = std::mem::take(&mut *probe.seen.lock().unwrap_or_else(PoisonError::into_inner)).untouched;
    let root = library.load_bias().0;
    let closure: Vec<_> = library.objects().into_iter().filter(|o| !o.of_host).map(|o| o.load_bias.0).collect();
    let mut objects: Vec<_> = start.objects.into_iter().map(|o| (o, Role::Host)).collect();
    for bias in closure {
        let Some(object) = untouched.iter().find(|o| o.bias == bias) else { continue };
        let span = object.span.start.wrapping_add(bias)..object.span.end.wrapping_add(bias);
        objects.push((Present { path: object.path.clone(), bias, span, block: None }, Role::New));
    }
    // Objects that code of the library loaded, and those that the C library loaded for itself.
    for late in listed().into_iter().chain(Maps::read()?.libraries()) {
        if !objects.iter().any(|(known, _)| known.bias == late.bias) {
            objects.push((late, Role::Nested));
        }
    }
    let words = untouched.into_iter().map(|o| (o.bias, o.words)).collect();
    // The library is never closed, because its destructors are not compared.
    let library = ManuallyDrop::new(library);
    let find = move |export: &ExportLookup| find_by_dlscope(&library, export);
    Ok(Ok(LoadedProcess::new(objects, root, words, Box::new(find))?))
}

fn find_by_dlscope(library: &Library, export: &ExportLookup) -> Option<u64> {
    // SAFETY: only the address is used.
    let found = unsafe {
        match &export.version {
            Some(version) => library.get_version::<*mut ()>(&export.name, version),
            None => library.get::<*mut ()>(&export.name),
        }
    };
    found.ok().map(|symbol| symbol.as_raw_ptr() as u64)
}

/// An object before any of its code ran.
struct Untouched {
    path: String,
    bias: u64,
    /// Its pages, as `p_vaddr`s.
    span: Range<u64>,
    /// The words in its slots; `None` for slots that wait for pass 2.
    words: Vec<Option<u64>>,
}

/// A probe that looks at every new object after pass 1, before any code of the library runs.
///
/// It wants to hear only of stages, unless `--watched` is given, so that the loader relocates as it does without a
/// probe. After its look it stops listening: to tell what a constructor changes, the loader would copy all writable
/// memory around each call.
struct Witness {
    watched: bool,
    listening: AtomicBool,
    memory: OwnMemory,
    seen: Mutex<WitnessState>,
}

#[derive(Default)]
struct WitnessState {
    /// The objects with their load biases, in the order of mapping.
    placed: Vec<(Tag, u64)>,
    /// The slots that wait for pass 2, each with the number of its object.
    deferred: HashSet<(u32, Vaddr)>,
    untouched: Vec<Untouched>,
}

impl Witness {
    fn new(watched: bool) -> io::Result<Witness> {
        Ok(Witness { watched, listening: AtomicBool::new(true), memory: OwnMemory::open()?, seen: Mutex::default() })
    }

    fn look(&self, seen: &mut WitnessState) {
        for (tag, bias) in &seen.placed {
            let Some(file) = ElfFile::open(&path_of(&tag.name)) else { continue };
            let slots = file.slots();
            let mut words = raw_words(&slots, &file, *bias, &self.memory);
            for (slot, word) in slots.iter().zip(&mut words) {
                if seen.deferred.contains(&(tag.id, slot.place)) {
                    *word = None;
                }
            }
            seen.untouched.push(Untouched { path: tag.name.to_string(), bias: *bias, span: file.span(), words });
        }
        self.listening.store(false, Ordering::Relaxed);
    }
}

impl Probe for Witness {
    fn listening(&self) -> bool {
        self.listening.load(Ordering::Relaxed)
    }

    fn detail(&self) -> Detail {
        if self.watched { Detail::Everything } else { Detail::Stages }
    }

    fn event(&self, event: &Event) {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        match (&event.kind, &event.object) {
            (Kind::Placed { bias, .. }, Some(object)) => seen.placed.push((object.clone(), bias.0)),
            (Kind::Deferred { place, .. }, Some(object)) => {
                seen.deferred.insert((object.id, *place));
            }
            (Kind::Pass { pass: 2, .. } | Kind::Publish { .. }, _) => self.look(&mut seen),
            _ => {}
        }
    }
}

//! What is already here: the objects that the system's loader mapped.
//!
//! They are adopted, never mapped again: a second libc would have its own heap and its own idea of the current
//! thread. And they are only read: glibc's internal `dlopen` (for `iconv`, NSS, …) walks the same structures.
//!
//! The way in is the one that debuggers use: `_r_debug` → the list of `link_map`s. glibc guarantees it for
//! gdb's sake (`<link.h>`, "rtld-debugger-interface").

use std::ffi::{CStr, OsStr, OsString, c_char, c_int, c_void};
use std::os::unix::ffi::OsStrExt;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use goblin::elf64::program_header::{PF_R, PT_DYNAMIC, PT_LOAD, PT_NOTE, ProgramHeader};
use nix::libc;

use crate::elf::addr::{Addr, Bias, FileOffset, Vaddr};
use crate::elf::image::{Image, Segment};
use crate::elf::symbol::{Class, Want, Wanted};
use crate::error::{Error, Result};
use crate::event::{Kind, Report, Stage, Tag};
use crate::lock::{self, Guarded, Lock};
use crate::memory::Memory;
use crate::object::{HostPart, LinkMap, Object, Origin};
use crate::text::escape_path;

pub(crate) mod cpu;
pub(crate) mod real;
mod start;
pub(crate) mod startup;
pub(crate) use start::{arguments, last_name_at_start, ld_bind_now, ld_library_path, program_name};
use start::{auxiliary, is_run_by_loader, last_at_start, list_head};

/// The host's objects as they were when its list was last walked. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Host {
    /// In the order of the list: start-up objects first.
    pub objects: Arc<[Arc<Object>]>,
    /// How many of them are start-up objects.
    startup: usize,
    /// `dlpi_adds` and `dlpi_subs` when the list was walked.
    adds: u64,
    subs: u64,
}

static HOST: Guarded<Option<Host>> = Guarded::new(None);

/// A walk through the list, while glibc's lock is held.
#[derive(Default)]
struct Walk<'k> {
    known: Option<&'k Host>,
    /// Somebody reads the names.
    watched: bool,
    /// Unchanged since the last walk: nothing was looked at.
    unchanged: bool,
    begun: bool,
    adds: u64,
    subs: u64,
    /// The element after the last one that was met.
    next: Option<NonNull<LinkMap>>,
    /// The end of the start-up objects was not met yet. Without a note from start-up, all that is there at first counts.
    at_start: bool,
    found: Vec<Arc<Object>>,
    /// The vDSO, which comes last.
    kernels: Option<Arc<Object>>,
    startup: usize,
    failed: Option<Error>,
}

impl Host {
    /// No objects at all: for what is inspected as if it were alone in the process.
    pub(crate) fn nobody() -> Host {
        Host { objects: Arc::from([]), startup: 0, adds: 0, subs: 0 }
    }

    /// The executable, its preloads and their dependencies: the first part of everybody's scope.
    pub(crate) fn startup(&self) -> &[Arc<Object>] {
        &self.objects[..self.startup]
    }

    /// How many bytes below the thread pointer the TLS block of a host object begins, if it is at the same
    /// distance in every thread.
    pub(crate) fn tls_offset(&self, object: &Object) -> Option<u64> {
        let offset = link_map_word(object, self.tls_fields()[0])?;
        // 0: no block. All ones: only dynamic, at no fixed distance.
        (offset != 0 && offset != u64::MAX).then_some(offset)
    }

    /// The number that glibc gave to the thread-local storage of a host object: what its `__tls_get_addr` knows.
    pub(crate) fn tls_module(&self, object: &Object) -> Option<u64> {
        link_map_word(object, self.tls_fields()[1]).filter(|&id| id != 0)
    }

    /// Where in a `link_map` glibc keeps `l_tls_offset` and `l_tls_modid`. Few libraries ask, and it never changes.
    fn tls_fields(&self) -> &'static [Option<usize>; 2] {
        static FIELDS: OnceLock<[Option<usize>; 2]> = OnceLock::new();
        lock::made_once(&FIELDS, || {
            ["_thread_db_link_map_l_tls_offset", "_thread_db_link_map_l_tls_modid"]
                .map(|name| debugger_field(&self.objects, name, 64))
        })
    }

    /// Where glibc keeps its threads; `None` if it does not tell.
    pub(crate) fn thread_lists(&self) -> Option<ThreadLists> {
        let wanted = Wanted::new(b"_rtld_global", Want::Newest, Class::Address);
        let global = self.objects.iter().filter(|object| is_c_library(object)).find_map(|object| {
            let (_, symbol) = object.symbols().find(&wanted, &mut ())?;
            Some(symbol.address(object.bias()).0)
        })?;
        let place = |table| Some(debugger_field(&self.objects, table, LIST_BITS)? as u64);
        Some(ThreadLists {
            heads: [
                global + place("_thread_db_rtld_global__dl_stack_used")?,
                global + place("_thread_db_rtld_global__dl_stack_user")?,
            ],
            of_thread: place("_thread_db_pthread_list")?,
        })
    }

    /// The object that `address` belongs to.
    pub(crate) fn owner(&self, address: Addr) -> Option<&Arc<Object>> {
        self.objects.iter().find(|o| o.memory.contains(address))
    }

    /// The object for which `wanted` is true. If there is none, the vDSO is adopted, too, and asked.
    pub(crate) fn find(&self, wanted: impl Fn(&Object) -> bool, lock: &Lock) -> Option<Arc<Object>> {
        let among = |host: &Host| host.objects.iter().find(|object| wanted(object)).cloned();
        among(self).or_else(|| {
            ask_for_kernels(lock);
            among(&look_silently(lock).ok()?)
        })
    }
}

/// The lists in which glibc keeps its threads: circles of `list_t`, which has the addresses of the next and of the one
/// before.
pub(crate) struct ThreadLists {
    /// The addresses of the lists themselves.
    pub heads: [u64; 2],
    /// How far behind the thread pointer a thread's own `list_t` lies.
    pub of_thread: u64,
}

/// The size of a `list_t`: two pointers.
const LIST_BITS: u32 = 128;

/// The name of the kernel's object (vdso(7)) in the host's list begins so.
const KERNELS: &str = "linux-vdso.so";

/// The vDSO was asked for. Before that no time is spent on it: next to nobody opens it.
static KERNELS_ASKED_FOR: AtomicBool = AtomicBool::new(false);

/// Makes the next [`look`] adopt the vDSO, too, if `name` means it.
pub(crate) fn ask_for(name: &str, lock: &Lock) {
    if name.starts_with(KERNELS) {
        ask_for_kernels(lock);
    }
}

fn ask_for_kernels(lock: &Lock) {
    if !KERNELS_ASKED_FOR.swap(true, Ordering::Relaxed)
        && let Some(host) = HOST.borrow(lock).as_mut()
    {
        // No list is at that count, so the list is walked again.
        host.adds = u64::MAX;
    }
}

/// The host's objects as they are now. Its list is walked again only if it changed.
pub(crate) fn look(lock: &Lock, report: Report<'_>) -> Result<Host> {
    // A clone: no borrow is held when events are told.
    let known = HOST.borrow(lock).clone();
    let mut walk = Walk::new(known.as_ref(), report.listening());
    // SAFETY: glibc's lock is held, and `info` is glibc's.
    walk_list(&mut |info| unsafe { walk.meet(info) });
    let Walk { unchanged, adds, subs, mut found, kernels, startup, failed, .. } = walk;
    found.extend(kernels);
    if let Some(error) = failed {
        return Err(error);
    }
    if unchanged && let Some(host) = known {
        return Ok(host);
    }
    let host = Host { objects: found.into(), startup, adds, subs };
    *HOST.borrow(lock) = Some(host.clone());
    if known.is_none() {
        let objects = || host.startup().iter().map(|o| o.tag.clone()).collect();
        report.at(Stage::Host).tell(|| Kind::Host { objects: objects() });
    }
    tell_adopted(&host, known.as_ref(), report.at(Stage::Host));
    Ok(host)
}

/// Tells probes of the objects that the last look did not see.
#[track_caller]
fn tell_adopted(host: &Host, known: Option<&Host>, report: Report<'_>) {
    if !report.closely() {
        return;
    }
    let seen = known.map_or(&[][..], |known| &known.objects);
    for object in host.objects.iter().filter(|o| !seen.iter().any(|s| s.tag == o.tag)) {
        let span = object.memory.span();
        report.about(&object.tag).tell_each(|| Kind::Adopt {
            bias: object.bias(),
            address: object.bias() + span.start,
            length: span.end.0 - span.start.0,
            tls_offset: host.tls_offset(object),
        });
    }
}

/// The same for those who only need to know, and have nobody to tell.
pub(crate) fn look_silently(lock: &Lock) -> Result<Host> {
    look(lock, Report::silent())
}

/// Calls `see` for each object of glibc's list, in its order, until it gives another answer than 0. glibc's lock is held: so
/// the list stands still, and nothing of it is unmapped meanwhile.
fn walk_list(see: &mut dyn FnMut(&libc::dl_phdr_info) -> c_int) {
    let mut see = see;
    // glibc does not reset its lock in a forked child.
    // SAFETY: the callback takes exactly this argument.
    lock::without_fork(|| unsafe { libc::dl_iterate_phdr(Some(LOADERS), (&raw mut see).cast()) });
}

/// The callback of [`walk_list`]. Where `interpose!` gives the name `dl_iterate_phdr` to ours, ours knows it by this, and
/// passes it on to glibc's.
pub(crate) static LOADERS: real::Visit = visit;

unsafe extern "C" fn visit(info: *mut libc::dl_phdr_info, _: usize, see: *mut c_void) -> c_int {
    type See<'a> = &'a mut dyn FnMut(&libc::dl_phdr_info) -> c_int;
    // SAFETY: `walk_list` passes its `see`; glibc passes a valid `info`.
    unsafe { (*see.cast::<See<'_>>())(&*info) }
}

impl<'k> Walk<'k> {
    fn new(known: Option<&'k Host>, watched: bool) -> Walk<'k> {
        // Start-up objects are known since the first walk. Nothing is allocated for a list that did not change.
        Walk { known, watched, at_start: known.is_none(), ..Walk::default() }
    }

    /// Takes one object over; what was known before stays the same. Another answer than 0 ends the walk.
    ///
    /// # Safety
    /// glibc's lock is held, and `info` is glibc's.
    unsafe fn meet(&mut self, info: &libc::dl_phdr_info) -> c_int {
        if !std::mem::replace(&mut self.begun, true) {
            (self.adds, self.subs) = (info.dlpi_adds, info.dlpi_subs);
            if self.known.is_some_and(|host| (host.adds, host.subs) == (self.adds, self.subs)) {
                self.unchanged = true;
                return 1;
            }
            self.found.reserve(self.known.map_or(16, |host| host.objects.len() + 1));
        }
        // SAFETY: the caller keeps what this function's `# Safety` section asks for.
        let shown = unsafe { Shown::of(info) };
        // The list has no program headers; glibc gives them here. The dynamic section tells which is whose.
        let Some(dynamic) = shown.headers.iter().find(|h| h.p_type == PT_DYNAMIC) else { return 0 };
        // SAFETY: the caller keeps what this function's `# Safety` section asks for.
        let Some(map) = (unsafe { self.element(shown.bias.0.wrapping_add(dynamic.p_vaddr)) }) else { return 0 };
        // The kernel's object is in nobody's scope (glibc `setup_vdso`), so it stands behind those of start-up.
        let kernels = shown.name.starts_with(KERNELS.as_bytes());
        if kernels && !KERNELS_ASKED_FOR.load(Ordering::Relaxed) {
            return 0;
        }
        let object = match self.known(map, &shown) {
            Some(known) => known.clone(),
            None => match adopt(map, &shown, self.at_start && !kernels, self.watched) {
                Ok(object) => Arc::new(object),
                Err(error) => {
                    self.failed = Some(error);
                    return 1;
                }
            },
        };
        if kernels {
            self.kernels = Some(object);
            return 0;
        }
        self.startup += usize::from(object.is_startup());
        self.found.push(object);
        self.at_start &= !std::ptr::eq(map, last_at_start());
        0
    }

    /// The element of the list with this dynamic section: as a rule the one after the last.
    ///
    /// # Safety
    /// glibc's lock is held.
    unsafe fn element(&mut self, section: u64) -> Option<*mut LinkMap> {
        // SAFETY: the caller keeps what this function's `# Safety` section asks for.
        let head = NonNull::new(unsafe { list_head() }?);
        for from in [self.next, head] {
            let mut next = from;
            while let Some(at) = next {
                // SAFETY: an element of the list.
                let map = unsafe { at.as_ref() };
                next = NonNull::new(map.l_next);
                if map.l_ld == section {
                    self.next = next;
                    return Some(at.as_ptr());
                }
            }
        }
        None
    }

    /// The same object from the last walk: as a rule at the same place.
    fn known(&self, map: *mut LinkMap, shown: &Shown<'_>) -> Option<&'k Arc<Object>> {
        let known = &self.known?.objects;
        let same = |o: &&Arc<Object>| o.handle() == map.cast_const() && (o.is_startup() || shown.is(o));
        known.get(self.found.len()).filter(same).or_else(|| known.iter().find(same))
    }
}

/// What glibc's `dl_iterate_phdr` shows of an object, while glibc's lock is held.
struct Shown<'a> {
    name: &'a [u8],
    bias: Bias,
    headers: &'a [ProgramHeader],
}

impl<'a> Shown<'a> {
    /// # Safety
    /// glibc's lock is held as long as the answer is used, and `info` is glibc's.
    unsafe fn of(info: &libc::dl_phdr_info) -> Shown<'a> {
        let (name, headers) = (info.dlpi_name, info.dlpi_phdr);
        // SAFETY: glibc keeps a C string there.
        let name = if name.is_null() { &[][..] } else { unsafe { CStr::from_ptr(name) }.to_bytes() };
        // SAFETY: glibc says so: `dlpi_phnum` headers at `dlpi_phdr`.
        let headers = unsafe { std::slice::from_raw_parts(headers.cast(), info.dlpi_phnum.into()) };
        Shown { name, bias: Bias(info.dlpi_addr), headers }
    }

    /// Whether this is `object`, and not one that the host mapped at the same place after it closed that one. The
    /// dynamic section lies where the program headers say.
    fn is(&self, object: &Object) -> bool {
        let segments = &object.image.segments;
        let same_header = |(h, s): (&ProgramHeader, &Segment)| {
            (h.p_type, h.p_flags, h.p_offset, h.p_vaddr) == (s.p_type, s.flags.0, s.offset.0, s.vaddr.0)
                && (h.p_filesz, h.p_memsz, h.p_align) == (s.filesz, s.memsz, s.align)
        };
        object.bias() == self.bias
            && object.path().as_bytes() == self.name
            && segments.len() == self.headers.len()
            && self.headers.iter().zip(segments).all(same_header)
            && object.host.as_ref().is_some_and(|host| *host.build_id == *self.notes())
    }

    /// What `PT_NOTE` holds, the build ID above all: another build of a file can have the same name and layout.
    fn notes(&self) -> Vec<u8> {
        let loads = || self.headers.iter().filter(|h| h.p_type == PT_LOAD && h.p_flags & PF_R != 0);
        let end = |start: u64, length: u64| start.saturating_add(length);
        let holds = |load: &ProgramHeader, note: &ProgramHeader| {
            note.p_vaddr >= load.p_vaddr && end(note.p_vaddr, note.p_memsz) <= end(load.p_vaddr, load.p_filesz)
        };
        let notes = self.headers.iter().filter(|h| h.p_type == PT_NOTE && loads().any(|load| holds(load, h)));
        let bytes = |note: &ProgramHeader| {
            let start = self.bias.0.wrapping_add(note.p_vaddr) as *const u8;
            // SAFETY: a part of a readable segment that glibc has mapped and holds its lock for. Nobody writes notes.
            unsafe { std::slice::from_raw_parts(start, note.p_memsz as usize) }
        };
        notes.flat_map(bytes).copied().collect()
    }
}

/// Does something with the memory of `object` while nobody can unmap it: `None` if the host has closed it already. For
/// an object of the host, `act` runs under glibc's lock: it takes no lock of ours and calls no foreign code.
pub(crate) fn while_mapped<R, F: FnOnce() -> R>(object: &Object, act: F) -> Option<R> {
    if !object.is_host() || object.is_startup() {
        return Some(act());
    }
    let (mut act, mut result) = (Some(act), None);
    walk_list(&mut |info| {
        // SAFETY: glibc's lock is held, and `info` is glibc's.
        let is_it = unsafe { Shown::of(info) }.is(object);
        if is_it {
            result = act.take().map(|act| act());
        }
        c_int::from(is_it)
    });
    result
}

/// Where the executable is: `exactly`, or as the kernel was told, which may be a link to it or a script that names it.
/// The exact answer is a file of `/proc`, and takes as long as all other system calls for a small library together.
pub(crate) fn program_path(exactly: bool) -> OsString {
    let told = auxiliary(libc::AT_EXECFN) as *const c_char;
    // SAFETY: the kernel put a C string there, for good.
    let told = if told.is_null() { &[][..] } else { unsafe { CStr::from_ptr(told) }.to_bytes() };
    if is_run_by_loader() {
        // The executable is ld.so, and ld.so has put the path of the program there.
        let folder = std::env::current_dir().unwrap_or_default();
        let path = folder.join(OsStr::from_bytes(told));
        // Newer ld.so follows the links in it, as the kernel does (bug 25263; `_dl_canonicalize`).
        let real = glibc_is_at_least([2, 42]).then(|| std::fs::canonicalize(&path).ok()).flatten();
        return real.unwrap_or(path).into_os_string();
    }
    if exactly || !told.starts_with(b"/") {
        return std::env::current_exe().map(OsString::from).unwrap_or_default();
    }
    OsStr::from_bytes(told).into()
}

/// Whether the glibc of this process has at least this version.
pub(crate) fn glibc_is_at_least(wanted: [u32; 2]) -> bool {
    // SAFETY: glibc returns a C string that is there for good, such as "2.36".
    let version = unsafe { CStr::from_ptr(libc::gnu_get_libc_version()) }.to_str().unwrap_or_default();
    let mut numbers = version.split('.').map(|part| part.parse().unwrap_or(0));
    [numbers.next().unwrap_or(0), numbers.next().unwrap_or(0)] >= wanted
}

fn adopt(map: *mut LinkMap, shown: &Shown<'_>, startup: bool, exactly: bool) -> Result<Object> {
    let &Shown { name, bias, headers } = shown;
    // The executable has no name in the list.
    let path = if name.is_empty() { program_path(exactly) } else { OsStr::from_bytes(name).into() };
    let tag = Tag::new(&escape_path(&path));
    // SAFETY: program headers are plain numbers without padding.
    let table = unsafe { std::slice::from_raw_parts(headers.as_ptr().cast::<u8>(), size_of_val(headers)) };
    // The file's length is unknown and does not matter: nothing of it will be mapped.
    let image = Image::new(table, FileOffset(0), u64::MAX).map_err(|kind| kind.of(&*tag.name, Stage::Host))?;
    let build_id = if startup { Box::default() } else { shown.notes().into() };
    let (link_map, headers) = (map as usize, headers.as_ptr() as usize);
    let host = HostPart { startup, program: name.is_empty(), link_map, headers, build_id };
    let name = tag.name.clone();
    let memory = Memory::of_host(bias, &image);
    Object::adopt(Origin { tag, path, file: None, host: Some(host), image, memory })
        .map_err(|kind| kind.of(&*name, Stage::Host))
}

/// Where in a structure glibc keeps a field that is so many bits wide, in bytes. It exports tables of `{ width in bits, count, offset }` for
/// debuggers (`libthread_db`), so nothing needs to be guessed.
fn debugger_field(objects: &[Arc<Object>], table: &str, width: u32) -> Option<usize> {
    let wanted = Wanted::new(table.as_bytes(), Want::Newest, Class::Address);
    objects.iter().find_map(|object| {
        let (_, symbol) = object.symbols().find(&wanted, &mut ())?;
        let [first, last] = [0, 8].map(|part| object.memory.word(Vaddr(symbol.value().0 + part)));
        let (bits, offset) = (first? as u32, last? as u32);
        (bits == width).then_some(offset as usize)
    })
}

fn link_map_word(object: &Object, field: Option<usize>) -> Option<u64> {
    let at = object.host.as_ref()?.link_map + field?;
    // SAFETY: glibc says that a 64-bit word is there, and the `link_map` is one that it listed.
    Some(unsafe { (at as *const u64).read() })
}

/// The sonames of the C library's own objects that have to do with loading. ld.so's file may have another name
/// (`startup::is_c_library`).
const C_LIBRARY: [&str; 3] = ["libc.so.6", "ld-linux-x86-64.so.2", "libdl.so.2"];

/// Whether an object is part of the C library itself, which implements `dlopen` and its kin.
pub(crate) fn is_c_library(object: &Object) -> bool {
    object.is_host() && object.soname.as_deref().is_some_and(|soname| C_LIBRARY.contains(&soname))
}

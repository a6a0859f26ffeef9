//! What is already here: the objects that the system's loader mapped.
//!
//! They are adopted, never mapped again: a second libc would have its own heap and its own idea of the current
//! thread. And they are only read: glibc's internal `dlopen` (for `iconv`, NSS, …) walks the same structures.
//!
//! The way in is the one that debuggers use: `_r_debug` → the list of `link_map`s. glibc guarantees it for
//! gdb's sake (`<link.h>`, "rtld-debugger-interface").

use std::ffi::{CStr, OsStr, OsString, c_char, c_int, c_void};
use std::os::unix::ffi::OsStrExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicUsize, Ordering};

use goblin::elf64::dynamic::{DT_DEBUG, Dyn};
use goblin::elf64::program_header::{PT_DYNAMIC, PT_PHDR, ProgramHeader};
use nix::libc;

use crate::elf::addr::{Addr, Bias, FileOffset, Vaddr};
use crate::elf::image::Image;
use crate::elf::symbol::{Class, Want, Wanted};
use crate::error::Result;
use crate::event::{Kind, Probe, Report, Request, Silent, Stage};
use crate::lock::{self, Guarded, Lock};
use crate::memory::Arguments;
use crate::object::{HostPart, LinkMap, Object};
use crate::runtime::unwind::Iterate;

/// `struct r_debug` of `<link.h>`, as far as it is used.
#[repr(C)]
struct RDebug {
    r_version: c_int,
    r_map: *mut LinkMap,
}

unsafe extern "C" {
    /// Exported by ld.so for debuggers.
    static _r_debug: RDebug;
    static environ: *const *const c_char;
}

// ── start-up ─────────────────────────────────────────────────────────────────────────────────────────────

static ARGC: AtomicUsize = AtomicUsize::new(0);
static ARGV: AtomicPtr<*const c_char> = AtomicPtr::new(std::ptr::null_mut());
static LD_LIBRARY_PATH: AtomicPtr<c_char> = AtomicPtr::new(std::ptr::null_mut());
/// `LD_BIND_NOW` is set, and not empty.
static LD_BIND_NOW: AtomicBool = AtomicBool::new(false);
/// The last object of the list when our start-up code ran: it and those before form the global scope.
static LAST_AT_START: AtomicPtr<LinkMap> = AtomicPtr::new(std::ptr::null_mut());

/// Runs before `main`, when every start-up object is mapped and no other thread exists.
#[used]
#[unsafe(link_section = ".init_array")]
static AT_START: extern "C" fn(c_int, *mut *const c_char, *const *const c_char) = at_start;

extern "C" fn at_start(argc: c_int, argv: *mut *const c_char, envp: *const *const c_char) {
    lock::watch_forks();
    ARGC.store(argc as usize, Ordering::Relaxed);
    ARGV.store(argv, Ordering::Relaxed);
    // SAFETY: glibc hands constructors the process's own environment: an array of C strings that ends in null.
    unsafe {
        let mut at = envp;
        while !at.is_null() && !(*at).is_null() {
            let variable = CStr::from_ptr(*at).to_bytes();
            // The string itself, not a copy: nothing is allocated before `main`. The first of a name counts.
            if let Some(value) = variable.strip_prefix(b"LD_LIBRARY_PATH=")
                && LD_LIBRARY_PATH.load(Ordering::Relaxed).is_null()
            {
                LD_LIBRARY_PATH.store(value.as_ptr().cast_mut().cast(), Ordering::Relaxed);
            }
            if variable.strip_prefix(b"LD_BIND_NOW=").is_some_and(|value| !value.is_empty()) {
                LD_BIND_NOW.store(true, Ordering::Relaxed);
            }
            at = at.add(1);
        }
    }
    // SAFETY: only this thread exists, so nobody changes the list.
    let last = unsafe { list_head() };
    let mut last = last.unwrap_or(std::ptr::null_mut());
    // SAFETY: as above; every `l_next` is null or the next element.
    while !last.is_null() && unsafe { !(*last).l_next.is_null() } {
        // SAFETY: as above.
        last = unsafe { (*last).l_next };
    }
    LAST_AT_START.store(last, Ordering::Relaxed);
}

/// The name, in glibc's own memory, of the last object that was there at start-up: how a callback of `dl_iterate_phdr`
/// recognises it.
pub(crate) fn last_name_at_start() -> Option<*const c_char> {
    let last = LAST_AT_START.load(Ordering::Relaxed);
    // SAFETY: a start-up object's, which stays for good.
    (!last.is_null()).then(|| unsafe { (*last).l_name })
}

/// What constructors are called with: argc and argv as captured at start-up, `environ` as it is now.
pub(crate) fn arguments() -> Arguments {
    Arguments {
        argc: ARGC.load(Ordering::Relaxed) as c_int,
        argv: ARGV.load(Ordering::Relaxed).cast_const(),
        // SAFETY: reading the pointer as any C program does.
        envp: unsafe { environ },
    }
}

/// `argv[0]`: what the program calls itself in messages.
pub(crate) fn program_name() -> String {
    let Arguments { argc, argv, .. } = arguments();
    if argc == 0 || argv.is_null() {
        return String::new();
    }
    // SAFETY: the first of `argc` C strings, as the kernel put them on the first stack.
    unsafe { CStr::from_ptr(*argv) }.to_string_lossy().into_owned()
}

/// `LD_LIBRARY_PATH` as it was when the program started; a set-user-ID program has none (`AT_SECURE`).
pub(crate) fn ld_library_path() -> Option<String> {
    let value = LD_LIBRARY_PATH.load(Ordering::Relaxed);
    // SAFETY: `getauxval` has no preconditions.
    if value.is_null() || unsafe { libc::getauxval(libc::AT_SECURE) } != 0 {
        return None;
    }
    // SAFETY: it points into the string that the kernel put on the first stack; it stays for good.
    Some(unsafe { CStr::from_ptr(value) }.to_string_lossy().into_owned())
}

/// `LD_BIND_NOW` as it was when the program started: nothing is bound lazily.
pub(crate) fn ld_bind_now() -> bool {
    LD_BIND_NOW.load(Ordering::Relaxed)
}

// ── the list ─────────────────────────────────────────────────────────────────────────────────────────────

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
    /// Where in a `link_map` glibc keeps `l_tls_offset` and `l_tls_modid`.
    tls_fields: [Option<usize>; 2],
}

static HOST: Guarded<Option<Host>> = Guarded::new(None);

/// What is copied out of the list while glibc's lock is held.
struct Listed {
    link_map: usize,
    bias: u64,
    section: u64,
    name: Vec<u8>,
    headers: Vec<u8>,
}

#[derive(Default)]
struct Walk {
    seen_adds: u64,
    seen_subs: u64,
    /// Unchanged since the last walk: nothing was copied.
    unchanged: bool,
    list: Vec<Listed>,
    adds: u64,
    subs: u64,
}

impl Host {
    /// The executable, its preloads and their dependencies: the first part of everybody's scope.
    pub(crate) fn startup(&self) -> &[Arc<Object>] {
        &self.objects[..self.startup]
    }

    /// How many bytes below the thread pointer the TLS block of a host object begins, if it is at the same
    /// distance in every thread.
    pub(crate) fn tls_offset(&self, object: &Object) -> Option<u64> {
        let offset = link_map_word(object, self.tls_fields[0])?;
        // 0: no block. All ones: only dynamic, at no fixed distance.
        (offset != 0 && offset != u64::MAX).then_some(offset)
    }

    /// The number that glibc gave to the thread-local storage of a host object: what its `__tls_get_addr` knows.
    pub(crate) fn tls_module(&self, object: &Object) -> Option<u64> {
        link_map_word(object, self.tls_fields[1]).filter(|&id| id != 0)
    }

    /// The object that `address` belongs to.
    pub(crate) fn owner(&self, address: Addr) -> Option<&Arc<Object>> {
        self.objects.iter().find(|o| o.memory.contains(address))
    }
}

/// The host's objects as they are now. Its list is walked again only if it changed.
pub(crate) fn look<P: Probe + ?Sized>(lock: &Lock, report: Report<'_, P>) -> Result<Host> {
    // A clone: no borrow is held when events are told.
    let known = HOST.borrow(lock).clone();
    let mut walk = Walk::default();
    if let Some(host) = &known {
        (walk.seen_adds, walk.seen_subs) = (host.adds, host.subs);
    }
    // SAFETY: the callback takes exactly this argument, and copies everything out while glibc holds its lock. Which
    // glibc does not reset in a forked child.
    lock::without_fork(|| unsafe { real_iterate()(Some(visit), (&raw mut walk).cast()) });
    match known {
        Some(host) if walk.unchanged => Ok(host),
        known => {
            let host = take_over(&walk, known.as_ref())?;
            *HOST.borrow(lock) = Some(host.clone());
            if known.is_none() {
                let objects = || host.startup().iter().map(|o| o.tag.clone()).collect();
                report.at(Stage::Host).tell(|| Kind::Host { objects: objects() });
            }
            if report.closely() {
                let seen = known.as_ref().map_or(&[][..], |k| &k.objects);
                let new = host.objects.iter().filter(|o| !seen.iter().any(|s| s.tag == o.tag));
                new.for_each(|object| tell_adopted(object, &host, report.at(Stage::Host)));
            }
            Ok(host)
        }
    }
}

/// The same for those who only need to know, and have nobody to tell.
pub(crate) fn look_silently(lock: &Lock) -> Result<Host> {
    look(lock, Request::current().report(&Silent, Stage::Host))
}

fn tell_adopted<P: Probe + ?Sized>(object: &Object, host: &Host, report: Report<'_, P>) {
    let span = object.memory.span();
    report.about(&object.tag).tell(|| Kind::Adopt {
        bias: object.bias(),
        address: object.bias() + span.start,
        length: span.end.0 - span.start.0,
        tls_offset: host.tls_offset(object),
    });
}

/// Makes objects of what was listed; those that were known before stay the same.
fn take_over(walk: &Walk, before: Option<&Host>) -> Result<Host> {
    let known: &[Arc<Object>] = before.map_or(&[], |host| &host.objects);
    let last = LAST_AT_START.load(Ordering::Relaxed) as usize;
    // Without a note from start-up, all that is there at first counts.
    let noted = walk.list.iter().any(|l| l.link_map == last);
    let mut at_start = noted || before.is_none();
    let mut objects = Vec::with_capacity(walk.list.len());
    let mut startup = 0;
    for listed in walk.list.iter().filter(|l| !l.is_vdso()) {
        let same =
            |o: &&Arc<Object>| o.host.is_some_and(|h| h.link_map == listed.link_map) && o.bias().0 == listed.bias;
        let object = match known.iter().find(same) {
            Some(known) => known.clone(),
            None => Arc::new(adopt(listed, at_start)?),
        };
        startup += usize::from(object.is_startup());
        objects.push(object);
        at_start &= listed.link_map != last;
    }
    let fields = || {
        ["_thread_db_link_map_l_tls_offset", "_thread_db_link_map_l_tls_modid"]
            .map(|name| debugger_field(&objects, name))
    };
    let tls_fields = before.map_or_else(fields, |host| host.tls_fields);
    Ok(Host { objects: objects.into(), startup, adds: walk.adds, subs: walk.subs, tls_fields })
}

/// glibc's own `dl_iterate_phdr`, where the name means something else in this program.
static REAL_ITERATE: AtomicPtr<()> = AtomicPtr::new(std::ptr::null_mut());

/// glibc's own `dl_iterate_phdr`.
pub(crate) fn real_iterate() -> Iterate {
    let real = REAL_ITERATE.load(Ordering::Relaxed);
    if real.is_null() {
        return libc::dl_iterate_phdr;
    }
    // SAFETY: a function of this name and so of this type, found in glibc.
    unsafe { std::mem::transmute::<*mut (), Iterate>(real) }
}

/// Finds glibc's functions of those names that `interpose!` gives to the program. Before `main`, while no other
/// thread exists: so the list may be walked without glibc's lock, which only the real functions could take.
pub(crate) fn find_real_functions(found_find_object: impl Fn(*mut ())) {
    let mut walk = Walk::default();
    // SAFETY: only this thread exists.
    unsafe { walk_list(&mut walk) };
    for listed in
        walk.list.iter_mut().filter(|l| l.name.ends_with(b"/libc.so.6") || l.name.ends_with(b"/ld-linux-x86-64.so.2"))
    {
        // glibc's objects begin with their ELF header, and the program headers follow it.
        let table = (listed.bias + 64) as *const ProgramHeader;
        // SAFETY: the first page of a mapped object: the header's `e_phnum`, and the table behind the header.
        unsafe {
            let count = ((listed.bias + 56) as *const u16).read();
            listed.headers = plain_bytes(std::slice::from_raw_parts(table, count.into())).to_vec();
        }
        let Ok(object) = adopt(listed, true) else { continue };
        for (name, store) in [
            (&b"dl_iterate_phdr"[..], &(|f| REAL_ITERATE.store(f, Ordering::Relaxed)) as &dyn Fn(*mut ())),
            (b"_dl_find_object", &found_find_object),
        ] {
            if let Some((_, symbol)) = object.symbols().find(&Wanted::new(name, Want::Newest, Class::Plt), &mut ()) {
                store(std::ptr::with_exposed_provenance_mut(symbol.address(object.bias()).0 as usize));
            }
        }
    }
}

/// Called by glibc for each object, with its lock held; the first call does everything.
unsafe extern "C" fn visit(info: *mut libc::dl_phdr_info, _: usize, walk: *mut c_void) -> c_int {
    // SAFETY: `look` passes its `Walk`; glibc passes a valid `info`.
    let (info, walk) = unsafe { (&*info, &mut *walk.cast::<Walk>()) };
    if walk.list.is_empty() {
        (walk.adds, walk.subs) = (info.dlpi_adds, info.dlpi_subs);
        if walk.adds == walk.seen_adds && walk.subs == walk.seen_subs {
            walk.unchanged = true;
            return 1;
        }
        // SAFETY: glibc's lock is held, so the list stands still.
        unsafe { walk_list(walk) };
    }
    // The list has no program headers; glibc gives them here. The dynamic section tells which is whose.
    // SAFETY: glibc says so: `dlpi_phnum` headers at `dlpi_phdr`.
    let headers = unsafe { std::slice::from_raw_parts(info.dlpi_phdr.cast::<ProgramHeader>(), info.dlpi_phnum.into()) };
    let dynamic = headers.iter().find(|h| h.p_type == PT_DYNAMIC);
    if let Some(dynamic) = dynamic {
        let section = info.dlpi_addr.wrapping_add(dynamic.p_vaddr);
        if let Some(listed) = walk.list.iter_mut().find(|l| l.section == section) {
            // SAFETY: program headers are plain numbers.
            listed.headers = unsafe { plain_bytes(headers) }.to_vec();
        }
    }
    0
}

/// # Safety
/// `T` has no padding.
unsafe fn plain_bytes<T>(values: &[T]) -> &[u8] {
    // SAFETY: any initialised memory can be read as bytes; the caller vouches for the padding.
    unsafe { std::slice::from_raw_parts(values.as_ptr().cast(), size_of_val(values)) }
}

/// # Safety
/// Nobody changes the list meanwhile.
unsafe fn walk_list(walk: &mut Walk) {
    // SAFETY: the caller's.
    let mut at = unsafe { list_head() }.unwrap_or(std::ptr::null_mut());
    while !at.is_null() {
        // SAFETY: an element of the list.
        let map = unsafe { &*at };
        let name = if map.l_name.is_null() {
            Vec::new()
        } else {
            // SAFETY: glibc keeps a C string there.
            unsafe { CStr::from_ptr(map.l_name) }.to_bytes().to_vec()
        };
        walk.list.push(Listed {
            link_map: at as usize,
            bias: map.l_addr,
            section: map.l_ld,
            name,
            headers: Vec::new(),
        });
        at = map.l_next;
    }
}

/// The first `link_map`: the executable's.
///
/// # Safety
/// Nobody changes the list meanwhile.
unsafe fn list_head() -> Option<*mut LinkMap> {
    // SAFETY: ld.so fills this in before any constructor runs.
    let map = unsafe { (&raw const _r_debug.r_map).read() };
    if !map.is_null() {
        return Some(map);
    }
    // Some debuggers' tricks leave `_r_debug` empty; the executable's own DT_DEBUG points to it as well.
    // SAFETY: `getauxval` has no preconditions; the kernel's AT_PHDR and AT_PHNUM describe the executable's
    // program headers, which are mapped.
    unsafe {
        let table = libc::getauxval(libc::AT_PHDR) as *const ProgramHeader;
        let count = libc::getauxval(libc::AT_PHNUM) as usize;
        if table.is_null() {
            return None;
        }
        let headers = std::slice::from_raw_parts(table, count);
        let own = headers.iter().find(|h| h.p_type == PT_PHDR)?;
        let bias = (table as u64).wrapping_sub(own.p_vaddr);
        let dynamic = headers.iter().find(|h| h.p_type == PT_DYNAMIC)?;
        let mut entry = bias.wrapping_add(dynamic.p_vaddr) as *const Dyn;
        while (*entry).d_tag != 0 {
            if (*entry).d_tag == DT_DEBUG && (*entry).d_val != 0 {
                return Some((*((*entry).d_val as *const RDebug)).r_map);
            }
            entry = entry.add(1);
        }
    }
    None
}

impl Listed {
    /// The kernel's object: it has no file, and programs reach it through libc.
    fn is_vdso(&self) -> bool {
        self.name.starts_with(b"linux-vdso.so") || self.headers.is_empty()
    }
}

fn adopt(listed: &Listed, startup: bool) -> Result<Object> {
    // The executable has no name in the list.
    let path = if listed.name.is_empty() {
        std::env::current_exe().map(OsString::from).unwrap_or_default()
    } else {
        OsStr::from_bytes(&listed.name).into()
    };
    let name = path.to_string_lossy().into_owned();
    // The file's length is unknown and does not matter: nothing of it will be mapped.
    let image = Image::new(&listed.headers, FileOffset(0), u64::MAX).map_err(|kind| kind.of(&name, Stage::Host))?;
    Object::adopt(&name, path, Bias(listed.bias), image, HostPart { startup, link_map: listed.link_map })
}

/// Where in a `link_map` glibc keeps a field, in bytes. It exports tables of `{ width in bits, count, offset }` for
/// debuggers (`libthread_db`), so nothing needs to be guessed.
fn debugger_field(objects: &[Arc<Object>], table: &str) -> Option<usize> {
    let wanted = Wanted::new(table.as_bytes(), Want::Newest, Class::Address);
    objects.iter().find_map(|object| {
        let (_, symbol) = object.symbols().find(&wanted, &mut ())?;
        let [first, last] = [0, 8].map(|part| object.memory.word(Vaddr(symbol.value().0 + part)));
        let (bits, offset) = (first? as u32, last? as u32);
        (bits == 64).then_some(offset as usize)
    })
}

fn link_map_word(object: &Object, field: Option<usize>) -> Option<u64> {
    let at = object.host?.link_map + field?;
    // SAFETY: glibc says that a 64-bit word is there, and the `link_map` is one that it listed.
    Some(unsafe { (at as *const u64).read() })
}

/// Whether an object is part of the C library itself, which implements `dlopen` and its kin.
pub(crate) fn is_c_library(object: &Object) -> bool {
    object.is_host()
        && object
            .soname
            .as_deref()
            .is_some_and(|soname| matches!(soname, "libc.so.6" | "ld-linux-x86-64.so.2" | "libdl.so.2"))
}

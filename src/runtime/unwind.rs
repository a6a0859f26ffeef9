//! Unwinding: how an exception, a panic or `backtrace()` finds its way through loaded code.
//!
//! LSB "Exception Frames" (`.eh_frame`, `.eh_frame_hdr`); glibc `_dl_find_object`. The unwinder of libgcc asks,
//! for each return address, which object it lies in and where that object's unwind tables are. It asks glibc, and
//! glibc does not know our objects. There are two ways to tell it:
//!
//! - **[`interpose!`](crate::interpose)** in a program's main crate defines the functions that the unwinder asks,
//!   `_dl_find_object` and `dl_iterate_phdr`. They answer for our objects from a snapshot that is read without
//!   any lock, and pass everything else on to glibc's. The `dlscope` command does this.
//! - Without it, each object's table is registered with the unwinder (`__register_frame`) before its constructors
//!   run. That always works, and has a price: the first throw sorts every registered table (3 ms for libcrypto,
//!   35 ms for libLLVM), and a backtrace in a signal handler may deadlock on the unwinder's lock.

use std::ffi::{c_char, c_int, c_void};
use std::ptr;
use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicU64, AtomicUsize, Ordering, fence};

use goblin::elf64::program_header::PT_GNU_EH_FRAME;

use crate::elf::addr::{Addr, Vaddr};
use crate::elf::addr::{u16_at, u32_at};
use crate::event::{Kind, Report};
use crate::host;
use crate::lock::{Guarded, Lock, is_borrowing, without_fork};
use crate::namespace::{find_object_now, namespaces};
use crate::object::Object;
use crate::runtime::{present, tls};

unsafe extern "C" {
    // libgcc_s, which every Rust program has for its own panics.
    fn __register_frame(table: *const u8);
    fn __deregister_frame(table: *const u8);
}

// ── where an object's tables are ─────────────────────────────────────────────────────────────────────────

/// The address of `.eh_frame`, if the object has one that ends properly inside its segment: the unwinder walks a
/// registered table to its end and trusts it.
fn eh_frame(object: &Object) -> Option<Addr> {
    let header = object.image.segment(PT_GNU_EH_FRAME)?;
    let bytes = object.memory.copy(header.vaddr.span(8)?)?;
    // Version 1, and the usual encoding of the pointer: 32 bits, signed, relative to itself.
    if u16_at(&bytes, 0)? != 0x1b01 {
        return None;
    }
    let distance = u32_at(&bytes, 4)? as i32;
    let table = Vaddr(header.vaddr.0.checked_add(4)?.checked_add_signed(distance.into())?);
    let mut at = table;
    loop {
        match object.memory.word_of_32_bits(at)? {
            0 => return Some(object.bias() + table),
            // The 64-bit form, which nobody emits for x86_64.
            u32::MAX => return None,
            length => at = Vaddr(at.0.checked_add(4)?.checked_add(length.into())?),
        }
    }
}

/// An object's table with the unwinder; dropping this takes it back.
pub(crate) struct Registered(Addr);

impl Drop for Registered {
    fn drop(&mut self) {
        // SAFETY: registered by `register`, once.
        without_fork(|| unsafe { __deregister_frame(ptr::with_exposed_provenance(self.0.0 as usize)) });
    }
}

/// Registers an object with the unwinder, before its constructors and never in `prepare`. Not where the unwinder
/// asks by itself: there [`publish`] told it all.
pub(crate) fn register(object: &Object, report: Report<'_>) -> Option<Registered> {
    if is_interposed() {
        return None;
    }
    let table = eh_frame(object)?;
    // The unwinder's locks (since gcc 13) would stay locked in the child of a fork.
    // SAFETY: a table that was walked to its end; it stays mapped until `Registered` is dropped.
    without_fork(|| unsafe { __register_frame(ptr::with_exposed_provenance(table.0 as usize)) });
    report.tell(|| Kind::RegisterFrames { address: table });
    Some(Registered(table))
}

/// SFrame stack traces (`<elf.h>`); glibc tells of them since 2.42.
const PT_GNU_SFRAME: u32 = 0x6474_e554;
/// `dlfo_sframe` is valid (`<dlfcn.h>`).
const DLFO_FLAG_SFRAME: u64 = 1;

// ── answers without a lock ───────────────────────────────────────────────────────────────────────────────

pub use crate::host::real::{DlFindObject, Visit};

/// The program's `_dl_find_object` and `dl_iterate_phdr` are ours.
static INTERPOSED: AtomicBool = AtomicBool::new(false);

pub(crate) fn is_interposed() -> bool {
    INTERPOSED.load(Ordering::Relaxed)
}

/// One of our objects, for the unwinder.
#[derive(Default)]
struct Place {
    start: AtomicU64,
    end: AtomicU64,
    /// `PT_GNU_EH_FRAME`; 0 if the object has none.
    eh_frame_hdr: AtomicU64,
    /// `PT_GNU_SFRAME`; 0 if the object has none.
    sframe: AtomicU64,
    link_map: AtomicU64,
}

/// A sorted list of places. Two of them take turns: readers use one while a writer fills the other.
struct List {
    length: AtomicUsize,
    places: Box<[Place]>,
}

/// Which list is current (its lowest bit), and how often it changed.
static VERSION: AtomicU64 = AtomicU64::new(0);
static LISTS: [AtomicPtr<List>; 2] = [AtomicPtr::new(ptr::null_mut()), AtomicPtr::new(ptr::null_mut())];

/// Takes the objects `gone` out of what signal handlers and allocators see (`present`).
pub(crate) fn hide(gone: &[u32], lock: &Lock) {
    if is_interposed() {
        present::publish(gone, lock);
    }
}

/// Takes an object out of the current list, which is about to be unmapped: its place becomes empty, until the next list
/// is made.
pub(crate) fn withdraw(object: &Object, _: &Lock) {
    REMOVED.fetch_add(1, Ordering::Relaxed);
    let list = LISTS[VERSION.load(Ordering::Relaxed) as usize % 2].load(Ordering::Relaxed);
    // SAFETY: a list is never freed.
    let Some(list) = (unsafe { list.as_ref() }) else { return };
    let start = (object.bias() + object.memory.span().start).0;
    let places = &list.places[..list.length.load(Ordering::Relaxed).min(list.places.len())];
    if let Ok(at) = places.binary_search_by_key(&start, |place| place.start.load(Ordering::Relaxed)) {
        // A reader sees either the object or nothing.
        places[at].end.store(0, Ordering::Relaxed);
    }
}

/// Fills the list that is not in use with the objects as they are now, and makes it the current one.
pub(crate) fn publish(new: usize, lock: &Lock) {
    ADDED.fetch_add(new as u64, Ordering::Relaxed);
    if !is_interposed() {
        return;
    }
    present::publish(&[], lock);
    static SORTED: Guarded<Vec<[u64; 5]>> = Guarded::new(Vec::new());
    let mut sorted = SORTED.borrow(lock);
    sorted.clear();
    for namespace in namespaces(lock) {
        sorted.reserve_exact(namespace.members(lock).len());
        for member in namespace.members(lock).iter() {
            let object = &member.object;
            let table = |p_type| object.image.segment(p_type).map_or(0, |s| (object.bias() + s.vaddr).0);
            let [header, sframe] = [PT_GNU_EH_FRAME, PT_GNU_SFRAME].map(table);
            let extent = object.memory.extent();
            let (start, end) = (extent.start.0, extent.end.0);
            sorted.push([start, end, header, sframe, object.handle() as u64]);
        }
    }
    sorted.sort_unstable();
    let version = VERSION.load(Ordering::Relaxed);
    let slot = &LISTS[(version + 1) as usize % 2];
    let mut list = slot.load(Ordering::Relaxed);
    // SAFETY: a list is never freed.
    let room = unsafe { list.as_ref() }.map_or(0, |list| list.places.len());
    if room < sorted.len() || list.is_null() {
        // The smaller one is left to readers that may still look at it; sizes double, so that is little. It starts small:
        // most programs open a few libraries.
        let places = (0..sorted.len().next_power_of_two().max(8)).map(|_| Place::default()).collect();
        list = Box::into_raw(Box::new(List { length: AtomicUsize::new(0), places }));
        slot.store(list, Ordering::Release);
    }
    // SAFETY: as above; only the holder of the loader's lock writes, and all fields are atomic.
    let list = unsafe { &*list };
    // A reader of two versions ago may still look at this list. If it sees one of the stores below, then its second load
    // of VERSION, behind the acquire fence of `find`, sees the store of `version` too, and it looks again.
    fence(Ordering::Release);
    for (place, &[start, end, header, sframe, map]) in list.places.iter().zip(sorted.iter()) {
        place.start.store(start, Ordering::Relaxed);
        place.end.store(end, Ordering::Relaxed);
        place.eh_frame_hdr.store(header, Ordering::Relaxed);
        place.sframe.store(sframe, Ordering::Relaxed);
        place.link_map.store(map, Ordering::Relaxed);
    }
    list.length.store(sorted.len(), Ordering::Relaxed);
    VERSION.store(version + 1, Ordering::Release);
}

/// The object of ours that `pc` lies in: `[start, end, eh_frame_hdr, sframe, link_map]`. Takes no lock and allocates
/// nothing: called from signal handlers.
fn find(pc: u64) -> Option<[u64; 5]> {
    loop {
        let version = VERSION.load(Ordering::Acquire);
        let list = LISTS[version as usize % 2].load(Ordering::Acquire);
        let found = if list.is_null() {
            None
        } else {
            // SAFETY: a list is never freed.
            let list = unsafe { &*list };
            let places = &list.places[..list.length.load(Ordering::Relaxed).min(list.places.len())];
            let after = places.partition_point(|p| p.start.load(Ordering::Relaxed) <= pc);
            let fields = |p: &Place| {
                [&p.start, &p.end, &p.eh_frame_hdr, &p.sframe, &p.link_map].map(|v| v.load(Ordering::Relaxed))
            };
            places[..after].last().map(fields)
        };
        // Written to meanwhile? Then what was read may be half of one and half of the other.
        fence(Ordering::Acquire);
        if VERSION.load(Ordering::Relaxed) == version {
            return found.filter(|place| pc < place[1]);
        }
    }
}

/// Whether an address belongs to an object of ours.
pub(crate) fn knows(address: u64) -> bool {
    find(address).is_some()
}

/// `_dl_find_object` of an interposed program. An object without unwind tables is found, too, as in glibc.
///
/// # Safety
/// As glibc's: `result` has room for the answer.
#[doc(hidden)]
pub unsafe extern "C" fn find_object(pc: *mut c_void, result: *mut DlFindObject) -> c_int {
    if let Some([start, end, header, sframe, map]) = find(pc as u64) {
        // SAFETY: the caller keeps what this function's `# Safety` section asks for.
        unsafe {
            (*result).dlfo_flags = if sframe == 0 { 0 } else { DLFO_FLAG_SFRAME };
            (*result).dlfo_map_start = start;
            (*result).dlfo_map_end = end;
            (*result).dlfo_link_map = map;
            (*result).dlfo_eh_frame = header;
            (*result).dlfo_sframe = sframe;
        }
        return 0;
    }
    // SAFETY: the caller keeps what this function's `# Safety` section asks for.
    unsafe { host::real::find_object(pc, result) }
}

/// `dl_iterate_phdr` of an interposed program: glibc's objects, then ours.
///
/// # Safety
/// As glibc's.
#[doc(hidden)]
pub unsafe extern "C" fn iterate_phdr(visit: Option<Visit>, data: *mut c_void) -> c_int {
    let Some(visit) = visit else { return 0 };
    if ptr::fn_addr_eq(visit, host::LOADERS) {
        // SAFETY: as the loader called this one.
        return unsafe { host::real::iterate()(Some(visit), data) };
    }
    let (adds, subs) = (ADDED.load(Ordering::Relaxed), REMOVED.load(Ordering::Relaxed));
    // Copies first, a few at a time: no lock is held while the callback runs. It may ask for symbols or open libraries, and
    // glibc's own lock, held meanwhile, would then wait for a thread that waits for it. And nothing is allocated, because a
    // signal handler may have interrupted an allocator.
    let mut start = AtStart::new();
    loop {
        start.skip = start.seen;
        // SAFETY: glibc's function, with a callback of its type and the argument of that.
        without_fork(|| unsafe { host::real::iterate()(Some(copy), (&raw mut start).cast()) });
        for index in 0..start.seen - std::mem::replace(&mut start.shown, start.seen) {
            let info = &mut start.infos[index];
            info.dlpi_adds += adds;
            info.dlpi_subs += subs;
            // SAFETY: the caller's callback, with what glibc showed, of an object that is never unloaded.
            let stopped = unsafe { visit(info, start.size, data) };
            if stopped != 0 {
                return stopped;
            }
        }
        if !start.more {
            break;
        }
    }
    // What glibc opened later it may close at any moment: shown while it holds its lock.
    if start.later {
        let mut rest = PassedOn { visit, data, adds, subs, skip: start.seen };
        // SAFETY: as above.
        let stopped = unsafe { host::real::iterate()(Some(pass_on), (&raw mut rest).cast()) };
        if stopped != 0 {
            return stopped;
        }
    }
    let show = |object: &Object, tls: Option<&tls::Module>| {
        let headers = object.program_headers();
        // SAFETY: an all-zero `dl_phdr_info` is valid.
        let mut info: nix::libc::dl_phdr_info = unsafe { std::mem::zeroed() };
        info.dlpi_addr = object.bias().0;
        // SAFETY: the handle lives as long as the object.
        info.dlpi_name = unsafe { (*object.handle()).l_name };
        info.dlpi_phdr = headers.as_ptr().cast();
        info.dlpi_phnum = headers.len() as u16;
        info.dlpi_adds = start.of_glibc.0 + adds;
        info.dlpi_subs = start.of_glibc.1 + subs;
        if let Some(module) = tls {
            info.dlpi_tls_modid = module.id as usize;
            info.dlpi_tls_data = module.existing().cast();
        }
        // SAFETY: the caller's callback, with what glibc would pass.
        let stopped = unsafe { visit(&mut info, size_of::<nix::libc::dl_phdr_info>(), data) };
        (stopped != 0).then_some(stopped)
    };
    let stopped = match present::now() {
        Some(now) => now.iter().find_map(|each| show(&each.object, each.tls.as_deref())),
        None if is_borrowing() => None,
        None => find_object_now(|object| show(object, object.tls_module.and_then(tls::Module::find).as_deref())),
    };
    stopped.unwrap_or(0)
}

/// What glibc shows of the objects that were there at start-up, a part of them at a time.
struct AtStart {
    /// The part: small enough for any stack.
    infos: [nix::libc::dl_phdr_info; 16],
    size: usize,
    /// How many to pass over: they were copied before.
    skip: usize,
    /// How many were copied so far, and how many of them the caller has seen.
    seen: usize,
    shown: usize,
    /// The name of the last of them, until it was seen.
    last: Option<*const c_char>,
    /// There are others behind the part.
    more: bool,
    /// There are some that glibc opened after start-up.
    later: bool,
    /// `dlpi_adds` and `dlpi_subs` of glibc's own.
    of_glibc: (u64, u64),
}

impl AtStart {
    fn new() -> AtStart {
        // SAFETY: an all-zero `dl_phdr_info` is valid.
        let infos = unsafe { std::mem::zeroed() };
        let last = host::last_name_at_start();
        AtStart { infos, size: 0, skip: 0, seen: 0, shown: 0, last, more: false, later: false, of_glibc: (0, 0) }
    }
}

unsafe extern "C" fn copy(info: *mut nix::libc::dl_phdr_info, size: usize, start: *mut c_void) -> c_int {
    // SAFETY: `iterate_phdr` passes its `AtStart`, glibc a valid `info`.
    let (info, start) = unsafe { (*info, &mut *start.cast::<AtStart>()) };
    start.of_glibc = (info.dlpi_adds, info.dlpi_subs);
    start.more = false;
    if start.skip > 0 {
        start.skip -= 1;
        return 0;
    }
    let Some(last) = start.last else {
        start.later = true;
        return 1;
    };
    let Some(place) = start.infos.get_mut(start.seen - start.shown) else {
        start.more = true;
        return 1;
    };
    *place = info;
    start.size = size;
    start.seen += 1;
    if info.dlpi_name == last {
        start.last = None;
    }
    0
}

/// The caller's callback, on its way through glibc's function.
struct PassedOn {
    visit: Visit,
    data: *mut c_void,
    adds: u64,
    subs: u64,
    /// How many the callback has seen already.
    skip: usize,
}

/// Objects that were loaded and unloaded by us: unwinders keep what they found until `dlpi_adds` or `dlpi_subs` moves.
static ADDED: AtomicU64 = AtomicU64::new(0);
static REMOVED: AtomicU64 = AtomicU64::new(0);

/// glibc's answer with our objects counted.
unsafe extern "C" fn pass_on(info: *mut nix::libc::dl_phdr_info, size: usize, host: *mut c_void) -> c_int {
    // SAFETY: `iterate_phdr` passes its `PassedOn`, glibc a valid `info`.
    unsafe {
        let host = &mut *host.cast::<PassedOn>();
        if host.skip > 0 {
            host.skip -= 1;
            return 0;
        }
        let mut info = *info;
        info.dlpi_adds += host.adds;
        info.dlpi_subs += host.subs;
        (host.visit)(&mut info, size, host.data)
    }
}

/// Called before `main` in an interposed program.
#[doc(hidden)]
pub extern "C" fn interposed() {
    INTERPOSED.store(true, Ordering::Relaxed);
}

/// Lets exceptions, panics and `backtrace()` find their way through loaded libraries at full speed, and without
/// any lock. To be put once into a program's main crate (`main.rs`), at module level:
///
/// ```no_run
/// dlscope::interpose!();
/// fn main() {}
/// ```
///
/// It defines `_dl_find_object` and `dl_iterate_phdr` in the program. The unwinder of libgcc, which asks these two
/// functions where unwind tables are, then reaches dlscope's, which know dlscope's objects and ask glibc for all
/// others. Without the macro everything works, too, but each library's table is registered with the unwinder:
/// the first exception then sorts all of them, and a backtrace from a signal handler may deadlock.
#[macro_export]
macro_rules! interpose {
    () => {
        const _: () = {
            #[unsafe(no_mangle)]
            unsafe extern "C" fn _dl_find_object(
                pc: *mut ::core::ffi::c_void,
                result: *mut $crate::unwind::DlFindObject,
            ) -> ::core::ffi::c_int {
                // SAFETY: the caller keeps what this function's `# Safety` section asks for.
                unsafe { $crate::unwind::find_object(pc, result) }
            }

            #[unsafe(no_mangle)]
            unsafe extern "C" fn dl_iterate_phdr(
                visit: ::core::option::Option<$crate::unwind::Visit>,
                data: *mut ::core::ffi::c_void,
            ) -> ::core::ffi::c_int {
                // SAFETY: the caller keeps what this function's `# Safety` section asks for.
                unsafe { $crate::unwind::iterate_phdr(visit, data) }
            }

            #[used]
            #[unsafe(link_section = ".init_array")]
            static AT_START: extern "C" fn() = $crate::unwind::interposed;
        };
    };
}

//! What only start-up code can know: the arguments, the environment as it was, and how far the list of objects went.

use std::cell::UnsafeCell;
use std::ffi::{CStr, c_char, c_int};
use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicU64, AtomicUsize, Ordering};

use goblin::elf64::dynamic::{DT_DEBUG, Dyn};
use goblin::elf64::program_header::{PT_DYNAMIC, PT_PHDR, ProgramHeader};
use nix::libc;

use crate::elf::addr::PAGE;
use crate::lock;
use crate::memory::Arguments;
use crate::object::LinkMap;
use crate::text::escape;

/// `struct r_debug` of `<link.h>`, as far as it is used.
#[repr(C)]
struct RDebug {
    r_version: c_int,
    r_map: *mut LinkMap,
    r_brk: usize,
    r_state: c_int,
    r_ldbase: u64,
}

unsafe extern "C" {
    /// Exported by ld.so for debuggers.
    static _r_debug: RDebug;
    static environ: *const *const c_char;
    /// Exported by ld.so. Null where it has made the first stack executable.
    static __libc_stack_end: *const usize;
}

/// Whether all of this was noted, and whether somebody began to.
static NOTED: AtomicBool = AtomicBool::new(false);
static NOTING: AtomicBool = AtomicBool::new(false);
static ARGC: AtomicUsize = AtomicUsize::new(0);
static ARGV: AtomicPtr<*const c_char> = AtomicPtr::new(std::ptr::null_mut());
/// `LD_LIBRARY_PATH`, copied: programs overwrite their environment's strings to change what `ps` shows of them. Nothing
/// can be allocated before `main`; execve(2) takes no string of more than 32 pages.
static LD_LIBRARY_PATH: Copied<{ 32 * PAGE as usize }> = Copied::new();
/// The entries of the auxiliary vector, by their types; those with a larger type are not needed.
static AUXILIARY: [AtomicU64; 32] = [const { AtomicU64::new(0) }; 32];
/// `LD_BIND_NOW` is set, and not empty.
static LD_BIND_NOW: AtomicBool = AtomicBool::new(false);
/// The last object of the list when our start-up code ran: it and those before form the global scope.
static LAST_AT_START: AtomicPtr<LinkMap> = AtomicPtr::new(std::ptr::null_mut());

/// A string that is written once, at start-up. Pages of it that are not used take no memory.
struct Copied<const ROOM: usize> {
    bytes: UnsafeCell<[u8; ROOM]>,
    /// How long it is, and one more: 0 until it is written.
    length: AtomicUsize,
}

// SAFETY: `bytes` is written before `length` says that it is there, and never again.
unsafe impl<const ROOM: usize> Sync for Copied<ROOM> {}

impl<const ROOM: usize> Copied<ROOM> {
    const fn new() -> Copied<ROOM> {
        Copied { bytes: UnsafeCell::new([0; ROOM]), length: AtomicUsize::new(0) }
    }

    /// `note` only, which one thread runs once.
    fn set(&self, value: &[u8]) {
        let length = value.len().min(ROOM);
        // SAFETY: nobody looks at it yet, see `get`; there is room for so many bytes.
        unsafe { self.bytes.get().cast::<u8>().copy_from_nonoverlapping(value.as_ptr(), length) };
        self.length.store(length + 1, Ordering::Release);
    }

    fn get(&self) -> Option<&[u8]> {
        let length = self.length.load(Ordering::Acquire).checked_sub(1)?;
        // SAFETY: `set` has written so many bytes, and nobody writes again.
        Some(unsafe { std::slice::from_raw_parts(self.bytes.get().cast(), length) })
    }
}

/// Runs before `main`, when every start-up object is mapped and no other thread exists.
#[used]
#[unsafe(link_section = ".init_array")]
static AT_START: extern "C" fn(c_int, *mut *const c_char, *const *const c_char) = at_start;

extern "C" fn at_start(argc: c_int, argv: *mut *const c_char, envp: *const *const c_char) {
    lock::watch_forks();
    // SAFETY: glibc hands these to constructors: `argc` arguments, and an array of C strings that ends in null.
    unsafe { note(argc as usize, argv, envp) };
}

/// The same for whoever comes earlier, which a constructor may that runs before ours.
fn ensure_noted() {
    if NOTED.load(Ordering::Acquire) {
        return;
    }
    // SAFETY: ld.so's, written before any constructor runs: null, or where the kernel put `argc`, the arguments and a null,
    // and the environment (psABI, "Process Initialization").
    unsafe {
        let stack = __libc_stack_end;
        if let Some(&argc) = stack.as_ref() {
            let argv = stack.add(1).cast_mut().cast::<*const c_char>();
            note(argc, argv, argv.add(argc + 1));
        }
    }
}

/// Keeps the argument of `ld.so --library-path PATH PROGRAM`, which takes the place of `LD_LIBRARY_PATH`. ld.so has taken its
/// own arguments out of `argv`, but the kernel still shows them. Nothing can be allocated.
fn note_option_of_loader() {
    static ARGUMENTS: Copied<{ 32 * PAGE as usize }> = Copied::new();
    let room = std::ptr::slice_from_raw_parts_mut(ARGUMENTS.bytes.get().cast::<u8>(), 32 * PAGE as usize);
    // SAFETY: only one thread gets here, once; the system calls write into the room that they are told of.
    let arguments = unsafe {
        let fd = libc::open(c"/proc/self/cmdline".as_ptr(), libc::O_RDONLY | libc::O_CLOEXEC);
        let got = libc::read(fd, room.cast(), room.len());
        libc::close(fd);
        std::slice::from_raw_parts(room.cast::<u8>(), usize::try_from(got).unwrap_or(0))
    };
    let mut words = arguments.split(|&byte| byte == 0).skip(1);
    // The first word that is no option is the program.
    while let Some(option) = words.next().filter(|word| word.starts_with(b"-")) {
        let with_value: [&[u8]; 7] = [
            b"--library-path",
            b"--inhibit-rpath",
            b"--audit",
            b"--preload",
            b"--argv0",
            b"--glibc-hwcaps-prepend",
            b"--glibc-hwcaps-mask",
        ];
        let value = if with_value.contains(&option) { words.next() } else { None };
        if let (b"--library-path", Some(value)) = (option, value) {
            LD_LIBRARY_PATH.set(value);
        }
    }
}

/// Keeps what is as it was at the start.
///
/// # Safety
/// `argv` has `argc` arguments, and `envp` is null or an array of C strings that ends in null.
unsafe fn note(argc: usize, argv: *mut *const c_char, envp: *const *const c_char) {
    // One thread does it. Another one that came meanwhile would have to be made by a constructor that runs before ours.
    if NOTING.swap(true, Ordering::SeqCst) {
        return;
    }
    ARGC.store(argc, Ordering::Relaxed);
    ARGV.store(argv, Ordering::Relaxed);
    // SAFETY: the caller keeps what this function's `# Safety` section asks for.
    unsafe {
        let mut at = envp;
        while !at.is_null() && !(*at).is_null() {
            let variable = CStr::from_ptr(*at).to_bytes();
            // The first of a name counts.
            if let Some(value) = variable.strip_prefix(b"LD_LIBRARY_PATH=")
                && LD_LIBRARY_PATH.get().is_none()
            {
                LD_LIBRARY_PATH.set(value);
            }
            if variable.strip_prefix(b"LD_BIND_NOW=").is_some_and(|value| !value.is_empty()) {
                LD_BIND_NOW.store(true, Ordering::Relaxed);
            }
            at = at.add(1);
        }
    }
    // SAFETY: the kernel put the environment behind the arguments, and the auxiliary vector behind the null at its end (psABI,
    // "Process Initialization"). ld.so moves them together if it takes arguments away.
    unsafe {
        let mut at = argv.add(argc + 1);
        while !(*at).is_null() {
            at = at.add(1);
        }
        let mut pair = at.add(1).cast::<[u64; 2]>();
        while let [kind, value] = *pair
            && kind != 0
        {
            if let Some(known) = AUXILIARY.get(kind as usize) {
                known.store(value, Ordering::Relaxed);
            }
            pair = pair.add(1);
        }
    }
    if is_run_by_loader() {
        note_option_of_loader();
    }
    // SAFETY: nothing but start-up objects is there yet, and nobody changes the list.
    let last = unsafe { list_head() };
    let mut last = last.unwrap_or(std::ptr::null_mut());
    // SAFETY: as above; every `l_next` is null or the next element.
    while !last.is_null() && unsafe { !(*last).l_next.is_null() } {
        // SAFETY: as above.
        last = unsafe { (*last).l_next };
    }
    LAST_AT_START.store(last, Ordering::Relaxed);
    NOTED.store(true, Ordering::Release);
}

/// What the kernel says of the process under `AT_…`; 0 where it says nothing. The same as getauxval(3), which may be a
/// function of the program: its name is not one of those that POSIX reserves.
pub(super) fn auxiliary(kind: libc::c_ulong) -> u64 {
    ensure_noted();
    AUXILIARY.get(kind as usize).map_or(0, |value| value.load(Ordering::Relaxed))
}

/// The load bias of ld.so.
pub(super) fn loader_base() -> u64 {
    // SAFETY: ld.so fills this in before any constructor runs, and does not change it.
    unsafe { (&raw const _r_debug.r_ldbase).read() }
}

/// Whether ld.so was the command: `ld.so PROGRAM`. Then the kernel mapped no interpreter.
pub(super) fn is_run_by_loader() -> bool {
    auxiliary(libc::AT_BASE) == 0
}

/// The last start-up object; null if that is not known.
pub(super) fn last_at_start() -> *mut LinkMap {
    ensure_noted();
    LAST_AT_START.load(Ordering::Relaxed)
}

/// The name, in glibc's own memory, of the last object that was there at start-up: how a callback of `dl_iterate_phdr`
/// recognises it.
pub(crate) fn last_name_at_start() -> Option<*const c_char> {
    let last = last_at_start();
    // SAFETY: a start-up object's, which stays for good.
    (!last.is_null()).then(|| unsafe { (*last).l_name })
}

/// What constructors are called with: argc and argv as captured at start-up, `environ` as it is now.
pub(crate) fn arguments() -> Arguments {
    ensure_noted();
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
    ensure_noted();
    if auxiliary(libc::AT_SECURE) != 0 {
        return None;
    }
    // Empty is as good as none, as to glibc; an empty *element* would be the current directory.
    let list = LD_LIBRARY_PATH.get().filter(|list| !list.is_empty())?;
    Some(escape(list).into_owned())
}

/// `LD_BIND_NOW` as it was when the program started: nothing is bound lazily.
pub(crate) fn ld_bind_now() -> bool {
    ensure_noted();
    LD_BIND_NOW.load(Ordering::Relaxed)
}

/// The first `link_map`: the executable's.
///
/// # Safety
/// Nobody changes the list meanwhile.
pub(super) unsafe fn list_head() -> Option<*mut LinkMap> {
    // SAFETY: ld.so fills this in before any constructor runs.
    let map = unsafe { (&raw const _r_debug.r_map).read() };
    if !map.is_null() {
        return Some(map);
    }
    // Some debuggers' tricks leave `_r_debug` empty; the executable's own DT_DEBUG points to it as well.
    // SAFETY: the kernel's AT_PHDR and AT_PHNUM describe the executable's program headers, which are mapped.
    unsafe {
        let table = auxiliary(libc::AT_PHDR) as *const ProgramHeader;
        let count = auxiliary(libc::AT_PHNUM) as usize;
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

//! What the system's loader says about the library: `dlopen` in a child process, in which no code of the library runs.
//!
//! glibc calls `_dl_debug_state` when all new objects are mapped and none is relocated (`r_debug.r_state` is
//! `RT_CONSISTENT`; that is how debuggers learn of them). The child has a breakpoint there and takes the constructors
//! out of the dynamic sections of the new objects, so that `dlopen` ends where the library's code would begin. Only
//! resolvers of IFUNCs, which relocation calls, cannot be left out.

use std::ffi::{CStr, CString, OsStr, OsString, c_char, c_int, c_long, c_void};
use std::fs;
use std::io;
use std::mem;
use std::path::{Path, PathBuf};
use std::ptr;
use std::sync::atomic::{AtomicUsize, Ordering};

use nix::libc;
use serde::{Deserialize, Serialize};

use crate::bytes::shown_bytes;
use crate::child::{self, End};
use crate::compare::process::OwnMemory;

/// What the system's `dlopen` said.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct SystemSays {
    pub loads: bool,
    /// `dlerror`'s message, or how the process died.
    pub message: Option<String>,
}

/// Load one library by the system's dlopen without its constructors, and write what it says to a file
#[derive(clap::Args)]
pub struct ChildArgs {
    out: PathBuf,
    library: OsString,
}

/// Asks the system's loader in a child process, with `dirs` in front of `LD_LIBRARY_PATH`.
///
/// # Errors
/// Where no answer could be had.
pub fn ask(library: &OsStr, dirs: &[PathBuf]) -> io::Result<SystemSays> {
    let folder = tempfile::Builder::new().prefix("dlscope-").tempdir()?;
    let out = folder.path().join("system");
    let (end, _) = child::run::<SystemSays>(&out, |command| {
        command.arg("why-child").arg(&out).arg("--").arg(library);
        if !dirs.is_empty() {
            let old = std::env::var_os("LD_LIBRARY_PATH").filter(|old| !old.is_empty());
            let all: Vec<OsString> = dirs.iter().map(OsString::from).chain(old).collect();
            command.env("LD_LIBRARY_PATH", all.join(OsStr::new(":")));
        }
    })?;
    match end {
        End::Told(says) => Ok(says),
        // A status and no signal: the child's own failure, unless ld.so ended it.
        End::Died(how) if how.contains("why-child:") => Err(io::Error::other(how)),
        End::Died(how) => Ok(SystemSays { loads: false, message: Some(how) }),
        End::TimedOut => Err(io::Error::other("it did not finish")),
    }
}

/// Runs the subcommand.
pub fn run_child(args: &ChildArgs) -> ! {
    let told = attempt(&args.library).and_then(|says| fs::write(&args.out, serde_json::to_vec(&says)?));
    if let Err(error) = &told {
        eprintln!("why-child: {error}");
    }
    // SAFETY: nothing is left to be done, and no destructor of the library runs.
    unsafe { libc::_exit(told.is_err().into()) }
}

fn attempt(library: &OsString) -> io::Result<SystemSays> {
    use std::os::unix::ffi::OsStrExt;
    let name = CString::new(library.as_bytes())?;
    leave_constructors_out()?;
    // SAFETY: no constructor runs, see `leave_constructors_out`; resolvers of IFUNCs may, in this process made for it.
    let handle = unsafe { libc::dlopen(name.as_ptr(), libc::RTLD_NOW) };
    if !handle.is_null() {
        return Ok(SystemSays { loads: true, message: None });
    }
    // SAFETY: `dlerror` gives a C string or NULL.
    let message = unsafe { libc::dlerror().as_ref().map(|text| CStr::from_ptr(text)) };
    Ok(SystemSays { loads: false, message: message.map(|text| shown_bytes(text.to_bytes())) })
}

/// `struct link_map`, as far as <link.h> shows it.
#[repr(C)]
struct LinkMap {
    l_addr: u64,
    l_name: *const c_char,
    l_ld: *const [u64; 2],
    l_next: *const LinkMap,
}

/// `struct r_debug` of <link.h>.
#[repr(C)]
struct Debug {
    r_version: c_int,
    r_map: *const LinkMap,
    r_brk: u64,
    r_state: c_int,
}

/// The address of ld.so's `_r_debug`, and how many objects it listed when the child began.
static DEBUG: AtomicUsize = AtomicUsize::new(0);
static OLD_OBJECTS: AtomicUsize = AtomicUsize::new(0);

/// Lays the breakpoint.
fn leave_constructors_out() -> io::Result<()> {
    // SAFETY: the name is a C string.
    let debug = unsafe { libc::dlsym(libc::RTLD_DEFAULT, c"_r_debug".as_ptr()) };
    if debug.is_null() {
        return Err(io::Error::other("this C library has no _r_debug"));
    }
    DEBUG.store(debug as usize, Ordering::Relaxed);
    OLD_OBJECTS.store(objects().count(), Ordering::Relaxed);
    // SAFETY: all fields of `sigaction` may be zero; `at_breakpoint` is a handler for SA_SIGINFO.
    unsafe {
        let mut action: libc::sigaction = mem::zeroed();
        action.sa_sigaction = at_breakpoint as *const () as usize;
        action.sa_flags = libc::SA_SIGINFO;
        if libc::sigaction(libc::SIGTRAP, &action, ptr::null_mut()) != 0 {
            return Err(io::Error::last_os_error());
        }
    }
    let memory = OwnMemory::open()?;
    // SAFETY: `_r_debug` is a `struct r_debug`, which the process keeps to its end.
    let place = unsafe { (*(debug as *const Debug)).r_brk };
    let patched = memory.read_word(place).and_then(|word| memory.write_word(place, (word & !0xff) | 0xcc)); // int3
    patched.ok_or_else(|| io::Error::other("no breakpoint can be laid in ld.so"))
}

/// The objects in the order in which they were loaded: new ones come last.
fn objects() -> impl Iterator<Item = &'static LinkMap> {
    let debug = DEBUG.load(Ordering::Relaxed) as *const Debug;
    // SAFETY: `leave_constructors_out` stored the address of `_r_debug`; its list is whole whenever this is called.
    let first = unsafe { debug.as_ref().and_then(|debug| debug.r_map.as_ref()) };
    // SAFETY: as above.
    std::iter::successors(first, |map| unsafe { map.l_next.as_ref() })
}

extern "C" fn nothing() {}

/// Runs inside of `dlopen`, on the thread that called it.
unsafe extern "C" fn at_breakpoint(_: c_int, _: *mut libc::siginfo_t, context: *mut c_void) {
    let debug = DEBUG.load(Ordering::Relaxed) as *const Debug;
    // SAFETY: set before the breakpoint was laid.
    let is_consistent = unsafe { (*debug).r_state == 0 };
    if is_consistent && let Ok(memory) = OwnMemory::open() {
        for object in objects().skip(OLD_OBJECTS.load(Ordering::Relaxed)) {
            // A dynamic section may be read-only, so write through the kernel. That cannot fail for private mappings.
            without_constructors(object, &memory);
        }
    }
    // SAFETY: the kernel gives the context of the code that ran into the breakpoint. `_dl_debug_state` is empty, and its
    // first instruction was replaced, so the return address is on top of the stack.
    unsafe {
        let registers = &mut (*context.cast::<libc::ucontext_t>()).uc_mcontext.gregs;
        let top = registers[libc::REG_RSP as usize];
        registers[libc::REG_RIP as usize] = *(top as *const c_long);
        registers[libc::REG_RSP as usize] = top + 8;
    }
}

fn without_constructors(object: &LinkMap, memory: &OwnMemory) {
    const DT_NULL: u64 = 0;
    const DT_INIT: u64 = 12;
    const DT_INIT_ARRAYSZ: u64 = 27;
    let mut at = object.l_ld as u64;
    while at != 0
        && let Some(tag) = memory.read_word(at).filter(|tag| *tag != DT_NULL)
    {
        let value = match tag {
            DT_INIT_ARRAYSZ => Some(0),
            // glibc calls `l_addr` + this.
            DT_INIT => Some((nothing as *const () as u64).wrapping_sub(object.l_addr)),
            _ => None,
        };
        value.and_then(|value| memory.write_word(at + 8, value));
        at += 16;
    }
}

/// Whether the path is that of a file below a folder in which a program may not map code.
pub fn noexec_mount(path: &Path) -> Option<PathBuf> {
    let is_noexec = |path: &Path| {
        nix::sys::statvfs::statvfs(path).is_ok_and(|s| s.flags().contains(nix::sys::statvfs::FsFlags::ST_NOEXEC))
    };
    let path = path.canonicalize().ok().filter(|path| is_noexec(path))?;
    let device = |path: &Path| fs::metadata(path).map(|m| std::os::unix::fs::MetadataExt::dev(&m)).ok();
    let of_file = device(&path);
    path.ancestors().take_while(|folder| device(folder) == of_file).last().map(Path::to_path_buf)
}

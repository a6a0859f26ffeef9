//! What foreign code may do to the process that runs it: crash, end it, or never come back.
//!
//! A constructor that crashes takes the record of the load with it, when that is what the user wants to see. So while
//! foreign code may run, these ends lead to a function that tells the story as far as it goes. It runs in the signal
//! handler, or on the way through exit(3), and the process ends behind it: nothing that was interrupted goes on. A crash in
//! the middle of `malloc` may make it wait for ever; an alarm ends that. Code that calls _exit(2) ends the process at once.

use std::ffi::{CStr, c_int, c_void};
use std::fmt;
use std::fs;
use std::io::{self, Write as _};
use std::path::Path;
use std::ptr::null_mut;
use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicU32, Ordering};

use dlscope::capi::dladdr1;
use memmap2::MmapMut;
use nix::libc;
use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, sigaction};
use nix::unistd::alarm;

use crate::bytes::shown;
use crate::page::short;

/// How foreign code ended the process.
pub enum Ended {
    /// By a signal; with the address that it touched, where a signal has one.
    Crashed { signal: Signal, at: Place, touched: Option<u64> },
    /// By exit(3).
    Exited { status: c_int },
    /// It was still running after so many seconds.
    StillRuns { seconds: u32, at: Place },
}

/// A place in code.
pub struct Place {
    address: u64,
    /// The path of the library and the offset in it.
    library: Option<(String, u64)>,
    symbol: Option<String>,
    /// `crash.c:10`.
    line: Option<String>,
}

/// What happens behind such an end.
type Then<'t> = &'t mut dyn FnMut(Ended);

/// What the code that runs now leads to: a [`Then`] on the stack of [`watch`].
static THEN: AtomicPtr<Then<'static>> = AtomicPtr::new(null_mut());
/// After how many seconds [`Ended::StillRuns`] counts.
static SECONDS: AtomicU32 = AtomicU32::new(0);

/// The signals of code that crashes.
const CRASHES: [Signal; 5] = [Signal::SIGSEGV, Signal::SIGBUS, Signal::SIGILL, Signal::SIGFPE, Signal::SIGABRT];

/// Runs `act`, in which foreign code runs. If that ends the process, or still runs after the `limit`, `then` is called, and
/// the process ends with status 1.
pub fn watch<R>(limit: Option<u32>, mut then: Then<'_>, act: impl FnOnce() -> R) -> io::Result<R> {
    prepare()?;
    SECONDS.store(limit.unwrap_or(0), Ordering::Relaxed);
    let action = SigAction::new(
        SigHandler::SigAction(on_signal),
        SaFlags::SA_ONSTACK | SaFlags::SA_SIGINFO | SaFlags::SA_NODEFER,
        SigSet::empty(),
    );
    let signals = CRASHES.into_iter().chain(limit.map(|_| Signal::SIGALRM));
    // SAFETY: `on_signal` never returns to the code that it interrupted. What it does without being allowed to is said above.
    let before = signals.map(|signal| Ok((signal, unsafe { sigaction(signal, &action) }?)));
    let before: Vec<(Signal, SigAction)> = before.collect::<io::Result<_>>()?;
    THEN.store((&raw mut then).cast(), Ordering::SeqCst);
    limit.map(alarm::set);
    let result = act();
    limit.map(|_| alarm::cancel());
    THEN.store(null_mut(), Ordering::SeqCst);
    for (signal, action) in before {
        // SAFETY: the handler was there before.
        unsafe { sigaction(signal, &action) }?;
    }
    Ok(result)
}

/// Gives this thread a stack for the handler that has room for telling a story, and the process its exit handler.
fn prepare() -> io::Result<()> {
    static DONE: AtomicBool = AtomicBool::new(false);
    if DONE.swap(true, Ordering::Relaxed) {
        return Ok(());
    }
    unsafe extern "C" {
        // on_exit(3), of glibc.
        fn on_exit(act: extern "C" fn(c_int, *mut c_void), argument: *mut c_void) -> c_int;
    }
    let stack = Box::leak(Box::new(MmapMut::map_anon(16 << 20)?));
    let stack = libc::stack_t { ss_sp: stack.as_mut_ptr().cast(), ss_flags: 0, ss_size: stack.len() };
    // SAFETY: the pages stay for good and serve nothing else; the function has the type that on_exit(3) wants.
    unsafe {
        libc::sigaltstack(&stack, null_mut());
        on_exit(on_exit_of_process, null_mut());
    }
    Ok(())
}

extern "C" fn on_signal(signal: c_int, info: *mut libc::siginfo_t, context: *mut c_void) {
    let Ok(signal) = Signal::try_from(signal) else { return };
    // SAFETY: the kernel's, for a handler with SA_SIGINFO.
    let (address, touched) = unsafe {
        let context = &*context.cast::<libc::ucontext_t>();
        (context.uc_mcontext.gregs[libc::REG_RIP as usize] as u64, (*info).si_addr() as u64)
    };
    let has_address = matches!(signal, Signal::SIGSEGV | Signal::SIGBUS);
    finish(|| match signal {
        Signal::SIGALRM => Ended::StillRuns { seconds: SECONDS.load(Ordering::Relaxed), at: Place::of(address) },
        _ => Ended::Crashed { signal, at: Place::of(address), touched: has_address.then_some(touched) },
    });
    // The story itself crashed, or a library's thread that nobody watches.
    back_to_default(signal);
    let _ = nix::sys::signal::raise(signal);
}

fn back_to_default(signal: Signal) {
    let default = SigAction::new(SigHandler::SigDfl, SaFlags::empty(), SigSet::empty());
    // SAFETY: the default action.
    let _ = unsafe { sigaction(signal, &default) };
}

extern "C" fn on_exit_of_process(status: c_int, _: *mut c_void) {
    finish(|| Ended::Exited { status });
}

/// Tells the story and ends the process, if foreign code is running.
fn finish(ended: impl FnOnce() -> Ended) {
    let then = THEN.swap(null_mut(), Ordering::SeqCst);
    if then.is_null() {
        return;
    }
    back_to_default(Signal::SIGALRM);
    alarm::set(60);
    // SAFETY: `watch` is still on the stack, which does not go on, and `then` is a variable of it.
    unsafe { (*then)(ended()) };
    let _ = io::stdout().flush();
    // SAFETY: no exit handlers: those of the library may be what ended.
    unsafe { libc::_exit(1) };
}

/// What follows waits for the user, who may take any time: no alarm ends it.
pub fn may_take_long() {
    alarm::cancel();
}

impl Place {
    fn of(address: u64) -> Place {
        let mut place = Place { address, library: None, symbol: None, line: None };
        // SAFETY: all-zero is valid for both.
        let mut info: libc::Dl_info = unsafe { std::mem::zeroed() };
        let mut map: *const u64 = std::ptr::null();
        const RTLD_DL_LINKMAP: c_int = 2;
        // SAFETY: room for both answers.
        let found = unsafe { dladdr1(address as *const c_void, &mut info, (&raw mut map).cast(), RTLD_DL_LINKMAP) };
        if found == 0 || info.dli_fname.is_null() || map.is_null() {
            return place;
        }
        // SAFETY: the loader's C strings, and the first word of a `link_map`, the load bias.
        let (path, bias, symbol) = unsafe {
            let symbol = (!info.dli_sname.is_null()).then(|| (CStr::from_ptr(info.dli_sname), info.dli_saddr as u64));
            (CStr::from_ptr(info.dli_fname).to_string_lossy().into_owned(), *map, symbol)
        };
        let vaddr = address.wrapping_sub(bias);
        place.symbol = symbol
            .map(|(name, start)| (name.to_string_lossy().into_owned(), start.wrapping_sub(bias)))
            .map(|(name, start)| format!("{name}+{:#x}", vaddr.wrapping_sub(start)));
        place.look_into(Path::new(&path), vaddr);
        place.library = Some((path, vaddr));
        place
    }

    /// What the file's own tables add: a function that is not exported, and the line of the source.
    fn look_into(&mut self, path: &Path, vaddr: u64) {
        let Ok(path) = fs::canonicalize(path) else { return };
        let Ok(file) = addr2line::Loader::new(&path) else { return };
        if let Some(name) = file.find_symbol(vaddr) {
            self.symbol = Some(name.into());
        }
        if let Ok(Some(location)) = file.find_location(vaddr)
            && let (Some(source), Some(line)) = (location.file, location.line)
        {
            self.line = Some(format!("{}:{line}", short(source)));
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.library {
            Some((path, offset)) => write!(f, "{}+{offset:#x}", short(&shown(path)))?,
            None => write!(f, "{:#x}, in no library", self.address)?,
        }
        self.symbol.iter().try_for_each(|symbol| write!(f, ", in {symbol}"))?;
        self.line.iter().try_for_each(|line| write!(f, ", {line}"))
    }
}

impl fmt::Display for Ended {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Ended::Crashed { signal, at, touched } => {
                write!(f, "the library's code crashed: {signal} at {at}")?;
                touched.iter().try_for_each(|address| write!(f, "; it touched the address {address:#x}"))
            }
            Ended::Exited { status } => write!(f, "the library's code called exit({status})"),
            Ended::StillRuns { seconds, at } => {
                write!(f, "the library's code still runs after {seconds} s, at {at}")
            }
        }
    }
}

//! `dlerror`: the last error of each thread, in the words of glibc, which programs match on.

use std::ffi::{CStr, c_char, c_int, c_void};
use std::ptr;
use std::sync::OnceLock;

use nix::errno::Errno;
use nix::libc;

use crate::elf::plan::UNALIGNED;
use crate::error::{Error, ErrorKind};
use crate::lock::made_once;
use crate::thread::{Buffer, words};

// Each thread has two buffers: one for the last error, and one with what `dlerror` gave out last, which stays valid until
// the next call. They are pages of their own, because whoever asks may be an allocator. They stay when the errors go:
// programs ask for symbols that they know may be missing.
const NEXT: usize = 0;
const GIVEN: usize = 1;

/// What `dlopen`, `dlsym` and their kin do first: an error that nobody asked for is not about this call.
pub(super) fn forget() {
    words(|words| words.error_is_new.set(false));
}

pub(super) fn fail(message: impl std::fmt::Display) {
    fail_with(&[message.to_string().as_bytes()]);
}

/// The same for a message in parts. Allocates nothing.
pub(super) fn fail_with(parts: &[&[u8]]) {
    let room = parts.iter().map(|part| part.len()).sum::<usize>() + 1;
    words(|words| words.error_is_new.set(true));
    let Some(start) = reserve(room) else { return };
    let bytes = parts.iter().flat_map(|part| part.iter().copied()).filter(|byte| *byte != 0).chain([0]);
    for (at, byte) in bytes.enumerate() {
        // SAFETY: this thread's own buffer, which has room for all parts and a NUL.
        unsafe { start.add(at).write(byte) };
    }
}

/// The start of this thread's buffer for the next error, made larger if need be; `None` if there is no memory.
fn reserve(room: usize) -> Option<*mut u8> {
    let old = words(|words| words.errors[NEXT].get());
    if old.room >= room {
        return Some(old.at);
    }
    let is_first = words(|words| words.errors.iter().all(|buffer| buffer.get().at.is_null()));
    words(|words| words.errors[NEXT].replace(Buffer::NONE)).unmap();
    let new = Buffer::map(room);
    words(|words| words.errors[NEXT].set(new));
    // Last: this may allocate, and an allocator may come here.
    if is_first && let Some(key) = key() {
        // SAFETY: a key of ours. Its value says how many rounds have begun, see below.
        unsafe { libc::pthread_setspecific(key, ptr::without_provenance(1)) };
    }
    (!new.at.is_null()).then_some(new.at)
}

/// The key whose destructor frees a thread's buffers; `None` if no key is left.
fn key() -> Option<libc::pthread_key_t> {
    static KEY: OnceLock<Option<libc::pthread_key_t>> = OnceLock::new();
    *made_once(&KEY, || {
        let mut key = 0;
        // SAFETY: room for a key, and a function of the right type.
        let result = unsafe { libc::pthread_key_create(&mut key, Some(thread_ends)) };
        (result == 0).then_some(key)
    })
}

/// Other keys' destructors may have errors, too: so this waits until the last of the four rounds that POSIX grants
/// (`PTHREAD_DESTRUCTOR_ITERATIONS`).
unsafe extern "C" fn thread_ends(round: *mut c_void) {
    if round.addr() < 4 {
        if let Some(key) = key() {
            // SAFETY: a key of ours.
            unsafe { libc::pthread_setspecific(key, ptr::without_provenance(round.addr() + 1)) };
        }
        return;
    }
    forget();
    for which in [NEXT, GIVEN] {
        words(|words| words.errors[which].replace(Buffer::NONE)).unmap();
    }
}

/// `dlerror`: the last error of this thread, once; null if there was none since the last call.
pub extern "C" fn dlerror() -> *const c_char {
    words(|words| {
        if !words.error_is_new.replace(false) {
            return ptr::null();
        }
        words.errors[NEXT].swap(&words.errors[GIVEN]);
        let given = words.errors[GIVEN].get();
        if given.at.is_null() { c"out of memory".as_ptr() } else { given.at.cast_const().cast() }
    })
}

/// What glibc says in the same case: `file: words`. What it does not know is said in our own words, on one line.
pub(super) fn wording(error: &Error) -> String {
    let object = &error.object;
    let undefined = |symbol: &str, version: &Option<String>| {
        let version = version.as_ref().map_or(String::new(), |v| format!(", version {v}"));
        format!("undefined symbol: {symbol}{version}")
    };
    let words = match &error.kind {
        ErrorKind::NotFound { errno, .. } => format!("cannot open shared object file: {}", strerror(*errno)),
        ErrorKind::System { call, errno } if call.starts_with("pread64") => {
            format!("cannot read file data: {}", strerror(*errno))
        }
        ErrorKind::UndefinedSymbol { symbol, version, .. } | ErrorKind::NoSuchSymbol { symbol, version, .. } => {
            undefined(symbol, version)
        }
        ErrorKind::MissingVersion { version, path, .. } => {
            return format!("{path}: version `{version}' not found (required by {object})");
        }
        ErrorKind::System { call, .. } if call.starts_with("mmap(") => {
            "failed to map segment from shared object".into()
        }
        ErrorKind::StaticTls { size: 0, .. } => {
            "cannot allocate memory in static TLS block: dlscope's arena found no room there, see docs/tls.md".into()
        }
        ErrorKind::StaticTls { .. } => "cannot allocate memory in static TLS block".into(),
        ErrorKind::Unsuitable { field, found, .. } => match field.as_str() {
            // Of four bytes, some are not even there.
            "e_ident magic" if found.split(',').count() < 4 => "file too short".into(),
            "e_ident magic" => "invalid ELF header".into(),
            "e_ident[EI_CLASS]" => "wrong ELF class: ELFCLASS32".into(),
            "e_ident[EI_DATA]" => "ELF file data encoding not little-endian".into(),
            "e_ident[EI_VERSION]" => "ELF file version ident does not match current one".into(),
            "e_ident[EI_OSABI]" => "ELF file OS ABI invalid".into(),
            "e_ident[EI_ABIVERSION]" => "ELF file ABI version invalid".into(),
            "e_ident[EI_PAD]" => "nonzero padding in e_ident".into(),
            "PT_DYNAMIC" => "object file has no dynamic section".into(),
            "e_machine" => "cannot open shared object file: No such file or directory".into(),
            "e_type" if found.starts_with("EXEC") => "cannot dynamically load executable".into(),
            "e_type" => "only ET_DYN and ET_EXEC can be loaded".into(),
            "DT_RELR" => "DT_RELR without GLIBC_ABI_DT_RELR dependency".into(),
            "GNU_PROPERTY_X86_ISA_1_NEEDED" => "CPU ISA level is lower than required".into(),
            "DT_FLAGS_1" => "cannot dynamically load position-independent executable".into(),
            _ => first_line(&error.kind),
        },
        ErrorKind::Malformed { field, .. } => match field.as_str() {
            "ELF header" => "file too short".into(),
            "program header table" => "cannot read file data".into(),
            "e_version" => "ELF file version does not match current one".into(),
            "e_phentsize" => "ELF file's phentsize not the expected size".into(),
            "e_phnum" | "PT_LOAD" => "object file has no loadable segments".into(),
            // The kernel's answer for pages that are not there.
            "PT_GNU_RELRO" => {
                "cannot apply additional memory protection after relocation: Cannot allocate memory".into()
            }
            field if field.ends_with(UNALIGNED) => "ELF load command address/offset not page-aligned".into(),
            _ => first_line(&error.kind),
        },
        ErrorKind::Policy { what, found, .. } if what == "DT_FLAGS_1" && found == "DF_1_NOOPEN" => {
            "shared object cannot be dlopen()ed".into()
        }
        kind => first_line(kind),
    };
    format!("{object}: {words}")
}

/// The words of strerror(3), which are not those of every library.
fn strerror(errno: Errno) -> String {
    let mut text = [0; 128];
    // SAFETY: room for so many bytes; the function writes a C string there.
    unsafe {
        libc::strerror_r(errno as c_int, text.as_mut_ptr(), text.len());
        CStr::from_ptr(text.as_ptr()).to_string_lossy().into_owned()
    }
}

fn first_line(kind: &ErrorKind) -> String {
    kind.to_string().lines().next().unwrap_or_default().into()
}

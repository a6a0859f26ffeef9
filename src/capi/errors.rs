//! `dlerror`: the last error of each thread, in the words of glibc, which programs match on.

use std::cell::RefCell;
use std::ffi::c_char;
use std::mem::ManuallyDrop;
use std::ptr;

use crate::error::{Error, ErrorKind};

/// Of one thread. The buffers stay when the errors go: programs ask for symbols that they know may be missing.
struct Errors {
    /// The last error, with a NUL at its end.
    next: Vec<u8>,
    /// Whether `dlerror` did not give it out yet.
    is_new: bool,
    /// What `dlerror` gave out last: it stays valid until the next call.
    given: Vec<u8>,
}

const NONE: Errors = Errors { next: Vec::new(), is_new: false, given: Vec::new() };

thread_local! {
    /// Never destroyed: destructors that run at the very end of a thread have errors, too.
    static ERRORS: RefCell<ManuallyDrop<Errors>> = const { RefCell::new(ManuallyDrop::new(NONE)) };
    /// Registered with the first error of a thread; most have none.
    static FREED_AT_END: FreedAtEnd = const { FreedAtEnd };
}

struct FreedAtEnd;

impl Drop for FreedAtEnd {
    fn drop(&mut self) {
        change(|errors| *errors = NONE);
    }
}

fn change<R>(change: impl FnOnce(&mut Errors) -> R) -> R {
    ERRORS.with_borrow_mut(|errors| change(errors))
}

/// What `dlopen`, `dlsym` and their kin do first: an error that nobody asked for is not about this call.
pub(super) fn forget() {
    change(|errors| errors.is_new = false);
}

pub(super) fn fail(message: impl std::fmt::Display) {
    let message = message.to_string();
    note(|text| text.extend(message.bytes().filter(|byte| *byte != 0)));
}

/// The same for a message in parts, none of which has a NUL.
pub(super) fn fail_with(parts: &[&[u8]]) {
    note(|text| parts.iter().for_each(|part| text.extend_from_slice(part)));
}

fn note(write: impl FnOnce(&mut Vec<u8>)) {
    let _ = FREED_AT_END.try_with(|_| ());
    change(|errors| {
        errors.next.clear();
        write(&mut errors.next);
        errors.next.push(0);
        errors.is_new = true;
    });
}

/// `dlerror`: the last error of this thread, once; null if there was none since the last call.
pub extern "C" fn dlerror() -> *const c_char {
    change(|Errors { next, is_new, given }| {
        if !std::mem::take(is_new) {
            return ptr::null();
        }
        std::mem::swap(next, given);
        given.as_ptr().cast()
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
        ErrorKind::NotFound { errno, .. } => format!("cannot open shared object file: {}", errno.desc()),
        ErrorKind::System { call, errno } if call.starts_with("pread64") => {
            format!("cannot read file data: {}", errno.desc())
        }
        ErrorKind::UndefinedSymbol { symbol, version, .. } | ErrorKind::NoSuchSymbol { symbol, version, .. } => {
            undefined(symbol, version)
        }
        ErrorKind::MissingVersion { version, path, .. } => {
            return format!("{path}: version `{version}' not found (required by {object})");
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
            "DT_FLAGS_1" => "cannot dynamically load position-independent executable".into(),
            _ => first_line(&error.kind),
        },
        ErrorKind::Malformed { field, .. } => match field.as_str() {
            "ELF header" => "file too short".into(),
            "e_version" => "ELF file version does not match current one".into(),
            "e_phentsize" => "ELF file's phentsize not the expected size".into(),
            "e_phnum" => "object file has no loadable segments".into(),
            _ => first_line(&error.kind),
        },
        ErrorKind::Policy { what, found, .. } if what == "DT_FLAGS_1" && found == "DF_1_NOOPEN" => {
            "shared object cannot be dlopen()ed".into()
        }
        kind => first_line(kind),
    };
    format!("{object}: {words}")
}

fn first_line(kind: &ErrorKind) -> String {
    kind.to_string().lines().next().unwrap_or_default().into()
}

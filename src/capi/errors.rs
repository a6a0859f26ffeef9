//! `dlerror`: the last error of each thread, in the words of glibc, which programs match on.

use std::cell::RefCell;
use std::ffi::c_char;
use std::io::Write;
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

thread_local! {
    static ERROR: RefCell<Errors> =
        const { RefCell::new(Errors { next: Vec::new(), is_new: false, given: Vec::new() }) };
}

pub(super) fn fail(message: impl std::fmt::Display) {
    note(|text| {
        // A vector takes everything.
        let _ = write!(text, "{message}");
        text.retain(|byte| *byte != 0);
    });
}

/// The same for a message in parts, none of which has a NUL.
pub(super) fn fail_with(parts: &[&[u8]]) {
    note(|text| parts.iter().for_each(|part| text.extend_from_slice(part)));
}

fn note(write: impl FnOnce(&mut Vec<u8>)) {
    // At the very end of a thread there is nobody left to ask for it.
    let _ = ERROR.try_with(|errors| {
        let mut errors = errors.borrow_mut();
        errors.next.clear();
        write(&mut errors.next);
        errors.next.push(0);
        errors.is_new = true;
    });
}

/// `dlerror`: the last error of this thread, once; null if there was none since the last call.
pub extern "C" fn dlerror() -> *const c_char {
    let give = |errors: &RefCell<Errors>| {
        let Errors { next, is_new, given } = &mut *errors.borrow_mut();
        if !std::mem::take(is_new) {
            return ptr::null();
        }
        std::mem::swap(next, given);
        given.as_ptr().cast()
    };
    ERROR.try_with(give).unwrap_or(ptr::null())
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
            "e_machine" => "cannot open shared object file: No such file or directory".into(),
            "e_type" if found.starts_with("ET_EXEC") => "cannot dynamically load executable".into(),
            "e_type" => "only ET_DYN and ET_EXEC can be loaded".into(),
            "DT_FLAGS_1" => "cannot dynamically load position-independent executable".into(),
            _ => first_line(&error.kind),
        },
        ErrorKind::Malformed { field, .. } if field == "ELF header" => "file too short".into(),
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

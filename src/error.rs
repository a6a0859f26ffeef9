//! Errors, written for the person who hits them: which field of which file is wrong, what was found, what was
//! expected, and what to try.

use std::fmt;
use std::sync::Arc;

use crate::elf::addr::{FileOffset, Vaddr};

/// The result of this crate's functions.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// A load, lookup or close that did not happen. A load that fails leaves nothing behind: no mapping and no
/// descriptor. No code of the library has run, apart from IFUNC resolvers.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct Error {
    /// The file or library that the error is about, as the user named it or as it was found.
    pub object: String,
    /// The stage that refused.
    pub stage: Stage,
    /// What was wrong.
    pub kind: ErrorKind,
}

/// The stages of a load (see the crate's front page), and what happens outside of one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[cfg_attr(feature = "serde", derive(serde::Serialize), serde(rename_all = "snake_case"))]
#[non_exhaustive]
pub enum Stage {
    /// 1: from a name to an open file.
    Find,
    /// 2: the file header and program headers.
    Read,
    /// 3: from `PT_LOAD`s to steps.
    Plan,
    /// 4: the steps are carried out.
    Map,
    /// 5: `PT_DYNAMIC` and the tables that it names.
    Dynamic,
    /// 6: dependencies, breadth first.
    Needed,
    /// 7: whether every version that is needed is there.
    Versions,
    /// 8: relocations, in two passes.
    Relocate,
    /// 9: `PT_GNU_RELRO` becomes read-only.
    Seal,
    /// 10: the objects enter the namespace.
    Publish,
    /// 11: constructors.
    Init,
    /// A symbol is looked up by name, for the user.
    Lookup,
    /// A function is called for the first time and bound (lazy binding).
    Bind,
    /// Destructors run, and libraries are unmapped.
    Close,
    /// The objects that were in the process before are adopted.
    Host,
}

impl Stage {
    /// The stages of a load, in order.
    pub const PIPELINE: [Stage; 11] = [
        Stage::Find,
        Stage::Read,
        Stage::Plan,
        Stage::Map,
        Stage::Dynamic,
        Stage::Needed,
        Stage::Versions,
        Stage::Relocate,
        Stage::Seal,
        Stage::Publish,
        Stage::Init,
    ];

    /// The stage's number in a load, from 1. `None` for what happens outside of a load.
    pub fn number(self) -> Option<usize> {
        Stage::PIPELINE.iter().position(|&s| s == self).map(|at| at + 1)
    }
}

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Stage::Find => "find",
            Stage::Read => "read",
            Stage::Plan => "plan",
            Stage::Map => "map",
            Stage::Dynamic => "dynamic",
            Stage::Needed => "needed",
            Stage::Versions => "versions",
            Stage::Relocate => "relocate",
            Stage::Seal => "seal",
            Stage::Publish => "publish",
            Stage::Init => "init",
            Stage::Lookup => "lookup",
            Stage::Bind => "bind",
            Stage::Close => "close",
            Stage::Host => "host",
        })
    }
}

/// Where the thing that is wrong stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize), serde(rename_all = "snake_case"))]
pub enum Where {
    /// In the file, at this many bytes from its start.
    File(FileOffset),
    /// In the mapped object, at this `p_vaddr` (`readelf` shows the same number).
    Memory(Vaddr),
}

impl fmt::Display for Where {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Where::File(offset) => write!(f, "in the file at offset {offset}"),
            Where::Memory(vaddr) => write!(f, "in the mapped library at {vaddr}"),
        }
    }
}

/// The kinds of error, each with what a person needs to act on it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[cfg_attr(feature = "serde", derive(serde::Serialize), serde(rename_all = "snake_case"))]
#[non_exhaustive]
pub enum ErrorKind {
    /// No file was found for a name.
    #[error("cannot be found{}{}", needed(needed_by), tried_list(tried))]
    NotFound {
        /// The library whose `DT_NEEDED` has the name, unless the user asked for it.
        needed_by: Option<String>,
        /// Every path that was tried, in order, with the reason why it was not taken.
        tried: Vec<String>,
        /// The kernel's error for the last of these paths.
        #[cfg_attr(feature = "serde", serde(serialize_with = "by_name"))]
        errno: nix::errno::Errno,
    },
    /// The kernel refused a system call.
    #[error("{call}: {errno}")]
    System {
        /// The call as `strace` would show it, without its result.
        call: String,
        /// Why the kernel refused it.
        #[cfg_attr(feature = "serde", serde(serialize_with = "by_name"))]
        errno: nix::errno::Errno,
    },
    /// The file is whole, but this loader cannot use it.
    #[error("{field} is {found}, expected {expected}\n       {at}; {reason}")]
    Unsuitable {
        /// The field of the file.
        field: String,
        /// Where the field stands.
        at: Where,
        /// The value of the field.
        found: String,
        /// What would be right.
        expected: String,
        /// What the file probably is, and what to do.
        reason: String,
    },
    /// The file contradicts itself or the specification.
    #[error("{field} is {found}, expected {expected}\n       {at}; {rule}")]
    Malformed {
        /// The field of the file.
        field: String,
        /// Where the field stands.
        at: Where,
        /// The value of the field.
        found: String,
        /// What would be right.
        expected: String,
        /// The rule and where it is written.
        rule: String,
    },
    /// A library that this one needs is there, but lacks a version.
    #[error(
        "needs version {version} of {provider}, and the one found at {path} offers {offered}\n       install a {provider} that has it, or set LD_LIBRARY_PATH to its folder"
    )]
    MissingVersion {
        /// The version that is needed.
        version: String,
        /// The library that should have the version, by soname.
        provider: String,
        /// Where that library was found.
        path: String,
        /// The versions that the library has.
        offered: String,
    },
    /// A relocation refers to a symbol that nothing defines.
    #[error("undefined symbol: {symbol}{}\n       wanted by {wanted_by}; looked in {}", at_version(version), searched.join(", "))]
    UndefinedSymbol {
        /// The name of the symbol.
        symbol: String,
        /// The version that was asked for.
        version: Option<String>,
        /// What refers to the symbol: `relocation 12 of DT_JMPREL (R_X86_64_JUMP_SLOT)`.
        wanted_by: String,
        /// The objects of the scope, in the order in which they were searched.
        searched: Vec<String>,
    },
    /// A lookup by name found the symbol in no object.
    #[error("no symbol {symbol}{}\n       looked in {}", at_version(version), short_names(searched))]
    NoSuchSymbol {
        /// The name of the symbol.
        symbol: String,
        /// The version that was asked for.
        version: Option<String>,
        /// The paths of the objects that were searched, in order.
        searched: Arc<[Arc<str>]>,
    },
    /// A relocation cannot be applied.
    #[error("relocation {index} of {table} ({kind}) at {place}: {problem}\n       {rule}")]
    Relocation {
        /// The number of the entry in its table, from 0.
        index: usize,
        /// `DT_RELA`, `DT_JMPREL` or `DT_RELR`.
        table: &'static str,
        /// The relocation type by name.
        kind: String,
        /// `r_offset`.
        place: Vaddr,
        /// What is wrong, with the values.
        problem: String,
        /// The rule and where it is written.
        rule: &'static str,
    },
    /// A library's initial-exec variables do not fit into the arena that every thread has for them.
    #[error(
        "cannot allocate memory in static TLS block: {asked:#x} bytes, aligned to {align}, are needed, {left:#x} of {size:#x} are left\n       {why}; build dlscope with a larger DLSCOPE_TLS_ARENA"
    )]
    StaticTls {
        /// How many bytes the library needs.
        asked: u64,
        /// The alignment that they need.
        align: u64,
        /// How many bytes of the arena are left.
        left: u64,
        /// How many bytes the whole arena has.
        size: u64,
        /// Why it does not fit.
        why: String,
    },
    /// The file is correct, but asks for something that dlscope does not do yet.
    #[error("{what} is not supported yet\n       {detail}")]
    Unsupported {
        /// The feature.
        what: String,
        /// Where the file asks for it.
        detail: String,
    },
    /// A name has a zero byte before its end. No file and no symbol can have such a name.
    #[error("the name has a zero byte before its end, and no file or symbol can have such a name")]
    InteriorZeroElements,
    /// The type that a symbol was asked for as does not have the size of a pointer.
    #[error(
        "the type that was asked for does not have the size of a pointer, and a symbol is the address of something"
    )]
    IncompatibleSize,
    /// `RTLD_NOLOAD` was given, and the library is not loaded.
    #[error("the library is not loaded, and RTLD_NOLOAD asks for none to be")]
    NotLoaded,
    /// Nothing is known. dlscope itself never says so.
    #[error("no reason was given")]
    Unknown,
    /// The file asks for something that dlscope refuses on purpose.
    #[error("{what}: {found} is refused by policy\n       {reason}")]
    Policy {
        /// The field of the file.
        what: String,
        /// The value of the field.
        found: String,
        /// Why, and what to do.
        reason: String,
    },
}

impl ErrorKind {
    /// The error for a table that ends past the bytes that it lies in.
    #[cold]
    #[inline(never)]
    pub(crate) fn truncated(what: &str, at: FileOffset, wanted: u64, have: u64) -> ErrorKind {
        ErrorKind::Malformed {
            field: what.into(),
            at: Where::File(at),
            found: format!("{have:#x} bytes"),
            expected: format!("{wanted:#x} bytes"),
            rule: "the file is damaged or cut".into(),
        }
    }

    /// The error for a wrong value in the mapped object.
    #[cold]
    #[inline(never)]
    pub(crate) fn malformed(
        field: impl Into<String>,
        at: Vaddr,
        found: impl fmt::Display,
        expected: impl fmt::Display,
        rule: &str,
    ) -> ErrorKind {
        ErrorKind::Malformed {
            field: field.into(),
            at: Where::Memory(at),
            found: found.to_string(),
            expected: expected.to_string(),
            rule: rule.into(),
        }
    }

    /// The error with the object and the stage that it belongs to.
    #[cold]
    #[inline(never)]
    pub(crate) fn of(self, object: impl Into<String>, stage: Stage) -> Error {
        Error { object: object.into(), stage, kind: self }
    }
}

/// Serialises an errno by its name, `ENOENT`, as events do.
#[cfg(feature = "serde")]
fn by_name<S: serde::Serializer>(errno: &nix::errno::Errno, s: S) -> Result<S::Ok, S::Error> {
    s.collect_str(&format_args!("{errno:?}"))
}

fn needed(by: &Option<String>) -> String {
    by.as_ref().map_or(String::new(), |by| format!(", and {by} needs it"))
}

fn short_names(paths: &[Arc<str>]) -> String {
    let names: Vec<&str> = paths.iter().map(|path| path.rsplit('/').next().unwrap_or(path)).collect();
    names.join(", ")
}

fn at_version(version: &Option<String>) -> String {
    version.as_ref().map_or(String::new(), |v| format!(", version {v}"))
}

fn tried_list(tried: &[String]) -> String {
    let mut text: String = tried.iter().map(|t| format!("\n       tried {t}")).collect();
    text.push_str("\n       install it, or set LD_LIBRARY_PATH to its folder; a path with a '/' is opened as it is");
    text
}

impl Error {
    /// The first line of the message, without the advice that follows it.
    pub(crate) fn first_line(&self) -> String {
        self.to_string().lines().next().unwrap_or_default().into()
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.object, self.kind)
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match &self.kind {
            ErrorKind::System { errno, .. } => Some(errno),
            _ => None,
        }
    }
}

//! What can go wrong, told to the person it happens to: in which file and field, what was found, what was
//! expected, what to try.

use std::fmt;
use std::sync::Arc;

use crate::elf::addr::{FileOffset, Vaddr};

/// This crate's result.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// A load, lookup or unload that did not happen. A load that fails leaves nothing behind: no mapping, no
/// descriptor, and no code of the library has run (unless a constructor is what failed).
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct Error {
    /// The file or library this is about, as the user named it or as it was found.
    pub object: String,
    /// The stage of the pipeline that refused.
    pub stage: Stage,
    /// What was wrong.
    pub kind: ErrorKind,
}

/// The stages of the pipeline (see the crate's front page), and what happens outside of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[cfg_attr(feature = "serde", derive(serde::Serialize), serde(rename_all = "snake_case"))]
pub enum Stage {
    /// 1: from a name to an open file.
    Find,
    /// 2: the file header and program headers.
    Read,
    /// 3: from `PT_LOAD`s to steps.
    Plan,
    /// 4: the steps carried out.
    Map,
    /// 5: `PT_DYNAMIC` and the tables it names.
    Dynamic,
    /// 6: dependencies, breadth first.
    Needed,
    /// 7: every needed version is there.
    Versions,
    /// 8: relocations, in two passes.
    Relocate,
    /// 9: `PT_GNU_RELRO` becomes read-only.
    Seal,
    /// 10: the objects enter the namespace.
    Publish,
    /// 11: constructors.
    Init,
    /// A symbol by name, for the user.
    Lookup,
    /// A function that was called for the first time, lazily bound.
    Bind,
    /// Destructors and unmapping.
    Close,
    /// What was in the process before: adopted, never mapped.
    Host,
}

impl Stage {
    /// The stages of an open, in order.
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

    /// Its number in the pipeline, from 1; `None` for what happens outside of an open.
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

/// Where the wrong thing stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize), serde(rename_all = "snake_case"))]
pub enum Where {
    /// In the file, so many bytes from its start.
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

/// The kinds of refusal, each with what is needed to act on it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[cfg_attr(feature = "serde", derive(serde::Serialize), serde(rename_all = "snake_case"))]
pub enum ErrorKind {
    /// No file for a name.
    #[error("cannot be found{}{}", needed(needed_by), tried_list(tried))]
    NotFound {
        /// The library whose `DT_NEEDED` named it, if it was not asked for directly.
        needed_by: Option<String>,
        /// Every path that was tried, in order, with the reason it was passed over.
        tried: Vec<String>,
        /// What the kernel said to the last of them.
        #[cfg_attr(feature = "serde", serde(serialize_with = "by_name"))]
        errno: nix::errno::Errno,
    },
    /// The kernel refused a call.
    #[error("{call}: {errno}")]
    System {
        /// The call as `strace` would show it, without its result.
        call: String,
        /// Why the kernel refused it.
        #[cfg_attr(feature = "serde", serde(serialize_with = "by_name"))]
        errno: nix::errno::Errno,
    },
    /// The file is whole, but not for this loader.
    #[error("{field} is {found}, expected {expected}\n       {at}; {reason}")]
    Unsuitable {
        /// The field of the file.
        field: String,
        /// Where it stands.
        at: Where,
        /// Its value.
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
        /// Where it stands.
        at: Where,
        /// Its value.
        found: String,
        /// What would be right.
        expected: String,
        /// The rule and where it is written.
        rule: String,
    },
    /// A library that this one needs is there, but too old (or new) for it.
    #[error(
        "needs version {version} of {provider}, and the one found at {path} offers {offered}\n       install a {provider} that has it, or set LD_LIBRARY_PATH to its folder"
    )]
    MissingVersion {
        /// The version that is needed.
        version: String,
        /// The library that should provide it, by soname.
        provider: String,
        /// Where that library was found.
        path: String,
        /// The versions it has.
        offered: String,
    },
    /// A relocation refers to a symbol that nothing defines.
    #[error("undefined symbol: {symbol}{}\n       wanted by {wanted_by}; looked in {}", at_version(version), searched.join(", "))]
    UndefinedSymbol {
        /// Its name.
        symbol: String,
        /// The version asked for.
        version: Option<String>,
        /// What refers to it: `relocation 12 of DT_JMPREL (R_X86_64_JUMP_SLOT)`.
        wanted_by: String,
        /// The objects of the scope, in the order they were searched.
        searched: Vec<String>,
    },
    /// `get`: the library and its dependencies do not export the symbol.
    #[error("no symbol {symbol}{}\n       looked in {}", at_version(version), short_names(searched))]
    NoSuchSymbol {
        /// Its name.
        symbol: String,
        /// The version asked for.
        version: Option<String>,
        /// The paths of the objects searched, in order.
        searched: Arc<[Arc<str>]>,
    },
    /// A relocation that cannot be applied.
    #[error("relocation {index} of {table} ({kind}) at {place}: {problem}\n       {rule}")]
    Relocation {
        /// Its place in its table, from 0.
        index: usize,
        /// `DT_RELA`, `DT_JMPREL` or `DT_RELR`.
        table: &'static str,
        /// Its type by name.
        kind: String,
        /// `r_offset`.
        place: Vaddr,
        /// What is wrong: values included.
        problem: String,
        /// The rule and where it is written.
        rule: &'static str,
    },
    /// A library's initial-exec variables do not fit into the arena that every thread has for them.
    #[error(
        "cannot allocate memory in static TLS block: {asked:#x} bytes, aligned to {align}, are needed, {left:#x} of {size:#x} are left\n       {why}; build dlscope with a larger DLSCOPE_TLS_ARENA"
    )]
    StaticTls {
        /// Bytes that it needs.
        asked: u64,
        /// Their alignment.
        align: u64,
        /// Bytes of the arena that nobody uses.
        left: u64,
        /// Bytes of the whole arena.
        size: u64,
        /// What does not fit.
        why: String,
    },
    /// Something correct that dlscope does not do yet.
    #[error("{what} is not supported yet\n       {detail}")]
    Unsupported {
        /// The feature.
        what: String,
        /// Where the file asks for it.
        detail: String,
    },
    /// Something the file asks for that dlscope refuses on purpose.
    #[error("{what}: {found} is refused by policy\n       {reason}")]
    Policy {
        /// The field of the file.
        what: String,
        /// Its value.
        found: String,
        /// Why, and what to do.
        reason: String,
    },
}

impl ErrorKind {
    /// The refusal for a table that ends past the bytes it lies in.
    pub(crate) fn truncated(what: &str, at: FileOffset, wanted: u64, have: u64) -> ErrorKind {
        ErrorKind::Malformed {
            field: what.into(),
            at: Where::File(at),
            found: format!("{have:#x} bytes"),
            expected: format!("{wanted:#x} bytes"),
            rule: "the file is damaged or cut".into(),
        }
    }

    /// The refusal for something wrong in mapped memory.
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

    /// Puts the refusal into its context.
    pub(crate) fn of(self, object: impl Into<String>, stage: Stage) -> Error {
        Error { object: object.into(), stage, kind: self }
    }
}

/// `ENOENT`, as everywhere in the stream.
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

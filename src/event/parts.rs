//! The types that the kinds of event are made of.

use super::*;

/// What a request asks of the loader.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize), serde(rename_all = "snake_case"))]
pub enum Asked {
    /// Load a library and run its constructors.
    Open,
    /// Load a library as far as possible without running any of its code.
    Prepare,
    /// The same as `Prepare`, but to learn everything that is wrong.
    Inspect,
    /// Find a symbol by name.
    Lookup,
    /// End one use of a library.
    Close,
    /// Bind a function that is called for the first time.
    Bind,
    /// The process ends.
    Exit,
}

/// How a name was recognised to mean an object that is already here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize), serde(rename_all = "snake_case"))]
pub enum SameBy {
    /// The object was loaded under this name or path.
    Name,
    /// The name is the object's `DT_SONAME`.
    Soname,
    /// The file that was found has the same device and inode as the object's.
    Inode,
}

/// The rules by which a name becomes a path, in the order of ld.so(8).
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize), serde(rename_all = "snake_case"))]
pub enum Rule {
    /// The name has a `/`: it is a path.
    Path,
    /// `Loader::search_dir`.
    SearchDir,
    /// `DT_RPATH` of the object named.
    Rpath(String),
    /// `LD_LIBRARY_PATH`, as it was when the program started.
    LdLibraryPath,
    /// `DT_RUNPATH` of the object named.
    Runpath(String),
    /// `/etc/ld.so.cache`.
    Cache,
    /// The directories built into ld.so.
    Default,
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Rule::Path => f.pad("the path itself"),
            Rule::SearchDir => f.pad("search_dir"),
            Rule::Rpath(of) => f.pad(&format!("RPATH of {of}")),
            Rule::LdLibraryPath => f.pad("LD_LIBRARY_PATH"),
            Rule::Runpath(of) => f.pad(&format!("RUNPATH of {of}")),
            Rule::Cache => f.pad("/etc/ld.so.cache"),
            Rule::Default => f.pad("default directories"),
        }
    }
}

/// What came of trying a path.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize), serde(rename_all = "snake_case"))]
pub enum Outcome {
    /// The path is the file that was looked for.
    Found,
    /// The path could not be opened: the name of the error.
    Missing(String),
    /// The file is a library, but not for this process. The search goes on.
    Passed(String),
}

/// How a dependency was settled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize), serde(rename_all = "snake_case"))]
pub enum Arrival {
    /// The object was in the process before. It is never mapped a second time.
    Adopted,
    /// An earlier open of this namespace loaded the object.
    Loaded,
    /// Another object of this load has asked for it already.
    Shared,
    /// This load maps the object.
    New,
}

/// What came of looking for a version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize), serde(rename_all = "snake_case"))]
pub enum VersionOutcome {
    /// The provider defines the version.
    Provided,
    /// The provider defines no versions at all: accepted.
    ProviderHasNone,
    /// The provider lacks the version, but the need is weak (`VER_FLG_WEAK`): accepted.
    WeakAndMissing,
    /// The provider lacks the version: the load fails.
    Missing,
}

/// Why the rights of pages were changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize), serde(rename_all = "snake_case"))]
pub enum ProtectReason {
    /// A step of the plan: bss in a page that is not writable has been zeroed.
    Plan,
    /// `DT_TEXTREL`: relocations are about to write into pages that are not writable.
    TextOpen,
    /// Relocations have been written there, and the pages get their own rights back.
    TextShut,
    /// `PT_GNU_RELRO`: the pages are read-only from now on.
    Relro,
    /// The kernel refused to unmap the range, so it is made inaccessible.
    Abandoned,
}

/// One object that was searched for a symbol.
#[derive(Clone, Debug)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct Candidate {
    /// The object.
    pub object: Tag,
    /// What the object's hash table said, step by step. The last step decides.
    pub steps: Vec<Probing>,
}

/// The definition that a symbol was bound to.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct Binding {
    /// The object that has the definition; `None` for an address given with `Loader::define`, or a function
    /// of dlscope.
    pub object: Option<Tag>,
    /// The symbol's index in that object's symbol table.
    pub symbol: Option<u32>,
    /// Its address: the load bias is added, a resolver not yet called.
    pub address: Addr,
    /// The version of the definition.
    pub version: Option<String>,
    /// Whether a function of dlscope stands in for it: `dlopen` and its kin.
    pub ours: bool,
}

/// Bytes that are shown and serialised as hexadecimal digits: `7f454c46`.
#[derive(Clone, PartialEq, Eq)]
pub struct Hex(pub Vec<u8>);

impl fmt::Display for Hex {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Hex {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(feature = "serde")]
impl serde::Serialize for Hex {
    fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(self)
    }
}

/// Why a library stays whose last use has ended.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize), serde(rename_all = "snake_case"))]
pub enum Stay {
    /// It says so itself: `DF_1_NODELETE`.
    Nodelete,
    /// It has the definition of this `STB_GNU_UNIQUE` symbol that counts in the whole namespace.
    Unique(String),
    /// Somebody asked for that: `RTLD_NODELETE`, or a `dlsym(RTLD_DEFAULT, …)` of a host object that found a symbol in it.
    Pinned,
    /// One of its constructors is still running.
    Constructing,
    /// A thread has not yet called so many destructors of the library's thread-local variables.
    Destructors(usize),
    /// This object needs it: it is a `DT_NEEDED`, or references are bound to it.
    Needed(Tag),
}

impl fmt::Display for Stay {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Stay::Nodelete => f.pad("it was linked with -z nodelete"),
            Stay::Unique(name) => write!(f, "its definition of {name} (STB_GNU_UNIQUE) is the one for everybody"),
            Stay::Pinned => f.pad("somebody asked that it stay for good"),
            Stay::Constructing => f.pad("its constructors are running"),
            Stay::Destructors(1) => f.pad("a thread has one destructor of its thread-local variables to call"),
            Stay::Destructors(n) => write!(f, "threads have {n} destructors of its thread-local variables to call"),
            Stay::Needed(by) => write!(f, "{by} needs it"),
        }
    }
}

/// Why foreign code is called.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize), serde(rename_all = "snake_case"))]
pub enum Purpose {
    /// `DT_INIT`.
    Init,
    /// An entry of `DT_INIT_ARRAY`: its number, from 0.
    InitArray(usize),
    /// An entry of `DT_FINI_ARRAY`: its number, from 0.
    FiniArray(usize),
    /// `DT_FINI`.
    Fini,
    /// An IFUNC resolver, which returns the address of an implementation.
    Resolver,
}

impl fmt::Display for Purpose {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Purpose::Init => f.pad("DT_INIT"),
            Purpose::InitArray(n) => f.pad(&format!("DT_INIT_ARRAY[{n}]")),
            Purpose::FiniArray(n) => f.pad(&format!("DT_FINI_ARRAY[{n}]")),
            Purpose::Fini => f.pad("DT_FINI"),
            Purpose::Resolver => f.pad("IFUNC resolver"),
        }
    }
}

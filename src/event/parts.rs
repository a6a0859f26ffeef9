//! What the kinds of event are made of.

use super::*;

/// What was asked of the loader.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize), serde(rename_all = "snake_case"))]
pub enum Asked {
    /// Load and initialise.
    Open,
    /// Load as far as possible without running any code of the library.
    Prepare,
    /// The same, to learn everything that is wrong.
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

/// What told that a name means an object that is already here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize), serde(rename_all = "snake_case"))]
pub enum SameBy {
    /// It was loaded under this name or path.
    Name,
    /// Its `DT_SONAME`.
    Soname,
    /// The same device and inode.
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
    /// The variable as it was when the program started.
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
    /// This is the file.
    Found,
    /// It could not be opened: the name of the error.
    Missing(String),
    /// It is a library, but not for this process: the search goes on.
    Passed(String),
}

/// How a dependency came here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize), serde(rename_all = "snake_case"))]
pub enum Arrival {
    /// It was in the process before; a second copy is never mapped.
    Adopted,
    /// An earlier open of this namespace loaded it.
    Loaded,
    /// Another object of this open already asked for it.
    Shared,
    /// It is mapped by this open.
    New,
}

/// What came of looking for a version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize), serde(rename_all = "snake_case"))]
pub enum VersionOutcome {
    /// The provider defines it.
    Provided,
    /// The provider defines no versions at all: accepted.
    ProviderHasNone,
    /// Not there, but the need is weak (`VER_FLG_WEAK`): accepted.
    WeakAndMissing,
    /// Not there: the load fails.
    Missing,
}

/// Why pages were given other rights.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize), serde(rename_all = "snake_case"))]
pub enum ProtectReason {
    /// The step of the plan after zeroing bss in a page that is not writable.
    Plan,
    /// `DT_TEXTREL`: relocations write into pages that are not writable.
    TextOpen,
    /// … and back.
    TextShut,
    /// `PT_GNU_RELRO`: read-only from now on.
    Relro,
    /// `munmap` was refused: at least nothing can use the range.
    Abandoned,
}

/// One object that was asked for a symbol.
#[derive(Clone, Debug)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct Candidate {
    /// The object.
    pub object: Tag,
    /// What its hash table said, step by step; the last step decides.
    pub steps: Vec<Probing>,
}

/// What a symbol was bound to.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct Binding {
    /// The object that defines it; `None` for one given with `Loader::define`, or taken over by dlscope.
    pub object: Option<Tag>,
    /// Its index in that object's symbol table.
    pub symbol: Option<u32>,
    /// Where it lies: bias added, resolver not yet asked.
    pub address: Addr,
    /// The version of the definition.
    pub version: Option<String>,
    /// Whether dlscope's own function stands in for it: `dlopen` and its kin.
    pub ours: bool,
}

/// Bytes, shown and serialised as hexadecimal digits: `7f454c46`.
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

/// What foreign code is called for.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize), serde(rename_all = "snake_case"))]
pub enum Purpose {
    /// `DT_INIT`.
    Init,
    /// An entry of `DT_INIT_ARRAY`, by its place, from 0.
    InitArray(usize),
    /// An entry of `DT_FINI_ARRAY`.
    FiniArray(usize),
    /// `DT_FINI`.
    Fini,
    /// An IFUNC resolver: which implementation?
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

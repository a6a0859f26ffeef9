//! Problems: the faults of the load, put together where one is the consequence of another.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use dlscope::event::{Event, Kind, Rule, Stage, Tag};
use dlscope::{ErrorKind, Refusal as Error};
use serde::Serialize;

use super::candidates::Rejected;
use super::content::Content;
use super::graph::Graph;
use super::host::Host;
use super::machine::{Machine, names_wanted, offers};
use super::symbols::{Exports, Missing};
use crate::bytes::{path_of, shown_path, shown_paths};

mod not_found;
mod of_system;
mod other_libc;
mod refused;
mod undefined;
mod unfit;
mod way;
pub use of_system::of_system;
pub use other_libc::libc_of;
use unfit::is_unfit;

/// One thing that must be mended before the library loads.
#[derive(Serialize)]
pub struct Problem {
    /// The object that has the problem: its path, or the name that the user gave.
    pub object: String,
    #[serde(flatten)]
    pub kind: ProblemKind,
}

#[derive(Serialize)]
#[serde(rename_all = "snake_case", tag = "problem")]
pub enum ProblemKind {
    /// A library was not found.
    NotFound {
        library: String,
        /// Whether it is the library that was asked for; otherwise the object needs it. Both may have one name.
        #[serde(skip)]
        is_asked: bool,
        /// The error of the kernel.
        errno: String,
        /// Files of that name in folders that the loader does not search.
        #[serde(serialize_with = "shown_paths")]
        lies_in: Vec<PathBuf>,
        /// Mistakes in the paths that should lead to such a folder.
        mistakes: Vec<String>,
        /// That folder as one would write it in the `DT_RUNPATH` of the library that needs it.
        #[serde(skip)]
        written: Option<String>,
        /// Files that may be other versions of the library.
        #[serde(serialize_with = "shown_paths")]
        other_versions: Vec<PathBuf>,
        /// Files of the library with another name: those that the loader could find, if they had a link of that name, come
        /// first.
        #[serde(serialize_with = "shown_paths")]
        other_names: Vec<PathBuf>,
        /// What is in the way at a place where the loader looked.
        obstacle: Option<Obstacle>,
        /// Every folder that the loader searched.
        #[serde(skip)]
        #[serde(serialize_with = "shown_paths")]
        searched: Vec<PathBuf>,
        /// Libraries with similar names.
        spelt_alike: Vec<String>,
        /// Files of that name that no loader takes here, if there is no other.
        rejected: Vec<Rejected>,
        /// Symbols that are undefined without the library.
        without_it: Vec<String>,
    },
    /// A file was found, and the loader refuses it.
    Unsuitable {
        library: String,
        /// Whether it is the library that was asked for; otherwise the object needs it.
        #[serde(skip)]
        is_asked: bool,
        path: String,
        reason: Refusal,
        without_it: Vec<String>,
    },
    /// A dependency does not define a version.
    Version {
        version: String,
        library: String,
        path: String,
        offered: Vec<String>,
        /// The symbols that the object needs in that version.
        wanted: Vec<String>,
        /// Files of that library that define the version, in folders that the loader does not search.
        #[serde(serialize_with = "shown_paths")]
        lies_in: Vec<PathBuf>,
        /// The rule that found the dependency; `None` if it was in the process before.
        found_by: Option<Rule>,
    },
    /// Symbols that no object of the load defines.
    Symbols {
        symbols: Vec<Missing>,
        /// Whether the object's calls are bound at load time even if the program asks for lazy binding.
        bind_now: bool,
    },
    /// The static TLS has no room for the object's thread-local variables.
    StaticTls { asked: u64, align: u64, left: u64, size: u64, reason: String },
    /// The object was built for another C library than glibc.
    OtherLibc { libc: OtherLibc, library: String, without_it: Vec<String> },
    /// A library's versions are needed, and no object of the load is called like it.
    NoLongerNeeded {
        library: String,
        #[serde(serialize_with = "shown_paths")]
        lies_in: Vec<PathBuf>,
    },
    /// dlscope would load the object, and the system's loader does not.
    System { message: String, cause: Option<SystemCause> },
    /// It needs a newer glibc than the one that `--glibc` names.
    TooOldGlibc { glibc: String, version: String, symbols: Vec<String> },
    /// It needs symbols that the parts of one glibc have for each other, and `--glibc` names another one.
    PrivateGlibc { glibc: String, symbols: Vec<String> },
    /// It has relocations that only Android's loader applies.
    AndroidRelocations,
    /// Any other fault, in the loader's words.
    Other(LoaderWords),
}

/// A C library other than glibc.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum OtherLibc {
    Musl,
    Bionic,
    FreeBsd,
}

/// What is in the way of a file that is there.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "snake_case", tag = "obstacle")]
pub enum Obstacle {
    /// A symbolic link leads to a file that is not there.
    Dangling {
        #[serde(serialize_with = "shown_path")]
        link: PathBuf,
        #[serde(serialize_with = "shown_path")]
        to: PathBuf,
    },
    /// Symbolic links lead to each other.
    Loop {
        #[serde(serialize_with = "shown_path")]
        link: PathBuf,
        /// Whether the link stands for the folder of the file.
        is_folder: bool,
    },
    /// The file, or a folder on the way to it, is forbidden to this user.
    Forbidden {
        #[serde(serialize_with = "shown_path")]
        path: PathBuf,
        is_folder: bool,
    },
    /// Any other error of the kernel.
    Other {
        #[serde(serialize_with = "shown_path")]
        path: PathBuf,
        errno: String,
    },
}

/// Why the system's loader refuses what dlscope loads.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "snake_case", tag = "cause")]
pub enum SystemCause {
    /// Its reserve of static TLS is too small.
    StaticTls { object: String, variables: Vec<(String, u64)>, bytes: u64 },
    /// The runtime of a sanitizer comes too late, and its constructor ends the process.
    LateRuntime { library: String, option: &'static str, runtime: &'static str },
    /// A version is needed of a library that has no versions.
    NoVersions {
        library: String,
        path: String,
        version: String,
        #[serde(serialize_with = "shown_paths")]
        lies_in: Vec<PathBuf>,
    },
}

/// Why the loader refuses a file.
#[derive(Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Refusal {
    /// It is a 32-bit library.
    Class32,
    /// It is for another processor: its `e_machine`.
    Machine(String),
    /// It is no ELF file.
    Content(Content),
    /// It is an object file, before linking.
    ObjectFile,
    /// It lies on a file system from which no code may be mapped: where that is mounted.
    NoExec(#[serde(serialize_with = "shown_path")] PathBuf),
    /// It ends before its program headers.
    Short(u64),
    /// Its dynamic section has no `DT_SYMTAB`: how many entries it has.
    NoSymbols(usize),
    /// It is a program.
    Program,
    /// `dlopen` may not bring it into a process: `DF_1_NOOPEN`.
    NoOpen,
    /// It is a folder.
    Folder,
    /// It was built for another C library.
    OtherLibc(OtherLibc),
    /// It is a named pipe, a socket or a device.
    Special(&'static str),
    /// Any other reason.
    Other(LoaderWords),
}

/// An error in the loader's own words.
#[derive(Serialize)]
pub struct LoaderWords {
    /// What is wrong, in one line.
    pub message: String,
    /// Where it is wrong: `in the file at offset 0x40`.
    pub place: Option<String>,
    /// The rule that is broken, or what to do.
    pub advice: String,
}

impl LoaderWords {
    fn of(kind: &ErrorKind) -> LoaderWords {
        let text = kind.to_string();
        let message = text.lines().next().unwrap_or_default().to_string();
        let (place, advice) = match kind {
            ErrorKind::Unsuitable { at, reason, .. } => (Some(at.to_string()), reason.clone()),
            ErrorKind::Malformed { at, rule, .. } => {
                let advice = format!("the file contradicts itself or the format; fetch or build it anew ({rule})");
                (Some(at.to_string()), advice)
            }
            ErrorKind::Policy { what, reason, .. } if what == "PT_GNU_STACK" => {
                (None, format!("{reason}; this is dlscope's policy, and glibc's since 2.41"))
            }
            ErrorKind::Policy { reason, .. } => (None, format!("{reason}; this is dlscope's policy")),
            ErrorKind::Relocation { rule, .. } => (None, format!("it cannot be loaded as it was linked: {rule}")),
            ErrorKind::System { .. } => (None, "the kernel refused it; see its manual page for this error".into()),
            _ => (None, text.lines().skip(1).map(str::trim).collect::<Vec<_>>().join("; ")),
        };
        LoaderWords { message, place, advice }
    }

    /// The message and the place.
    pub fn in_full(&self) -> String {
        self.place.as_ref().map_or_else(|| self.message.clone(), |place| format!("{}, {place}", self.message))
    }
}

impl Problem {
    /// The folder in which the library lies that is missing, if the loader does not look there.
    pub fn folder_elsewhere(&self) -> Option<PathBuf> {
        match &self.kind {
            ProblemKind::NotFound { library, obstacle: None, lies_in, .. } if !library.contains('/') => {
                lies_in.first()?.parent().map(Path::to_path_buf)
            }
            _ => None,
        }
    }
}

/// Everything from which the problems are derived.
pub struct Evidence<'e> {
    pub asked: &'e str,
    pub events: &'e [Event],
    pub graph: &'e Graph,
    pub exports: &'e Exports,
    pub machine: &'e Machine,
    /// The program that is meant to load the library.
    pub host: &'e Host,
}

/// All problems of the load.
pub fn all(evidence: &Evidence<'_>) -> Vec<Problem> {
    let mut problems: Vec<Problem> = Vec::new();
    let mut undefined: Vec<(&Tag, &Arc<Error>)> = Vec::new();
    // The name that was searched last, and for whom.
    let mut searched: Option<(&str, Option<&Tag>)> = None;
    for event in evidence.events {
        let error = match &event.kind {
            Kind::Fault { error } => error,
            Kind::Search { name, needed_by } => {
                searched = Some((name, needed_by.as_ref()));
                continue;
            }
            _ => continue,
        };
        let object = event.object.as_ref();
        match (&error.kind, object) {
            (ErrorKind::UndefinedSymbol { .. }, Some(object)) => undefined.push((object, error)),
            _ => {
                let library = searched.filter(|(_, by)| *by == object).map(|(name, _)| name);
                problems.extend(evidence.problem(object, error, library));
            }
        }
    }
    for node in evidence.graph.nodes.iter().filter(|node| node.android_relocations) {
        if problems.iter().any(|problem| *problem.object == *node.tag.name) {
            continue;
        }
        problems.push(Problem { object: node.tag.name.to_string(), kind: ProblemKind::AndroidRelocations });
    }
    evidence.damaged(&mut problems);
    problems.extend(evidence.late_runtime());
    evidence.other_libc(&mut problems);
    evidence.symbols(&undefined, &mut problems);
    problems
}

impl Evidence<'_> {
    /// Whether the program that is meant to load the library has what is missing, so that nothing is searched there.
    fn is_in_host(&self, user: Option<&Tag>, error: &Error, searched: Option<&str>) -> bool {
        let library = |name: &str| self.host.libraries.get(name);
        match &error.kind {
            _ if user.is_none() => false,
            ErrorKind::NotFound { .. } => library(&error.object).is_some(),
            ErrorKind::MissingVersion { version, provider, .. } => {
                library(provider).is_some_and(|path| offers(&path_of(path), version))
            }
            _ => error.stage <= Stage::Needed && searched.is_some_and(|name| library(name).is_some()),
        }
    }

    /// The problem behind a fault. `searched` is the name for which the loader was searching.
    fn problem(&self, object: Option<&Tag>, error: &Error, searched: Option<&str>) -> Option<Problem> {
        if self.is_in_host(object, error, searched) {
            return None;
        }
        let label = object.map_or(self.asked, |tag| &*tag.name).to_string();
        let kind = match &error.kind {
            ErrorKind::NotFound { errno, .. } => self.not_found(object, &error.object, &format!("{errno:?}")),
            ErrorKind::MissingVersion { version, provider, path, offered, .. } => ProblemKind::Version {
                version: version.clone(),
                library: provider.clone(),
                path: path.clone(),
                offered: offered.split(", ").filter(|v| *v != "none").map(Into::into).collect(),
                wanted: names_wanted(&path_of(&label), version),
                lies_in: self.machine.offering(provider, version),
                found_by: self.graph.nodes.iter().find(|n| *n.tag.name == **path).and_then(|n| n.found_by.clone()),
            },
            ErrorKind::StaticTls { asked, align, left, size, why } => {
                ProblemKind::StaticTls { asked: *asked, align: *align, left: *left, size: *size, reason: why.clone() }
            }
            kind if is_unfit(kind) => return Some(self.unfit(object, error)),
            _ if error.stage <= Stage::Needed => self.unsuitable(object, error, searched),
            ErrorKind::Malformed { field, found, .. } if field == "DT_VERNEED: vn_file" => {
                let lies_in = self.machine.files_named(found);
                ProblemKind::NoLongerNeeded { library: found.clone(), lies_in }
            }
            kind => ProblemKind::Other(LoaderWords::of(kind)),
        };
        Some(Problem { object: label, kind })
    }
}

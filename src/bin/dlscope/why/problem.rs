//! Problems: the faults of the load, put together where one is the consequence of another.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use dlscope::event::{Event, Kind, Rule, Stage, Tag};
use dlscope::{ErrorKind, Refusal as Error};
use serde::Serialize;

use super::graph::Graph;
use super::machine::{Machine, defines, file_of_version, names_wanted};
use super::paths;
use super::symbols::{Exports, Missing, find_nearest};
use crate::compare::file::ElfFile;
use crate::page::short;

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
        /// The error of the kernel.
        errno: String,
        /// Files of that name in folders that the loader does not search.
        lies_in: Vec<PathBuf>,
        /// Mistakes in the paths that should lead to such a folder.
        mistakes: Vec<String>,
        /// That folder as one would write it in the `DT_RUNPATH` of the library that needs it.
        #[serde(skip)]
        written: Option<String>,
        /// Files that may be other versions of the library.
        other_versions: Vec<PathBuf>,
        /// Libraries with similar names.
        spelt_alike: Vec<String>,
        /// Symbols that are undefined without the library.
        without_it: Vec<String>,
    },
    /// A file was found, and the loader refuses it.
    Unsuitable { library: String, path: String, reason: Refusal, without_it: Vec<String> },
    /// A dependency does not define a version.
    Version {
        version: String,
        library: String,
        path: String,
        offered: Vec<String>,
        /// The symbols that the object needs in that version.
        wanted: Vec<String>,
        /// Files of that library that define the version, in folders that the loader does not search.
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
    /// Any other fault, in the loader's words.
    Other(LoaderWords),
}

/// Why the loader refuses a file.
#[derive(Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Refusal {
    /// It is a 32-bit library.
    Class32,
    /// It is for another processor: its `e_machine`.
    Machine(String),
    /// It is a linker script; the libraries that it names.
    LinkerScript(Vec<String>),
    /// It is no ELF file.
    NotElf,
    /// It is a program.
    Program,
    /// It is a folder.
    Folder,
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
            ErrorKind::Policy { reason, .. } => {
                (None, format!("{reason}; this is dlscope's policy, and the system's loader may take it"))
            }
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

/// Everything from which the problems are derived.
pub struct Evidence<'e> {
    pub asked: &'e str,
    pub events: &'e [Event],
    pub graph: &'e Graph,
    pub exports: &'e Exports,
    pub machine: &'e Machine,
}

/// All problems of the load.
pub fn all(evidence: &Evidence<'_>) -> Vec<Problem> {
    let faults = evidence.events.iter().filter_map(|event| match &event.kind {
        Kind::Fault { error } => Some((event.object.as_ref(), error)),
        _ => None,
    });
    let mut problems: Vec<Problem> = Vec::new();
    let mut undefined: Vec<(&Tag, &Arc<Error>)> = Vec::new();
    for (object, error) in faults {
        match (&error.kind, object) {
            (ErrorKind::UndefinedSymbol { .. }, Some(object)) => undefined.push((object, error)),
            _ => problems.extend(evidence.problem(object, error)),
        }
    }
    evidence.symbols(&undefined, &mut problems);
    problems
}

impl Evidence<'_> {
    fn problem(&self, object: Option<&Tag>, error: &Error) -> Option<Problem> {
        let label = object.map_or(self.asked, |tag| &*tag.name).to_string();
        let kind = match &error.kind {
            ErrorKind::NotFound { errno, .. } => self.not_found(object, &error.object, &format!("{errno:?}")),
            ErrorKind::MissingVersion { version, provider, path, offered, .. } => ProblemKind::Version {
                version: version.clone(),
                library: provider.clone(),
                path: path.clone(),
                offered: offered.split(", ").filter(|v| *v != "none").map(Into::into).collect(),
                wanted: names_wanted(Path::new(&label), version),
                lies_in: self.machine.offering(provider, version),
                found_by: self.graph.nodes.iter().find(|n| *n.tag.name == **path).and_then(|n| n.found_by.clone()),
            },
            ErrorKind::StaticTls { asked, align, left, size, why } => {
                ProblemKind::StaticTls { asked: *asked, align: *align, left: *left, size: *size, reason: why.clone() }
            }
            _ if error.stage <= Stage::Needed => self.unsuitable(object, error),
            kind => ProblemKind::Other(LoaderWords::of(kind)),
        };
        Some(Problem { object: label, kind })
    }

    fn not_found(&self, user: Option<&Tag>, library: &str, errno: &str) -> ProblemKind {
        let user = user.and_then(|tag| self.graph.node(tag.id));
        let name = short(library);
        let mut lies_in = self.machine.files_named(name);
        lies_in.retain(|path| ElfFile::open(path).is_some());
        let mistakes = user.map_or(Vec::new(), |user| paths::mistakes(user, library, &lies_in, self.graph));
        let written = user.zip(lies_in.first()).map(|(user, file)| paths::from_origin(user, file));
        let nowhere = lies_in.is_empty();
        let other_versions = if nowhere { self.machine.named_alike(name) } else { Vec::new() };
        let is_typed = nowhere && user.is_none() && other_versions.is_empty();
        let spelt_alike = if is_typed { self.machine.spelt_alike(name) } else { Vec::new() };
        let (library, errno) = (library.into(), errno.into());
        ProblemKind::NotFound {
            library,
            errno,
            lies_in,
            mistakes,
            written,
            other_versions,
            spelt_alike,
            without_it: Vec::new(),
        }
    }

    /// The problem of a file that was found, as the opened library or as a dependency.
    fn unsuitable(&self, user: Option<&Tag>, error: &Error) -> ProblemKind {
        let needs = user.and_then(|tag| self.graph.node(tag.id)).map(|node| &node.needs);
        // The dependency whose search came to this file.
        let of_file = |search: &super::graph::Search| search.tried.iter().any(|t| *t.path == error.object);
        let need = needs.and_then(|needs| needs.iter().find(|n| n.search.as_ref().is_some_and(of_file)));
        let library = need.map_or_else(|| short(self.asked), |need| &need.name);
        let reason = match &error.kind {
            ErrorKind::Unsuitable { field, .. } if field == "e_ident[EI_CLASS]" => Refusal::Class32,
            ErrorKind::Unsuitable { field, found, .. } if field == "e_machine" => Refusal::Machine(found.clone()),
            ErrorKind::Unsuitable { field, .. } if field == "DT_FLAGS_1" => Refusal::Program,
            ErrorKind::Unsuitable { field, .. } if field == "e_ident magic" => not_elf(Path::new(&error.object)),
            ErrorKind::System { errno: nix::errno::Errno::EISDIR, .. } => Refusal::Folder,
            kind => Refusal::Other(LoaderWords::of(kind)),
        };
        ProblemKind::Unsuitable { library: library.into(), path: error.object.clone(), reason, without_it: Vec::new() }
    }

    /// Adds the undefined symbols: to a problem that explains them, else as a new problem for each object.
    fn symbols(&self, undefined: &[(&Tag, &Arc<Error>)], problems: &mut Vec<Problem>) {
        let mut own: Vec<(&Tag, Vec<Missing>)> = Vec::new();
        for (object, error) in undefined {
            let ErrorKind::UndefinedSymbol { symbol, version, wanted_by, .. } = &error.kind else { continue };
            if self.is_consequence(object, symbol, version.as_deref(), problems) {
                continue;
            }
            if own.last().is_none_or(|(last, _)| last != object) {
                own.push((object, Vec::new()));
            }
            let Some((_, missing)) = own.last_mut() else { continue };
            let called = wanted_by.contains("R_X86_64_JUMP_SLOT");
            match missing.iter_mut().find(|m| m.name == *symbol && m.version == *version) {
                Some(known) => known.only_called &= called,
                None => missing.push(Missing::new(symbol, version.as_deref(), called)),
            }
        }
        let known: Vec<&str> = self.graph.nodes.iter().map(|node| &*node.tag.name).collect();
        let mut missing: Vec<&mut Missing> = own.iter_mut().flat_map(|(_, missing)| missing).collect();
        find_nearest(&mut missing, self.exports, &known, self.machine);
        problems.extend(own.into_iter().map(|(object, symbols)| {
            let bind_now = self.graph.node(object.id).is_some_and(|node| node.bind_now);
            Problem { object: object.name.to_string(), kind: ProblemKind::Symbols { symbols, bind_now } }
        }));
    }

    /// Whether the symbol is missing because a library is missing, refused or too old. If so, adds it to that problem.
    fn is_consequence(&self, user: &Tag, symbol: &str, version: Option<&str>, problems: &mut [Problem]) -> bool {
        let file = version.and_then(|version| file_of_version(Path::new(&*user.name), version));
        let needs = self.graph.node(user.id).map_or(&[][..], |node| &node.needs);
        let mut later: Option<&mut Vec<String>> = None;
        for problem in problems {
            let (library, without_it) = match &mut problem.kind {
                ProblemKind::Version { version: missing, .. } if Some(missing.as_str()) == version => return true,
                ProblemKind::NotFound { library, lies_in, without_it, .. } => {
                    // If there is a file of the library, only the symbols that it defines are consequences.
                    if lies_in.first().is_some_and(|path| !defines(path, symbol)) {
                        continue;
                    }
                    (library, without_it)
                }
                ProblemKind::Unsuitable { library, without_it, .. } => (library, without_it),
                _ => continue,
            };
            let needs_it = needs.iter().any(|need| need.name == *library);
            match &file {
                Some(file) if file == library => {
                    note(without_it, symbol);
                    return true;
                }
                Some(_) => {}
                None if needs_it => {
                    note(without_it, symbol);
                    return true;
                }
                None => later = later.or(Some(without_it)),
            }
        }
        // Another object's dependency is missing, which may have defined the symbol.
        let is_later = later.is_some();
        later.into_iter().for_each(|without_it| note(without_it, symbol));
        is_later
    }
}

/// Tells a linker script, such as `/usr/lib/…/libc.so`, from other files that are no ELF files.
fn not_elf(path: &Path) -> Refusal {
    let Ok(text) = std::fs::read_to_string(path) else { return Refusal::NotElf };
    let is_script = ["GROUP", "INPUT", "OUTPUT_FORMAT"].iter().any(|word| text.contains(word));
    let words = text.split(|c: char| c.is_whitespace() || "(),".contains(c));
    let mut names: Vec<String> = words.filter(|word| word.contains(".so")).map(Into::into).collect();
    names.dedup();
    if is_script { Refusal::LinkerScript(names) } else { Refusal::NotElf }
}

fn note(names: &mut Vec<String>, name: &str) {
    if !names.iter().any(|known| known == name) {
        names.push(name.into());
    }
}

//! Problems: the faults of the load, put together where one is the consequence of another.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use dlscope::event::{Event, Kind, Outcome, Rule, Stage, Tag, VersionOutcome};
use dlscope::{ErrorKind, Refusal as Error};
use serde::Serialize;

use super::content::Content;
use super::graph::{Attempt, Graph};
use super::machine::{DEFAULT_FOLDERS, Machine, defines, file_of_version, names_wanted};
use super::paths;
use super::surprises::Surprises;
use super::symbols::{Exports, Missing, find_nearest};
use super::symtab::{thread_locals, wants_static_tls};
use super::system::{SystemSays, noexec_mount};
use crate::bytes::{path_of, shown_path, shown_paths};
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
    /// The symbols of the program that is meant to load the library.
    pub host: &'e HashSet<String>,
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
    problems.extend(evidence.late_runtime());
    evidence.other_libc(&mut problems);
    evidence.symbols(&undefined, &mut problems);
    problems
}

/// The problem that only the system's loader has with a library.
pub fn of_system(evidence: &Evidence<'_>, surprises: &Surprises, says: &SystemSays) -> Problem {
    let message = says.message.clone().unwrap_or_default();
    let node_of = |short: &str| evidence.graph.nodes.iter().find(|node| node.tag.short() == short);
    let cause = if message.contains("static TLS block") {
        let whose = message.split(':').next().map(short).and_then(node_of).or(evidence.graph.root());
        let users: Vec<_> = surprises.static_tls.iter().collect();
        let largest = users.iter().max_by_key(|user| user.bytes).and_then(|user| node_of(&user.object));
        whose.filter(|node| wants_static_tls(&path_of(&node.tag.name))).or(largest).map(|node| SystemCause::StaticTls {
            object: node.tag.name.to_string(),
            variables: thread_locals(&path_of(&node.tag.name)),
            bytes: users.iter().map(|user| user.bytes).sum(),
        })
    } else if message.contains("_dl_name_match_p") {
        evidence.events.iter().find_map(|event| match &event.kind {
            Kind::Version { version, provider, outcome: VersionOutcome::ProviderHasNone } => {
                let library = provider.short().to_string();
                Some(SystemCause::NoVersions {
                    lies_in: evidence.machine.offering(&library, version),
                    library,
                    path: provider.name.to_string(),
                    version: version.clone(),
                })
            }
            _ => None,
        })
    } else {
        None
    };
    let object = match &cause {
        Some(SystemCause::StaticTls { object, .. }) => object.clone(),
        _ => evidence.graph.root().map_or(evidence.asked.into(), |root| root.tag.name.to_string()),
    };
    Problem { object, kind: ProblemKind::System { message, cause } }
}

impl Evidence<'_> {
    /// The problem behind a fault. `searched` is the name for which the loader was searching.
    fn problem(&self, object: Option<&Tag>, error: &Error, searched: Option<&str>) -> Option<Problem> {
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
            _ if error.stage <= Stage::Needed => self.unsuitable(object, error, searched),
            ErrorKind::Malformed { field, found, .. } if field == "DT_VERNEED: vn_file" => {
                let lies_in = self.machine.files_named(found);
                ProblemKind::NoLongerNeeded { library: found.clone(), lies_in }
            }
            kind => ProblemKind::Other(LoaderWords::of(kind)),
        };
        Some(Problem { object: label, kind })
    }

    fn not_found(&self, user: Option<&Tag>, library: &str, errno: &str) -> ProblemKind {
        let user = user.and_then(|tag| self.graph.node(tag.id));
        let name = short(library);
        let search = match user {
            Some(user) => user.needs.iter().find(|need| need.name == *library).and_then(|need| need.search.as_ref()),
            None => self.graph.asked.as_ref(),
        };
        let search = search.or_else(|| self.graph.searches().find(|search| search.name == *library));
        let tried = search.map_or(&[][..], |search| &search.tried);
        let obstacle = tried.iter().filter(|attempt| !attempt.path.contains("/glibc-hwcaps")).find_map(obstacle);
        let paths = search.iter().flat_map(|search| &search.tried).map(|attempt| path_of(&attempt.path));
        let searched: Vec<PathBuf> = paths.filter_map(|path| path.parent()?.canonicalize().ok()).collect();
        let mut other_names = self.machine.with_soname(name);
        other_names.sort_by_key(|path| !path.parent().is_some_and(|folder| searched.iter().any(|s| s == folder)));
        let mut lies_in = self.machine.files_named(name);
        lies_in.retain(|path| ElfFile::open(path).is_some());
        let of_paths = user.filter(|_| !library.contains('/') && obstacle.is_none());
        let mut mistakes = of_paths.map_or(Vec::new(), |user| paths::mistakes(user, library, &lies_in, self.graph));
        let in_default = |path: &PathBuf| path.parent().is_some_and(is_default_folder);
        if let Some(user) = user.filter(|user| user.no_default_dirs && lies_in.iter().any(in_default)) {
            mistakes.insert(0, format!(
                "{} was linked with -z nodefaultlib (DF_1_NODEFLIB in its DT_FLAGS_1): for what it needs the loader searches \
                 no default folder, and takes nothing from one by /etc/ld.so.cache",
                user.tag.short()
            ));
        }
        let written =
            user.zip(lies_in.first().or(other_names.first())).map(|(user, file)| paths::from_origin(user, file));
        let nowhere = lies_in.is_empty() && other_names.is_empty() && obstacle.is_none();
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
            other_names,
            obstacle,
            searched,
            spelt_alike,
            without_it: Vec::new(),
        }
    }

    /// The problem of a file that was found, as the opened library or as a dependency.
    fn unsuitable(&self, user: Option<&Tag>, error: &Error, searched: Option<&str>) -> ProblemKind {
        let needs = user.and_then(|tag| self.graph.node(tag.id)).map(|node| &node.needs);
        // The dependency whose search came to this file.
        let of_file = |search: &super::graph::Search| search.tried.iter().any(|t| *t.path == error.object);
        let need = needs.and_then(|needs| needs.iter().find(|n| n.search.as_ref().is_some_and(of_file)));
        let library = match (searched, need) {
            (Some(name), _) if user.is_some() => name,
            (_, Some(need)) => &need.name,
            _ => short(self.asked),
        };
        let path = &path_of(&error.object);
        let reason = match &error.kind {
            ErrorKind::Unsuitable { field, .. } if field == "e_ident[EI_CLASS]" => Refusal::Class32,
            ErrorKind::Unsuitable { field, found, .. } if field == "e_machine" => Refusal::Machine(found.clone()),
            ErrorKind::Unsuitable { field, .. } if field == "DT_FLAGS_1" => Refusal::Program,
            ErrorKind::Unsuitable { field, .. } if field == "e_ident magic" => Refusal::Content(Content::of(path)),
            ErrorKind::Unsuitable { field, found, .. } if field == "e_type" && found.starts_with("EXEC") => {
                Refusal::Program
            }
            ErrorKind::Unsuitable { field, found, .. } if field == "e_type" && found.starts_with("REL") => {
                Refusal::ObjectFile
            }
            ErrorKind::System { errno: nix::errno::Errno::EPERM | nix::errno::Errno::EACCES, .. }
                if let Some(mount) = noexec_mount(path) =>
            {
                Refusal::NoExec(mount)
            }
            ErrorKind::Malformed { rule, .. } if rule.starts_with("the file is damaged or cut") => {
                Refusal::Short(std::fs::metadata(path).map_or(0, |file| file.len()))
            }
            ErrorKind::System { errno: nix::errno::Errno::EISDIR, .. } => Refusal::Folder,
            kind => Refusal::Other(LoaderWords::of(kind)),
        };
        ProblemKind::Unsuitable { library: library.into(), path: error.object.clone(), reason, without_it: Vec::new() }
    }

    /// The runtime of a sanitizer that this load would bring.
    fn late_runtime(&self) -> Option<Problem> {
        const RUNTIMES: [(&str, &str); 2] = [("libasan.so", "address"), ("libhwasan.so", "hwaddress")];
        let root = self.graph.root()?;
        let of_node = |node: &super::graph::Node| {
            let (runtime, option) = RUNTIMES.into_iter().find(|(name, _)| node.tag.short().starts_with(name))?;
            let library = node.tag.short().to_string();
            let user =
                self.graph.nodes.iter().find(|user| user.needs.iter().any(|need| need.name == library)).unwrap_or(root);
            let cause = Some(SystemCause::LateRuntime { library, option, runtime });
            Some(Problem {
                object: user.tag.name.to_string(),
                kind: ProblemKind::System { message: String::new(), cause },
            })
        };
        self.graph.nodes.iter().filter(|node| !node.of_host).find_map(of_node)
    }

    /// Says of objects that need the C library of another system, that it is this which is wrong with them.
    fn other_libc(&self, problems: &mut Vec<Problem>) {
        let mut known: Vec<String> = Vec::new();
        problems.retain_mut(|problem| {
            let (ProblemKind::NotFound { library, .. } | ProblemKind::Unsuitable { library, .. }) = &problem.kind
            else {
                return true;
            };
            let Some(user) = self.graph.nodes.iter().find(|node| *node.tag.name == *problem.object) else {
                return true;
            };
            let Some(libc) = other_libc(library, &user.needs) else { return true };
            let is_new = !known.contains(&problem.object);
            known.push(problem.object.clone());
            problem.kind = ProblemKind::OtherLibc { libc, library: library.clone(), without_it: Vec::new() };
            is_new
        });
    }

    /// Adds the undefined symbols: to a problem that explains them, else as a new problem for each object.
    fn symbols(&self, undefined: &[(&Tag, &Arc<Error>)], problems: &mut Vec<Problem>) {
        let mut own: Vec<(&Tag, Vec<Missing>)> = Vec::new();
        for (object, error) in undefined {
            let ErrorKind::UndefinedSymbol { symbol, version, wanted_by, .. } = &error.kind else { continue };
            if self.host.contains(symbol) || self.is_consequence(object, symbol, version.as_deref(), problems) {
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
        let file = version.and_then(|version| file_of_version(&path_of(&user.name), version));
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
                ProblemKind::Unsuitable { library, without_it, .. }
                | ProblemKind::OtherLibc { library, without_it, .. } => (library, without_it),
                // Its symbols are undefined since it is not needed.
                ProblemKind::NoLongerNeeded { library, .. } if file.as_ref() == Some(library) => return true,
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

/// What is in the way at a path that was tried in vain.
fn obstacle(attempt: &Attempt) -> Option<Obstacle> {
    let Outcome::Missing(errno) = &attempt.outcome else { return None };
    let path = path_of(&attempt.path);
    match errno.as_str() {
        "ENOENT" | "ENOTDIR" => {
            let to = std::fs::read_link(&path).ok()?;
            Some(Obstacle::Dangling { link: path, to })
        }
        "ELOOP" => Some(Obstacle::Loop { link: path }),
        "EACCES" => {
            use nix::unistd::{AccessFlags, access};
            let whole = std::path::absolute(&path).unwrap_or(path);
            // What is behind a link is what counts.
            let whole = whole.canonicalize().unwrap_or(whole);
            let mut folders: Vec<&Path> = whole.ancestors().skip(1).collect();
            folders.reverse();
            let closed = folders.into_iter().find(|folder| access(*folder, AccessFlags::X_OK).is_err());
            let (path, is_folder) = closed.map_or((whole.as_path(), false), |folder| (folder, true));
            Some(Obstacle::Forbidden { path: path.into(), is_folder })
        }
        _ => Some(Obstacle::Other { path, errno: errno.clone() }),
    }
}

fn is_default_folder(folder: &Path) -> bool {
    DEFAULT_FOLDERS.iter().any(|default| Path::new(default).canonicalize().is_ok_and(|default| default == folder))
}

/// The C library of other systems that goes by this name there.
fn other_libc(library: &str, needs: &[super::graph::Need]) -> Option<OtherLibc> {
    let needs_one_of = |names: &[&str]| needs.iter().any(|need| names.contains(&need.name.as_str()));
    match short(library) {
        name if name.starts_with("libc.musl-") || name.starts_with("ld-musl-") => Some(OtherLibc::Musl),
        "libc.so" if needs_one_of(&["libdl.so", "libm.so", "liblog.so", "libandroid.so"]) => Some(OtherLibc::Bionic),
        "libc.so" => Some(OtherLibc::Musl),
        "liblog.so" | "libandroid.so" => Some(OtherLibc::Bionic),
        "libc.so.7" => Some(OtherLibc::FreeBsd),
        _ => None,
    }
}

fn note(names: &mut Vec<String>, name: &str) {
    if !names.iter().any(|known| known == name) {
        names.push(name.into());
    }
}

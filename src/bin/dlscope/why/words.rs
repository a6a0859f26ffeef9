//! Problems in words: what is wrong.

use std::path::{Path, PathBuf};

use super::content::Content;
use super::machine::name_of;
use super::problem::{Obstacle, OtherLibc, Problem, ProblemKind, Refusal, SystemCause};
use super::symbols::{Missing, Nearest};
use super::symtab::Hidden;
use crate::bytes::shown;
use crate::demangle::explained;
use crate::page::{count, few, short, thousands};

impl Problem {
    /// The name of the object that has the problem, without its path.
    pub fn whose(&self) -> &str {
        short(&self.object)
    }

    /// The problem in a clause behind "cannot be loaded:". `root` is the library that was opened, as the problems name it.
    pub fn clause(&self, root: &str) -> String {
        let it = if self.object == root { "it".into() } else { format!("{}, which it needs,", self.whose()) };
        match &self.kind {
            ProblemKind::NotFound { library, is_asked, obstacle: Some(obstacle), .. } => {
                let needs = if *is_asked { String::new() } else { format!("{it} needs {library}, and ") };
                format!("{needs}{}", obstacle.clause())
            }
            ProblemKind::NotFound { library, is_asked: true, errno, lies_in, .. } => {
                match (errno.as_str(), lies_in.is_empty()) {
                    ("ENOENT" | "ENOTDIR", _) if library.contains('/') => "there is no such file".into(),
                    ("ENOENT" | "ENOTDIR", true) => "no file of that name is in any folder that is searched".into(),
                    ("ENOENT" | "ENOTDIR", false) => "it lies in a folder that is not searched".into(),
                    _ => format!("the file cannot be opened ({errno})"),
                }
            }
            // A needed name with a '/' is a path.
            ProblemKind::NotFound { library, .. } if library.contains('/') => {
                format!("{it} needs {library}, a path, and there is no such file")
            }
            ProblemKind::NotFound { library, lies_in, other_names, searched, .. }
                if lies_in.is_empty() && !other_names.is_empty() =>
            {
                let path = &other_names[0];
                match is_in(path, searched) {
                    true => {
                        format!("{it} needs {library}, which is there as {}, without a link of that name", shown(path))
                    }
                    false => format!(
                        "{it} needs {library}, which lies in {} under the name {}, where the loader does not look for it",
                        folder(path),
                        name_of(path)
                    ),
                }
            }
            ProblemKind::NotFound { library, errno, lies_in, .. } => match (errno.as_str(), lies_in.first()) {
                (_, Some(path)) => {
                    format!(
                        "{it} needs {library}, which lies in {}, where the loader does not look for it",
                        folder(path)
                    )
                }
                ("ENOENT" | "ENOTDIR", None) => format!("{it} needs {library}, which cannot be found"),
                _ => format!("{it} needs {library}, which cannot be opened ({errno})"),
            },
            ProblemKind::Unsuitable { library, is_asked, reason, .. } => {
                let who = if *is_asked {
                    "it".into()
                } else if it == "it" {
                    format!("{library}, which it needs,")
                } else {
                    format!("{library}, which {} needs,", self.whose())
                };
                match reason {
                    Refusal::Other(told) if who == "it" => told.message.clone(),
                    reason => format!("{who} {}", reason.clause()),
                }
            }
            ProblemKind::Version { version, library, offered, .. } => {
                let offer = offer(version, offered);
                format!("{it} needs version {version} of {library}, and the one found offers {offer}")
            }
            ProblemKind::Symbols { symbols, .. } => {
                let verb = if symbols.iter().all(|symbol| symbol.only_called) { "calls" } else { "uses" };
                match &symbols[..] {
                    [one] => format!("{it} {verb} {}, which no loaded library defines", one.shown()),
                    several => {
                        let names = few(several.iter().map(Missing::in_source), 3);
                        format!("{it} {verb} {} that no loaded library defines: {names}", symbols_of(several.len()))
                    }
                }
            }
            ProblemKind::StaticTls { asked, left, .. } => format!(
                "the thread-local variables of {} need {} in the static TLS of every thread, and {} left",
                if it == "it" { "this library" } else { self.whose() },
                count(*asked, "byte"),
                match left {
                    1 => "1 is".into(),
                    left => format!("{} are", thousands(*left)),
                },
            ),
            ProblemKind::OtherLibc { libc, library, .. } => {
                format!("{it} was built for {}, and this process has glibc: it needs {library}", libc.name())
            }
            ProblemKind::NoLongerNeeded { library, .. } => format!(
                "{it} was linked with versions of {library}, and nothing in it says that it needs {library} (any more)"
            ),
            ProblemKind::TooOldGlibc { glibc, version, symbols } => {
                let names = few(symbols.iter().cloned(), 3);
                let names = if symbols.is_empty() { String::new() } else { format!(" ({names})") };
                format!("{it} needs {version}{names}, and glibc {glibc} does not have that")
            }
            ProblemKind::PrivateGlibc { glibc, symbols } => format!(
                "{it} needs {} in version GLIBC_PRIVATE, which the parts of one glibc have for each other, and glibc {glibc} \
                 may not have it",
                if symbols.is_empty() { "something".into() } else { few(symbols.iter().cloned(), 3) }
            ),
            ProblemKind::AndroidRelocations => format!(
                "{it} has its relocations packed as only Android's loader reads them, so its pointers would stay wrong"
            ),
            ProblemKind::System { cause: Some(SystemCause::StaticTls { .. }), message } => {
                format!("dlscope has room for its thread-local variables, and the system's dlopen has not: {message}")
            }
            ProblemKind::System { cause: Some(SystemCause::NoVersions { library, version, .. }), .. } => format!(
                "it needs version {version} of {library}, the one found has no versions at all, and the system's loader \
                 ends the process over that"
            ),
            ProblemKind::System { cause: Some(SystemCause::LateRuntime { library, .. }), .. } => format!(
                "{it} needs {library}, which must be in the program from its start, and ends a process that loads it later"
            ),
            ProblemKind::System { message, .. } => {
                format!("dlscope would load it, and the system's loader does not: {message}")
            }
            ProblemKind::Other(told) => {
                let line = &told.message;
                format!("{}{line}", if it == "it" { String::new() } else { format!("in {}: ", self.whose()) })
            }
        }
    }

    /// The problem in a few words, which stand behind the object in the tree.
    pub fn mark(&self) -> String {
        match &self.kind {
            ProblemKind::NotFound { obstacle: Some(obstacle), .. } => obstacle.mark().into(),
            ProblemKind::NotFound { errno, .. } if errno != "ENOENT" => format!("cannot be opened ({errno})"),
            ProblemKind::NotFound { .. } => "not found".into(),
            ProblemKind::Unsuitable { reason: Refusal::Other(_), .. } => "cannot be used".into(),
            ProblemKind::Unsuitable { reason, .. } => reason.clause(),
            ProblemKind::Version { version, .. } => format!("no version {version}"),
            ProblemKind::Symbols { symbols, .. } => format!("{} undefined", symbols_of(symbols.len())),
            ProblemKind::StaticTls { .. } => "no room for its thread-local variables".into(),
            ProblemKind::OtherLibc { libc, .. } => format!("is for {}", libc.name()),
            ProblemKind::NoLongerNeeded { library, .. } => format!("does not need {library}"),
            ProblemKind::TooOldGlibc { version, .. } => format!("needs {version}"),
            ProblemKind::PrivateGlibc { .. } => "needs GLIBC_PRIVATE".into(),
            ProblemKind::AndroidRelocations => "Android's relocations".into(),
            ProblemKind::System { .. } => "not for the system's loader".into(),
            ProblemKind::Other(_) => "cannot be used".into(),
        }
    }
}

impl Refusal {
    /// The reason, behind the name of the file.
    pub fn clause(&self) -> String {
        match self {
            Refusal::Class32 => "is a 32-bit library, and this process is a 64-bit one".into(),
            Refusal::Machine(machine) => {
                let name = machine.split(' ').next().unwrap_or(machine);
                format!("was built for another processor ({name}, not X86_64)")
            }
            Refusal::Content(content) => content.clause(),
            Refusal::ObjectFile => "is an object file, which is still to be linked into a library".into(),
            Refusal::NoExec(mount) => format!(
                "lies on a file system that is mounted noexec ({}), from which no code may be mapped",
                shown(mount)
            ),
            Refusal::Short(length) => format!("is cut off or damaged: it ends after {}", count(*length, "byte")),
            Refusal::NoSymbols(0) => "is damaged: where its dynamic section should be, there are only zeros".into(),
            Refusal::NoSymbols(_) => "is damaged: its dynamic section names no table of symbols".into(),
            Refusal::Program => "is a program, not a library".into(),
            Refusal::NoOpen => "must be there when the program starts, and cannot be loaded later (DF_1_NOOPEN)".into(),
            Refusal::Folder => "is a folder".into(),
            Refusal::OtherLibc(libc) => format!("was built for {}, and this process has glibc", libc.name()),
            Refusal::Special(what) => format!("is {what}, and no file"),
            Refusal::Other(told) => format!("cannot be used: {}", told.message),
        }
    }

    /// The reason in full, behind "was found at …;".
    pub fn detail(&self) -> String {
        match self {
            Refusal::Class32 => "its e_ident[EI_CLASS] is ELFCLASS32 (gABI, \"ELF Header\")".into(),
            Refusal::Machine(machine) => format!("its e_machine is {machine}, not EM_X86_64 (gABI, \"ELF Header\")"),
            Refusal::Content(Content::Empty) => "it has no bytes".into(),
            Refusal::Content(_) => "it does not begin with 7f 45 4c 46 (\\x7fELF)".into(),
            Refusal::ObjectFile => "its e_type is ET_REL, not ET_DYN (gABI, \"ELF Header\")".into(),
            Refusal::NoExec(_) => "mmap with PROT_EXEC fails there (mount(8), \"noexec\")".into(),
            Refusal::NoSymbols(_) => "its PT_DYNAMIC has no DT_SYMTAB, which every library must have".into(),
            Refusal::Short(_) => "a header or table would lie behind its end".into(),
            Refusal::Program => "DF_1_PIE in its DT_FLAGS_1 says that it is a program".into(),
            Refusal::NoOpen => {
                "DF_1_NOOPEN in its DT_FLAGS_1 says that dlopen shall refuse it (linked with -z nodlopen)".into()
            }
            Refusal::Folder | Refusal::Special(_) => "a library is a file".into(),
            Refusal::OtherLibc(libc) => format!("its DT_NEEDED or DT_SONAME names the C library of {}", libc.name()),
            Refusal::Other(told) => told.in_full(),
        }
    }
}

impl Nearest {
    /// A line about the definition, below the undefined symbol.
    pub fn told(&self) -> String {
        match self {
            Nearest::OtherVersion { library, versions } => {
                format!("{library} has it in version {}", versions.join(", "))
            }
            Nearest::Hidden { library, why: Hidden::ByVisibility } => {
                format!("{library} has it, hidden: its visibility is STV_HIDDEN or STV_INTERNAL")
            }
            Nearest::NoRtti { library } => {
                format!(
                    "{library} has the class's virtual functions, and was compiled without type information (-fno-rtti)"
                )
            }
            Nearest::Hidden { library, why: Hidden::Local } => {
                format!("{library} has it, hidden: it is a local symbol there")
            }
            Nearest::OtherLibrary(provider) => {
                let version = provider.version.as_ref().map_or(String::new(), |v| format!(", version {v}"));
                format!("defined by {}{version}: {}", provider.soname, shown(&provider.path))
            }
            Nearest::OtherFile { path, .. } => format!("defined by another file of the same name: {}", shown(path)),
            Nearest::OtherParameters { library, source, .. } => format!("{library} has {source}"),
            Nearest::OtherBuild { library, name } => {
                format!("{library} has the same function of another build: {name}")
            }
            Nearest::OtherLanguage { library, name, .. } => format!("{library} has {}", explained(name)),
            Nearest::Similar { library, name } => format!("{library} has {name}"),
        }
    }
}

impl Obstacle {
    /// What is in the way, as a clause.
    fn clause(&self) -> String {
        match self {
            Obstacle::Dangling { link, to } => {
                format!("{} is a symbolic link to {}, which is not there", shown(link), shown(to))
            }
            Obstacle::Loop { link, .. } => {
                format!("{} is a symbolic link that leads back to itself (ELOOP)", shown(link))
            }
            Obstacle::Forbidden { path, is_folder: false } => {
                format!("this user has no permission to read {} (EACCES)", shown(path))
            }
            Obstacle::Forbidden { path, is_folder: true } => {
                format!("this user has no permission to enter the folder {} (EACCES)", shown(path))
            }
            Obstacle::Other { path, errno } => format!("{} cannot be opened ({errno})", shown(path)),
        }
    }

    fn mark(&self) -> &'static str {
        match self {
            Obstacle::Dangling { .. } => "a link to nothing",
            Obstacle::Loop { .. } => "a link to itself",
            Obstacle::Forbidden { .. } => "no permission",
            Obstacle::Other { .. } => "cannot be opened",
        }
    }
}

impl OtherLibc {
    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            OtherLibc::Musl => "musl",
            OtherLibc::Bionic => "Android",
            OtherLibc::FreeBsd => "FreeBSD",
        }
    }
}

/// Whether a file lies in one of these folders.
pub fn is_in(path: &Path, folders: &[PathBuf]) -> bool {
    path.parent().is_some_and(|parent| folders.iter().any(|folder| folder == parent))
}

/// The versions that a library defines, as far as they matter for `wanted`: `up to GLIBC_2.36`, `V1`, `no versions`.
pub fn offer(wanted: &str, offered: &[String]) -> String {
    let family = |version: &str| version.rsplit_once('_').map(|(family, _)| family.to_string());
    let numbers = |version: &str| -> Option<Vec<u64>> {
        let (_, number) = version.rsplit_once('_')?;
        number.split('.').map(|part| part.parse().ok()).collect()
    };
    let kin = offered.iter().filter(|version| family(version) == family(wanted) && numbers(version).is_some());
    match (kin.max_by_key(|version| numbers(version)), offered) {
        (Some(highest), _) => format!("up to {highest}"),
        (None, []) => "no versions".into(),
        (None, [one]) => one.clone(),
        (None, several) => few(several.iter().cloned(), 4),
    }
}

fn symbols_of(number: usize) -> String {
    count(number as u64, "symbol")
}

/// The folder of a file.
pub fn folder(path: &Path) -> String {
    shown(path.parent().unwrap_or(Path::new("/")))
}

//! Problems in words: what is wrong.

use std::path::Path;

use super::problem::{Problem, ProblemKind, Refusal};
use super::symbols::{Missing, Nearest};
use crate::demangle::explained;
use crate::page::{count, few, short, thousands};

impl Problem {
    /// The name of the object that has the problem, without its path.
    pub fn whose(&self) -> &str {
        short(&self.object)
    }

    /// The problem in a clause behind "cannot be loaded:". `asked` is the library that was opened.
    pub fn clause(&self, asked: &str) -> String {
        let it = if self.whose() == short(asked) { "it".into() } else { format!("{}, which it needs,", self.whose()) };
        match &self.kind {
            ProblemKind::NotFound { library, errno, lies_in, .. } if short(library) == short(asked) => {
                match (errno.as_str(), lies_in.is_empty()) {
                    ("ENOENT" | "ENOTDIR", _) if library.contains('/') => "there is no such file".into(),
                    ("ENOENT" | "ENOTDIR", true) => "no file of that name is in any folder that is searched".into(),
                    ("ENOENT" | "ENOTDIR", false) => "it lies in a folder that is not searched".into(),
                    _ => format!("the file cannot be opened ({errno})"),
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
            ProblemKind::Unsuitable { library, reason, .. } => {
                let who = if short(library) == short(asked) {
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
            ProblemKind::Other(told) => {
                let line = &told.message;
                format!("{}{line}", if it == "it" { String::new() } else { format!("in {}: ", self.whose()) })
            }
        }
    }

    /// The problem in a few words, which stand behind the object in the tree.
    pub fn mark(&self) -> String {
        match &self.kind {
            ProblemKind::NotFound { errno, .. } if errno != "ENOENT" => format!("cannot be opened ({errno})"),
            ProblemKind::NotFound { .. } => "not found".into(),
            ProblemKind::Unsuitable { reason: Refusal::Other(_), .. } => "cannot be used".into(),
            ProblemKind::Unsuitable { reason, .. } => reason.clause(),
            ProblemKind::Version { version, .. } => format!("no version {version}"),
            ProblemKind::Symbols { symbols, .. } => format!("{} undefined", symbols_of(symbols.len())),
            ProblemKind::StaticTls { .. } => "no room for its thread-local variables".into(),
            ProblemKind::Other(_) => "cannot be used".into(),
        }
    }
}

impl Refusal {
    fn clause(&self) -> String {
        match self {
            Refusal::Class32 => "is a 32-bit library, and this process is a 64-bit one".into(),
            Refusal::Machine(machine) => {
                let name = machine.split(' ').next().unwrap_or(machine);
                format!("was built for another processor ({name}, not X86_64)")
            }
            Refusal::LinkerScript(_) => "is a linker script, a text for the linker and not a library".into(),
            Refusal::NotElf => "is not an ELF file".into(),
            Refusal::Program => "is a program, not a library".into(),
            Refusal::Folder => "is a folder".into(),
            Refusal::Other(told) => format!("cannot be used: {}", told.message),
        }
    }

    /// The reason in full, behind "was found at …;".
    pub fn detail(&self) -> String {
        match self {
            Refusal::Class32 => "its e_ident[EI_CLASS] is ELFCLASS32 (gABI, \"ELF Header\")".into(),
            Refusal::Machine(machine) => format!("its e_machine is {machine}, not EM_X86_64 (gABI, \"ELF Header\")"),
            Refusal::LinkerScript(_) | Refusal::NotElf => "it does not begin with 7f 45 4c 46 (\\x7fELF)".into(),
            Refusal::Program => "DF_1_PIE in its DT_FLAGS_1 says that it is a program".into(),
            Refusal::Folder => "a library is a file".into(),
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
            Nearest::OtherLibrary(provider) => {
                let version = provider.version.as_ref().map_or(String::new(), |v| format!(", version {v}"));
                format!("defined by {}{version}: {}", provider.soname, provider.path.display())
            }
            Nearest::OtherFile { path, .. } => format!("defined by another file of the same name: {}", path.display()),
            Nearest::OtherParameters { library, source, .. } => format!("{library} has {source}"),
            Nearest::OtherBuild { library, name } => {
                format!("{library} has the same function of another build: {name}")
            }
            Nearest::OtherLanguage { library, name, .. } => format!("{library} has {}", explained(name)),
            Nearest::Similar { library, name } => format!("{library} has {name}"),
        }
    }
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
    path.parent().unwrap_or(Path::new("/")).display().to_string()
}

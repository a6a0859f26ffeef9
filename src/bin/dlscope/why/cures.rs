//! Cures: what would make the library load, a sentence or two for each problem.

use std::mem::discriminant;
use std::path::{Path, PathBuf};

use dlscope::event::Rule;

use super::problem::{Problem, ProblemKind, Refusal};
use super::symbols::{Missing, Nearest};
use super::words::{folder, offer};
use crate::demangle::demangled;
use crate::page::{count, few, short};

/// At most so many cures for undefined symbols are told for one object.
const MOST: usize = 5;

impl Problem {
    /// The cures for this problem, a paragraph each.
    pub fn cures(&self, asked: &str) -> Vec<String> {
        match &self.kind {
            ProblemKind::Symbols { symbols, .. } => self.symbol_cures(symbols),
            _ => Vec::from_iter(Some(self.cure(asked)).filter(|cure| !cure.is_empty())),
        }
    }

    fn cure(&self, asked: &str) -> String {
        match &self.kind {
            ProblemKind::NotFound { library, lies_in, written, other_versions, spelt_alike, .. } => {
                let for_itself = short(library) == short(asked);
                if let (false, Some(path), Some(written)) = (for_itself, lies_in.first(), written) {
                    return self.relink(path, written);
                }
                if let Some(path) = lies_in.first() {
                    return format!("Ask for {}, or set LD_LIBRARY_PATH={}.", path.display(), folder(path));
                }
                if let Some(path) = other_versions.first() {
                    if path.to_string_lossy().contains(&format!("{}.", short(library))) {
                        return format!(
                            "{} is the name for the linker, without a number; the library itself is {}: ask for that, \
                             or install the development package.",
                            short(library),
                            path.display()
                        );
                    }
                    let names = few(other_versions.iter().map(|path| path.display().to_string()), 3);
                    return format!(
                        "There is {names}, but another number behind .so means another interface: install the \
                         package that has {library}, or build {} anew against {}.",
                        self.whose(),
                        short(&path.to_string_lossy())
                    );
                }
                if !spelt_alike.is_empty() {
                    return format!("Is {} meant?", spelt_alike.join(", or "));
                }
                if library.contains('/') {
                    return "A name with a '/' is a path and is opened as it is, from the current directory.".into();
                }
                format!(
                    "Install the package that has {library} (Debian: apt-file search {library}), or, if it lies \
                     somewhere else, set LD_LIBRARY_PATH to its folder."
                )
            }
            ProblemKind::Unsuitable { library, path, reason, .. } => reason.cure(library, path),
            ProblemKind::Version { version, library, offered, lies_in, found_by, .. } => {
                let cure = version_cure(version, library, offered, lies_in, self.whose());
                match found_by {
                    // The loader searches DT_RPATH before LD_LIBRARY_PATH.
                    Some(Rule::Rpath(whose)) if cure.contains("LD_LIBRARY_PATH") => {
                        format!("{cure} The DT_RPATH of {whose} comes before LD_LIBRARY_PATH, so it must go, too.")
                    }
                    _ => cure,
                }
            }
            ProblemKind::Symbols { .. } => String::new(),
            ProblemKind::StaticTls { size, .. } => format!(
                "Compile {0} without -ftls-model=initial-exec (-fPIC alone, or -mtls-dialect=gnu2), so that its \
                 variables can be made when a thread first uses them; or let the program have {0} from its start: \
                 link it to the program, or LD_PRELOAD it. dlscope itself sets aside {1} a thread; \
                 DLSCOPE_TLS_ARENA changes that when it is built.",
                self.whose(),
                count(*size, "byte"),
            ),
            ProblemKind::Other(told) => sentence(&told.advice),
        }
    }

    fn relink(&self, path: &Path, written: &str) -> String {
        let user = self.whose();
        format!(
            "Link {user} with -Wl,-rpath,'{written}', or change the file: patchelf --set-rpath '{written}' {}. For one run: \
             LD_LIBRARY_PATH={}.",
            self.object,
            folder(path)
        )
    }

    fn symbol_cures(&self, symbols: &[Missing]) -> Vec<String> {
        let user = self.whose();
        // One cure for each kind of cure and library, with the first symbol that needs it; symbols without a cure come
        // last.
        let mut said = Vec::new();
        let mut cures = Vec::new();
        for (missing, nearest) in symbols.iter().filter_map(|missing| Some((missing, missing.nearest.first()?))) {
            let key = (discriminant(nearest), nearest.library());
            if said.len() < MOST && !said.contains(&key) {
                said.push(key);
                cures.push(nearest.cure(missing, user));
            }
        }
        if let Some(missing) = symbols.iter().find(|missing| missing.nearest.is_empty()) {
            cures.push(format!(
                "Nothing in the folders looked into defines {}. Link {user} with the library that does; if it is a \
                 plugin, the program that loads it may be meant to define it (linked with -rdynamic).",
                missing.shown()
            ));
        }
        cures
    }
}

impl Refusal {
    fn cure(&self, library: &str, path: &str) -> String {
        match self {
            Refusal::Class32 | Refusal::Machine(_) => format!(
                "Install the x86_64 build of {library} (Debian: the package with :amd64), or take the folder of {path} \
                 out of the way of the search; `file -L {path}` says what it is."
            ),
            Refusal::LinkerScript(names) if names.is_empty() => "Open the library that the script is about.".into(),
            Refusal::LinkerScript(names) => format!("Open the library that the script names: {}.", names.join(", ")),
            Refusal::NotElf => format!("`file {path}` says what it is. Another file of that name may be meant."),
            Refusal::Program => "Run the program instead; a process cannot load a second program.".into(),
            Refusal::Folder => format!("Name a file in the folder: {path}/lib….so."),
            Refusal::Other(told) => sentence(&told.advice),
        }
    }
}

impl Nearest {
    fn cure(&self, missing: &Missing, user: &str) -> String {
        let name = &missing.name;
        match self {
            Nearest::OtherVersion { library, versions } => format!(
                "{library} has {name}, but in version {}, not in the one {user} was linked with: install the {library} \
                 that it was linked with, or link it anew.",
                versions.join(", ")
            ),
            Nearest::OtherLibrary(provider) => format!(
                "{0} defines {1}, and {user} does not say that it needs {0}: link {user} with {2}, behind its own objects \
                 on the command line. Without a new link: LD_PRELOAD={3}. (A plugin may get it from the program that loads it.)",
                provider.soname,
                missing.shown(),
                flag(&provider.soname),
                provider.path.display()
            ),
            Nearest::OtherFile { found, path } => format!(
                "{} is another file of that name and defines {}; the one found first, {found}, does not. Take its folder \
                 out of LD_LIBRARY_PATH, or out of the path that leads there.",
                path.display(),
                missing.shown()
            ),
            Nearest::OtherParameters { library, name: theirs, source } => {
                let is_string = |mangled: &str| mangled.contains("__cxx11");
                if is_string(theirs) == is_string(name) {
                    return format!(
                        "{library} has {source}: the same function with other parameters, so {user} was compiled with \
                         another header. Compile it with the one of the {library} that is installed."
                    );
                }
                format!(
                    "{library} has {source}, with the other std::string of libstdc++: compile both with the same \
                     -D_GLIBCXX_USE_CXX11_ABI."
                )
            }
            Nearest::OtherBuild { library, .. } => format!(
                "{library} has the same Rust function from another build: Rust's own names hold for one compiler and one \
                 source only. Build both together, or give the function a name with #[unsafe(no_mangle)]."
            ),
            Nearest::OtherLanguage { library, name: theirs, wants_cpp: true } => format!(
                "{library} defines the C function {theirs}, and {user} wants a C++ one: declare it extern \"C\" where \
                 {user} is compiled."
            ),
            Nearest::OtherLanguage { library, name: theirs, wants_cpp: false } => format!(
                "{library} defines the C++ function {}, and {user} wants a C one: declare it extern \"C\" where {library} \
                 is compiled.",
                demangled(theirs).unwrap_or_default()
            ),
            Nearest::Similar { library, name: theirs } => {
                format!("{library} has {theirs}, which is spelt nearly like {name}: misspelt, or renamed since?")
            }
        }
    }
}

fn version_cure(version: &str, library: &str, offered: &[String], lies_in: &[PathBuf], user: &str) -> String {
    if let Some(path) = lies_in.first() {
        let shown = path.display();
        return format!("{shown} has it: set LD_LIBRARY_PATH={}, or link {user} with a path to it.", folder(path));
    }
    let offer = offer(version, offered);
    if version.starts_with("GLIBC_") {
        return format!(
            "{user} was built on a system with a newer C library than this one ({offer}). Build it here, or on the oldest \
             system that it shall run on; or run it on a newer system. libc itself cannot be exchanged for one library."
        );
    }
    if ["GLIBCXX_", "CXXABI_"].iter().any(|family| version.starts_with(family)) {
        return format!(
            "{user} was built with a newer GCC than this {library} belongs to. Install a newer {library} (it stays \
             compatible with older programs), or build {user} with this system's compiler."
        );
    }
    format!(
        "Install a {library} that has {version}, or set LD_LIBRARY_PATH to its folder; or build {user} anew against the one \
         that is there."
    )
}

/// The linker flag for a library: `-lm` for `libm.so.6`.
fn flag(soname: &str) -> String {
    let stem = soname.strip_prefix("lib").and_then(|rest| rest.split_once(".so")).map(|(stem, _)| stem);
    stem.map_or_else(|| soname.into(), |stem| format!("-l{stem}"))
}

/// Makes a sentence of a text: with a capital letter and a full stop.
fn sentence(text: &str) -> String {
    let mut letters = text.chars();
    let first = letters.next().map_or(String::new(), |c| c.to_uppercase().to_string());
    let end = if text.is_empty() || text.ends_with('.') { "" } else { "." };
    first + letters.as_str() + end
}

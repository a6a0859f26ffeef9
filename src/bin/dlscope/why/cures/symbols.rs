//! Symbols that nobody defines.

use std::mem::discriminant;

use super::super::machine::{Provider, name_of};
use super::super::problem::Problem;
use super::super::symbols::{Missing, Nearest};
use super::super::symtab::Hidden;
use super::Maker;
use super::shell::{in_quotes, quoted};
use crate::bytes::{path_of, shown};
use crate::demangle::{demangled, is_of_cxx11};

/// At most so many cures for undefined symbols are told for one object.
const MOST: usize = 5;

impl Maker<'_> {
    pub(super) fn symbol_cures(&mut self, problem: &Problem, symbols: &[Missing]) -> Vec<String> {
        let user = problem.whose();
        let file = self.file_of(&problem.object);
        // One cure for each kind of cure and library, with the first symbol that needs it; symbols without a cure come
        // last.
        let mut said = Vec::new();
        let mut cures = Vec::new();
        for (missing, nearest) in symbols.iter().filter_map(|missing| Some((missing, missing.nearest.first()?))) {
            let key = (discriminant(nearest), nearest.library());
            if said.len() < MOST && !said.contains(&key) {
                said.push(key);
                cures.push(match nearest {
                    Nearest::OtherLibrary(provider) => self.other_library(problem, missing, provider),
                    nearest => nearest.cure(missing, user),
                });
            }
        }
        let mut families: Vec<String> = Vec::new();
        for missing in symbols.iter().filter(|missing| missing.nearest.is_empty()) {
            let cure = missing.family.as_ref().map(|family| family.cure(user, &file));
            families.extend(cure.filter(|cure| !families.contains(cure)));
        }
        cures.extend(families.into_iter().take(MOST));
        if let Some(missing) = symbols.iter().find(|missing| missing.nearest.is_empty() && missing.family.is_none()) {
            cures.push(format!(
                "Nothing in the folders looked into defines {}. Link {user} with the library that does; if it is a \
                 plugin, the program that loads it may be meant to define it (linked with -rdynamic).",
                missing.shown()
            ));
        }
        cures
    }

    pub(super) fn other_library(&mut self, problem: &Problem, missing: &Missing, provider: &Provider) -> String {
        let user = problem.whose();
        let soname = &provider.soname;
        let add =
            self.command(format!("patchelf --add-needed {} {}", in_quotes(soname), self.file_of(&problem.object)));
        let mut path = self.also_set_rpath(problem);
        // The loader looks for a file with the name of the soname.
        let link = provider.path.with_file_name(path_of(soname));
        if !soname.contains('/') && link != provider.path {
            let made = format!("ln -sfn {} {}", quoted(&name_of(&provider.path)), self.quoted_path(&link));
            path += &format!(" No file there has the name {soname}: {}.", self.command(made));
        }
        format!(
            "{soname} defines {}, and {user} does not say that it needs {soname}: link {user} with {}, behind its own objects \
             on the command line. Without a new link: {add}.{path} (A plugin may get it from the program that loads it: --host PROGRAM.)",
            missing.shown(),
            flag(soname),
        )
    }
}

impl Nearest {
    pub(super) fn cure(&self, missing: &Missing, user: &str) -> String {
        let name = &missing.name;
        match self {
            Nearest::OtherVersion { library, versions } => format!(
                "{library} has {name}, but in version {}, not in the one {user} was linked with: install the {library} \
                 that it was linked with, or link it anew.",
                versions.join(", ")
            ),
            // Told with a command.
            Nearest::OtherLibrary(_) => String::new(),
            Nearest::Hidden { library, why: Hidden::ByVisibility } => format!(
                "{library} has {name} and hides it (-fvisibility=hidden, or an attribute): write \
                 __attribute__((visibility(\"default\"))) where {library} defines it, and build {library} anew."
            ),
            Nearest::NoRtti { library } => format!(
                "Compile {library} without -fno-rtti, or {user} with it: {library} has the virtual functions of the class and \
                 not its type information, which {user} uses ({}).",
                missing.shown()
            ),
            // GNU ld makes hidden symbols local ones, and then nothing tells them from static functions.
            Nearest::Hidden { library, why: Hidden::Local } => format!(
                "{library} has {name}, but hidden: compiled with -fvisibility=hidden, not named under global in the version \
                 script of {library}, or static. Export it there (__attribute__((visibility(\"default\"))), the version script), \
                 and build {library} anew."
            ),
            Nearest::OtherFile { found, path } => format!(
                "{} is another file of that name and defines {}; the one found first, {found}, does not. Take its folder \
                 out of LD_LIBRARY_PATH, or out of the path that leads there.",
                shown(path),
                missing.shown()
            ),
            Nearest::OtherParameters { library, name: theirs, source } => {
                if is_of_cxx11(theirs) == is_of_cxx11(name) {
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

/// The linker flag for a library: `-lm` for `libm.so.6`.
pub(super) fn flag(soname: &str) -> String {
    let stem = soname.strip_prefix("lib").and_then(|rest| rest.split_once(".so")).map(|(stem, _)| stem);
    stem.map_or_else(|| soname.into(), |stem| format!("-l{stem}"))
}

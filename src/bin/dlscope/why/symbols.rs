//! A symbol that nobody defines, and what comes nearest to it.

use std::collections::HashSet;
use std::path::PathBuf;

use dlscope::Inspection;
use dlscope::elf::symbol::SymbolBinding;
use dlscope::event::Tag;
use serde::Serialize;

use super::machine::{Machine, Provider};
use super::words::short;
use crate::compare::file::ElfFile;
use crate::demangle::{bare, demangled, is_rust, stem};

/// What libraries export, each with its own.
pub struct Exports(pub Vec<(Tag, Vec<Export>)>);

/// One symbol that others may be bound to.
pub struct Export {
    pub name: String,
    pub version: Option<String>,
    /// Weak or unique: one of several is meant to win.
    pub weak: bool,
}

impl Exports {
    /// Of every object of the load.
    pub fn of(inspection: &Inspection) -> Exports {
        let export = |export: dlscope::Export| Export {
            name: export.name,
            version: export.version,
            weak: export.binding != SymbolBinding::Global,
        };
        Exports(inspection.objects().map(|o| (o.tag().clone(), o.symbols().map(export).collect())).collect())
    }

    /// Of files that are not loaded.
    fn of_files(paths: &[PathBuf]) -> Exports {
        let of_file = |path: &PathBuf| {
            let file = ElfFile::open(path)?;
            let symbols = file.symbols()?;
            let export = |(index, symbol, _)| Export {
                name: String::from_utf8_lossy(symbols.name(&symbol)).into_owned(),
                version: symbols.version_text(index),
                weak: symbol.symbol_binding() != SymbolBinding::Global,
            };
            let tag = Tag { id: 0, name: path.to_string_lossy().into() };
            Some((tag, symbols.exports().map(export).collect()))
        };
        Exports(paths.iter().filter_map(of_file).collect())
    }
}

/// One symbol that is missing.
#[derive(Serialize)]
pub struct Missing {
    pub name: String,
    pub version: Option<String>,
    /// In C++ or Rust.
    pub source: Option<String>,
    /// Whether every use of it is a call, which lazy binding would put off.
    pub only_called: bool,
    pub nearest: Vec<Nearest>,
}

/// Something like it.
#[derive(Serialize)]
#[serde(rename_all = "snake_case", tag = "nearest")]
pub enum Nearest {
    /// The same name in a library of the load, in other versions.
    OtherVersion { library: String, versions: Vec<String> },
    /// The same name in a library that nobody of the load needs.
    OtherLibrary(Provider),
    /// The same name in a file that would have been found, had not another of its name come first.
    OtherFile { found: String, path: PathBuf },
    /// The same C++ function with other parameters.
    OtherParameters { library: String, name: String, source: String },
    /// The same Rust function of another build.
    OtherBuild { library: String, name: String },
    /// A C function of that name, where a C++ one is wanted, or the other way round.
    OtherLanguage { library: String, name: String, wants_cpp: bool },
    /// A name that differs in a letter or two.
    Similar { library: String, name: String },
}

impl Nearest {
    /// The library that has it.
    pub fn library(&self) -> &str {
        match self {
            Nearest::OtherLibrary(provider) => &provider.soname,
            Nearest::OtherFile { found, .. } => found,
            Nearest::OtherVersion { library, .. }
            | Nearest::OtherParameters { library, .. }
            | Nearest::OtherBuild { library, .. }
            | Nearest::OtherLanguage { library, .. }
            | Nearest::Similar { library, .. } => library,
        }
    }
}

impl Missing {
    pub fn new(name: &str, version: Option<&str>, only_called: bool) -> Missing {
        let (version, source) = (version.map(Into::into), demangled(name));
        Missing { name: name.into(), version, source, only_called, nearest: Vec::new() }
    }

    /// As the source has it, or with its version.
    pub fn shown(&self) -> String {
        let version = self.version.as_ref().map_or(String::new(), |v| format!(", version {v}"));
        self.in_source() + &version
    }

    /// As the source has it.
    pub fn in_source(&self) -> String {
        self.source.clone().unwrap_or_else(|| self.name.clone())
    }
}

/// So many are compared letter by letter with everything that is exported.
const COMPARED: usize = 50;

/// Finds what comes nearest to each: in the objects of the load, whose paths are `known`, and then elsewhere.
pub fn find_nearest(missing: &mut [&mut Missing], exports: &Exports, known: &[&str], machine: &Machine) {
    for missing in missing.iter_mut() {
        missing.nearest = other_versions(&missing.name, exports);
    }
    libraries_that_define(missing, known, machine);
    let without = |missing: &&mut &mut Missing| missing.nearest.is_empty();
    for missing in missing.iter_mut().filter(without).take(COMPARED) {
        missing.nearest = alike(&missing.name, exports);
    }
    if !missing.iter().any(|missing| missing.nearest.is_empty()) {
        return;
    }
    // Linkers leave a library out if no name of it was used as it is written: look into those that lie around.
    let around = Exports::of_files(&machine.own_libraries(known));
    for missing in missing.iter_mut().filter(without).take(COMPARED) {
        missing.nearest = alike(&missing.name, &around);
    }
}

/// Adds the libraries of the machine that have it and are not part of the load.
fn libraries_that_define(missing: &mut [&mut Missing], known: &[&str], machine: &Machine) {
    let names: Vec<String> = missing.iter().map(|m| m.name.clone()).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    for (missing, mut providers) in missing.iter_mut().zip(machine.defining(&names, known)) {
        let mut sonames = HashSet::new();
        providers.retain(|provider| {
            let suits = missing.version.is_none() || provider.version.is_none() || provider.version == missing.version;
            suits && sonames.insert(provider.soname.clone())
        });
        let nearest = |provider: Provider| match known.iter().find(|path| short(path) == provider.soname) {
            Some(found) => Nearest::OtherFile { found: (*found).into(), path: provider.path },
            None => Nearest::OtherLibrary(provider),
        };
        missing.nearest.splice(0..0, providers.into_iter().take(3).map(nearest));
    }
}

fn alike(name: &str, exports: &Exports) -> Vec<Nearest> {
    let others = other_signatures(name, exports);
    if others.is_empty() { similar(name, exports) } else { others }
}

fn other_versions(name: &str, exports: &Exports) -> Vec<Nearest> {
    let of_object = |(tag, exports): &(Tag, Vec<Export>)| {
        let same = exports.iter().filter(|export| export.name == name);
        let versions: Vec<_> = same.map(|e| e.version.clone().unwrap_or_else(|| "none".into())).collect();
        let library = tag.short().to_string();
        (!versions.is_empty()).then_some(Nearest::OtherVersion { library, versions })
    };
    exports.0.iter().filter_map(of_object).collect()
}

/// The same function, declared otherwise.
fn other_signatures(name: &str, exports: &Exports) -> Vec<Nearest> {
    let mut found = Vec::new();
    let wanted = bare(name);
    let stem = stem(name).unwrap_or(name);
    for (tag, exports) in &exports.0 {
        let library = || tag.short().to_string();
        // Demangling is slow, so most are passed over by a look at their bytes.
        for export in exports.iter().filter(|export| export.name.contains(stem) && export.name != name) {
            let theirs = bare(&export.name);
            let same_source = wanted.is_some() && theirs == wanted;
            let name = export.name.clone();
            if same_source && is_rust(&name) {
                found.push(Nearest::OtherBuild { library: library(), name });
            } else if same_source {
                let source = demangled(&name).unwrap_or_default();
                found.push(Nearest::OtherParameters { library: library(), name, source });
            } else if wanted.as_ref().is_some_and(|wanted| *wanted == name) {
                found.push(Nearest::OtherLanguage { library: library(), name, wants_cpp: true });
            } else if wanted.is_none() && theirs.is_some_and(|theirs| theirs == stem) {
                found.push(Nearest::OtherLanguage { library: library(), name, wants_cpp: false });
            }
        }
    }
    found.truncate(3);
    found
}

fn similar(name: &str, exports: &Exports) -> Vec<Nearest> {
    // In a short name, two letters are everything.
    let most = (name.len() / 4).min(3);
    let mut found: Vec<(usize, &str, &str)> = Vec::new();
    for (tag, exports) in &exports.0 {
        for export in exports.iter().filter(|export| export.name.len().abs_diff(name.len()) <= most) {
            // `__sin` for `sin` is not what anyone meant.
            if export.name.starts_with("__") && !name.starts_with("__") {
                continue;
            }
            let distance = strsim::osa_distance(&export.name, name);
            if distance <= most && !found.iter().any(|(_, _, known)| *known == export.name) {
                found.push((distance, tag.short(), &export.name));
            }
        }
    }
    found.sort();
    let best = found.first().map_or(0, |(distance, ..)| *distance);
    let found = found.into_iter().filter(|(distance, ..)| *distance == best).take(3);
    found.map(|(_, library, name)| Nearest::Similar { library: library.into(), name: name.into() }).collect()
}

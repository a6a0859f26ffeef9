//! Undefined symbols, and the definitions that come nearest to them.

use std::collections::HashSet;
use std::path::PathBuf;

use dlscope::elf::symbol::SymbolBinding;
use dlscope::event::Tag;
use dlscope::{Inspection, Library};
use serde::Serialize;

use super::families::Family;
use super::likely;
use super::machine::{Machine, Provider};
use super::symtab::{Hidden, hidden};
use crate::bytes::{path_of, shown as shown_name, shown_bytes};
use crate::compare::file::ElfFile;
use crate::demangle::{bare, demangled, is_of_cxx11, is_rust, stem};
use crate::page::short;

/// The symbols that each library exports.
pub struct Exports(pub Vec<(Tag, Vec<Export>)>);

/// One exported symbol.
pub struct Export {
    pub name: String,
    pub version: Option<String>,
    /// Whether it is weak or unique: then several definitions are no mistake.
    pub weak: bool,
}

impl From<dlscope::Export> for Export {
    fn from(export: dlscope::Export) -> Export {
        let weak = export.binding != SymbolBinding::Global;
        Export { name: export.name, version: export.version, weak }
    }
}

impl Exports {
    /// The exports of every object of the load.
    pub fn of(inspection: &Inspection) -> Exports {
        Exports(inspection.objects().map(|o| (o.tag().clone(), o.symbols().map(Export::from).collect())).collect())
    }

    /// The exports of files that are not loaded.
    fn of_files(paths: &[PathBuf]) -> Exports {
        let of_file = |path: &PathBuf| {
            let file = ElfFile::open(path)?;
            let symbols = file.symbols()?;
            let export = |(index, symbol, _)| Export {
                name: shown_bytes(symbols.name(&symbol)),
                version: symbols.version_text(index),
                weak: symbol.symbol_binding() != SymbolBinding::Global,
            };
            let tag = Tag { id: 0, name: shown_name(path).into() };
            Some((tag, symbols.exports().map(export).collect()))
        };
        Exports(paths.iter().filter_map(of_file).collect())
    }
}

/// An undefined symbol.
#[derive(Serialize)]
pub struct Missing {
    pub name: String,
    pub version: Option<String>,
    /// The demangled name, for C++ and Rust.
    pub source: Option<String>,
    /// Whether every use of it is a call: then lazy binding would not fail at load time.
    pub only_called: bool,
    /// What the name itself says: a symbol of a sanitizer, of a class, …
    pub family: Option<Family>,
    pub nearest: Vec<Nearest>,
}

/// A definition that comes near to an undefined symbol.
#[derive(Serialize)]
#[serde(rename_all = "snake_case", tag = "nearest")]
pub enum Nearest {
    /// The same name in a library of the load, in other versions.
    OtherVersion { library: String, versions: Vec<String> },
    /// The same name in a library of the load or beside it, which does not export it.
    Hidden { library: String, why: Hidden },
    /// The class's table of virtual functions in a library that has no type information of the class.
    NoRtti { library: String },
    /// The same name in a library that no object of the load needs.
    OtherLibrary(Provider),
    /// The same name in a file that the search did not reach, because it found another file of the same name first.
    OtherFile { found: String, path: PathBuf },
    /// The same C++ function with other parameters.
    OtherParameters { library: String, name: String, source: String },
    /// The same Rust function of another build.
    OtherBuild { library: String, name: String },
    /// A C function of that name where a C++ function is needed, or the other way round.
    OtherLanguage { library: String, name: String, wants_cpp: bool },
    /// A name that differs in a letter or two.
    Similar { library: String, name: String },
}

impl Nearest {
    /// The library that has the definition.
    pub fn library(&self) -> &str {
        match self {
            Nearest::OtherLibrary(provider) => &provider.soname,
            Nearest::OtherFile { found, .. } => found,
            Nearest::OtherVersion { library, .. }
            | Nearest::Hidden { library, .. }
            | Nearest::NoRtti { library }
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
        Missing { name: name.into(), version, source, only_called, family: Family::of(name), nearest: Vec::new() }
    }

    /// The demangled name, with the version.
    pub fn shown(&self) -> String {
        let version = self.version.as_ref().map_or(String::new(), |v| format!(", version {v}"));
        self.in_source() + &version
    }

    /// Whether the symbol belongs to the runtime of an instrumentation or a compiler. No library that happens to
    /// define it is the cure.
    pub fn is_of_a_runtime(&self) -> bool {
        self.family.as_ref().is_some_and(Family::is_runtime)
    }

    /// The demangled name.
    pub fn in_source(&self) -> String {
        self.source.clone().unwrap_or_else(|| self.name.clone())
    }
}

/// At most so many undefined symbols are compared with all exported names, which is slow.
const COMPARED: usize = 50;

/// Finds the nearest definitions of each symbol: in the objects of the load, whose paths are `known`, then elsewhere.
pub fn find_nearest(missing: &mut [&mut Missing], exports: &Exports, known: &[&str], machine: &Machine) {
    for missing in missing.iter_mut().filter(|missing| !missing.is_of_a_runtime()) {
        missing.nearest = other_versions(&missing.name, exports);
    }
    libraries_that_define(missing, known, machine);
    // The library that was meant is there, and was compiled with the other std::string: no other one is the cure.
    let is_cpp = |missing: &&mut &mut Missing| {
        missing.name.starts_with("_Z") && !missing.nearest.iter().any(|n| matches!(n, Nearest::OtherVersion { .. }))
    };
    for missing in missing.iter_mut().filter(is_cpp).take(COMPARED) {
        let other_string = |nearest: &Nearest| match nearest {
            Nearest::OtherParameters { name, .. } => is_of_cxx11(name) != is_of_cxx11(&missing.name),
            _ => false,
        };
        let found = other_signatures(&missing.name, exports).into_iter().filter(other_string).collect::<Vec<_>>();
        missing.nearest.splice(0..0, found);
    }
    let without = |missing: &&mut &mut Missing| missing.nearest.is_empty() && !missing.is_of_a_runtime();
    if !missing.iter_mut().any(|missing| without(&missing)) {
        return;
    }
    // Linkers with --as-needed drop a library whose symbols are not used exactly as they are written, so look into the
    // libraries that lie beside.
    let own = machine.own_libraries(known);
    libraries_that_hide(missing, exports, &own);
    for missing in missing.iter_mut().filter(without).take(COMPARED) {
        missing.nearest = alike(missing, exports);
    }
    if !missing.iter_mut().any(|missing| without(&missing)) {
        return;
    }
    let around = Exports::of_files(&own);
    for missing in missing.iter_mut().filter(without).take(COMPARED) {
        missing.nearest = alike(missing, &around);
    }
}

/// Adds the libraries that have a symbol and do not export it: those of the load that are not the host's, and `own`.
fn libraries_that_hide(missing: &mut [&mut Missing], exports: &Exports, own: &[PathBuf]) {
    let of_load = exports.0.iter().map(|(tag, _)| path_of(&tag.name));
    let names: Vec<String> = missing.iter().map(|m| m.name.clone()).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    for path in of_load.chain(own.iter().cloned()) {
        for (missing, why) in missing.iter_mut().zip(hidden(&path, &names)) {
            if let Some(why) = why.filter(|_| missing.nearest.is_empty()) {
                let library = short(&shown_name(&path)).into();
                missing.nearest.push(Nearest::Hidden { library, why });
            }
        }
    }
}

/// Adds the libraries of the machine that define a symbol and are not part of the load.
fn libraries_that_define(missing: &mut [&mut Missing], known: &[&str], machine: &Machine) {
    let names: Vec<String> = missing.iter().map(|m| m.name.clone()).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    for (missing, mut providers) in missing.iter_mut().zip(machine.defining(&names, known)) {
        if missing.is_of_a_runtime() {
            continue;
        }
        let mut sonames = HashSet::new();
        providers.retain(|provider| {
            let suits = missing.version.is_none() || provider.version.is_none() || provider.version == missing.version;
            suits && sonames.insert(provider.soname.clone())
        });
        likely::order(&missing.name, &mut providers);
        let nearest = |provider: Provider| match known.iter().find(|path| short(path) == provider.soname) {
            Some(found) => Nearest::OtherFile { found: (*found).into(), path: provider.path },
            None => Nearest::OtherLibrary(provider),
        };
        missing.nearest.splice(0..0, providers.into_iter().take(3).map(nearest));
    }
}

/// What the library exports that comes near to a name that it does not have, a line each.
pub fn near(library: &Library, name: &str) -> Vec<String> {
    let tag = Tag { id: 0, name: shown_name(library.path()).into() };
    let exports = Exports(vec![(tag, library.symbols().map(Export::from).collect())]);
    alike(&Missing::new(name, None, true), &exports).iter().map(Nearest::told).collect()
}

fn alike(missing: &Missing, exports: &Exports) -> Vec<Nearest> {
    let name = missing.name.as_str();
    // The table or the type information of another class is none of this one.
    if let Some(class) = name.strip_prefix("_ZTI") {
        let vtable = format!("_ZTV{class}");
        let has_it = |(_, exports): &&(Tag, Vec<Export>)| exports.iter().any(|export| export.name == vtable);
        let library = exports.0.iter().find(has_it).map(|(tag, _)| tag.short().to_string());
        return library.map(|library| Nearest::NoRtti { library }).into_iter().collect();
    }
    if missing.family.is_some() {
        return Vec::new();
    }
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

/// Definitions of the same function with another declaration.
fn other_signatures(name: &str, exports: &Exports) -> Vec<Nearest> {
    let mut found = Vec::new();
    let wanted = bare(name);
    let stem = stem(name).unwrap_or(name);
    for (tag, exports) in &exports.0 {
        let library = || tag.short().to_string();
        // Demangling is slow, so first skip the names that do not contain the longest word.
        for export in exports.iter().filter(|export| export.name.contains(stem) && export.name != name) {
            let theirs = bare(&export.name);
            // The several constructors of a class have one name in the source, and the same parameters.
            let same_source = wanted.is_some() && theirs == wanted && demangled(&export.name) != demangled(name);
            let same_source = same_source || (is_rust(name) && theirs == wanted);
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

/// Whether names that differ in a letter or two could be one name misspelt: C names, or C++ functions whose own names
/// are longer than that.
fn are_comparable(one: &str, other: &str) -> bool {
    match (bare(one), bare(other)) {
        (None, None) => !one.starts_with("_Z") && !other.starts_with("_Z"),
        (Some(one), Some(other)) => {
            let distance = strsim::osa_distance(&one, &other);
            let special = |name: &str| name.contains(['~', '{']) || name.contains(" for ") || name.contains("operator");
            let split = |name: &str| {
                name.rsplit_once("::").map_or(("".into(), name.into()), |(a, b)| (a.to_string(), b.to_string()))
            };
            let ((scope, last), (other_scope, other_last)) = (split(&one), split(&other));
            let is_constructor = |scope: &str, last: &str| !scope.is_empty() && scope.ends_with(last);
            let shortest = last.len().min(other_last.len());
            !special(&one)
                && !special(&other)
                && !is_constructor(&scope, &last)
                && !is_constructor(&other_scope, &other_last)
                && distance > 0
                && distance <= shortest / 4
        }
        _ => false,
    }
}

fn similar(name: &str, exports: &Exports) -> Vec<Nearest> {
    // In a short name even two other letters make another name.
    let most = (name.len() / 4).min(3);
    let mut found: Vec<(usize, &str, &str)> = Vec::new();
    for (tag, exports) in &exports.0 {
        for export in exports.iter().filter(|export| export.name.len().abs_diff(name.len()) <= most) {
            // Nobody writes `sin` and means `__sin`.
            if export.name.starts_with("__") && !name.starts_with("__") {
                continue;
            }
            // In mangled names a letter may tell a constructor from a destructor, or one class from another.
            if !are_comparable(&export.name, name) {
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

//! The program that is meant to load the library (`--host`), and the glibc that it is meant to find (`--glibc`).

use std::collections::{HashMap, HashSet};
use std::ffi::OsStr;
use std::path::PathBuf;
use std::sync::Arc;

use dlscope::event::Rule;
use serde::Serialize;

use super::cures::is_of_glibc;
use super::graph::Graph;
use super::machine::names_wanted;
use super::watch::Watcher;
use crate::Failure;
use crate::bytes::{path_of, shown, shown_bytes};
use crate::compare::file::ElfFile;
use crate::host;
use crate::subject::SearchDirs;

/// The program that is meant to load the library.
#[derive(Default)]
pub struct Host {
    /// The name of its file.
    pub name: String,
    /// The symbols that it and the libraries of its start define.
    pub symbols: HashSet<String>,
    /// The libraries of its start: the path of each by the names that mean it, its soname and those in `DT_NEEDED`.
    pub libraries: HashMap<String, String>,
    /// The folders of its `DT_RPATH`, which counts for all that it loads.
    pub rpath: Vec<PathBuf>,
}

impl Host {
    /// Reads a program, and looks for the libraries of its start.
    pub fn of(program: &OsStr, search: &SearchDirs) -> Result<Host, Failure> {
        let path = host::found(program)?;
        let bytes = std::fs::read(&path)?;
        let elf = host::parse(&path, &bytes)?;
        let mut found = Host { name: path.file_name().map(shown).unwrap_or_default(), ..Host::default() };
        for symbol in elf.dynsyms.iter().filter(|symbol| symbol.st_shndx != 0) {
            found.symbols.extend(elf.dynstrtab.get_at(symbol.st_name).map(String::from));
        }
        let dirs: Vec<PathBuf> = host::search_path(&path, &elf).iter().map(|dir| path_of(dir)).collect();
        for library in &elf.libraries {
            let watcher = Arc::new(Watcher::default());
            let loader = dirs.iter().fold(search.loader(), |loader, dir| loader.search_dir(dir));
            let inspection = loader.probe(watcher.clone()).inspect(library);
            for object in inspection.objects() {
                found.symbols.extend(object.symbols().map(|symbol| symbol.name));
            }
            found.add(library, &Graph::of(&watcher.take()));
        }
        // A DT_RUNPATH puts the DT_RPATH of the same object out of force.
        found.rpath = if elf.runpaths.is_empty() { dirs } else { Vec::new() };
        Ok(found)
    }

    fn add(&mut self, library: &str, graph: &Graph) {
        let asked = graph.root().map(|root| (library, &root.tag));
        let needs = graph.nodes.iter().flat_map(|node| &node.needs);
        let needs = needs.filter_map(|need| Some((need.name.as_str(), need.object.as_ref()?)));
        for (name, tag) in asked.into_iter().chain(needs) {
            let soname = ElfFile::open(&path_of(&tag.name)).and_then(|file| file.soname());
            for name in soname.into_iter().chain([name.to_string()]) {
                self.libraries.entry(name).or_insert_with(|| tag.name.to_string());
            }
        }
    }

    /// Whether a search for what an object needs came to a folder of the program's `DT_RPATH`, although the object has a
    /// `DT_RUNPATH`, so that no `DT_RPATH` counts for it.
    pub fn helped_in_vain(&self, graph: &Graph) -> bool {
        let with_runpath = graph.nodes.iter().filter(|node| node.runpath.is_some());
        let mut found = with_runpath.flat_map(|node| &node.needs).filter_map(|need| need.search.as_ref()?.found());
        found.any(|attempt| attempt.rule == Rule::SearchDir && self.has_in_rpath(&attempt.path))
    }

    /// Whether a path leads into a folder of the program's `DT_RPATH`.
    pub fn has_in_rpath(&self, path: &str) -> bool {
        self.rpath.iter().any(|dir| path_of(path).starts_with(dir))
    }
}

/// The glibc that an object needs: the newest version of it, and the symbols that it needs in that version.
#[derive(Clone, Debug, Serialize)]
pub struct NeededGlibc {
    pub object: String,
    /// A version of glibc's symbols, or `DT_RELR`, for a format that old ones do not read.
    pub version: String,
    /// The version of glibc that is the first to have it.
    pub number: String,
    pub symbols: Vec<String>,
}

/// The version that the linker writes to keep a file with `DT_RELR` from a glibc that does not read that.
const ABI_RELR: &str = "GLIBC_ABI_DT_RELR";

/// The version of the symbols that the parts of glibc have for each other.
const PRIVATE: &str = "GLIBC_PRIVATE";

/// For each object that is not the process's own, the newest glibc version that it needs; the newest of all first.
pub fn needed_glibc(graph: &Graph) -> Vec<NeededGlibc> {
    let of_node = |(object, file): (String, ElfFile)| {
        let mut versions: Vec<(String, String)> = versions_of(&file)
            .into_iter()
            .filter_map(|version| {
                let number = if version == ABI_RELR { "2.36" } else { version.strip_prefix("GLIBC_")? };
                numbers(number)?;
                Some((number.to_string(), version))
            })
            .collect();
        if file.dynamic.relr.is_some() && !versions.iter().any(|(_, version)| version == ABI_RELR) {
            versions.push(("2.36".into(), "DT_RELR".into()));
        }
        let (number, version) = versions.into_iter().max_by_key(|(number, _)| numbers(number))?;
        let symbols = names_wanted(&path_of(&object), &version);
        Some(NeededGlibc { object, version, number, symbols })
    };
    let mut needed: Vec<NeededGlibc> = own_files(graph).filter_map(of_node).collect();
    needed.sort_by_key(|needed| std::cmp::Reverse(numbers(&needed.number)));
    needed
}

/// The objects that need what only the parts of one glibc have for each other, with the symbols.
pub fn needs_private(graph: &Graph) -> Vec<(String, Vec<String>)> {
    let needs_it = |(_, file): &(String, ElfFile)| versions_of(file).iter().any(|version| version == PRIVATE);
    let with_names = |(object, _): (String, ElfFile)| {
        let names = names_wanted(&path_of(&object), PRIVATE);
        (object, names)
    };
    own_files(graph).filter(needs_it).map(with_names).collect()
}

/// The version of the glibc of this process.
pub fn own_glibc() -> String {
    // SAFETY: glibc returns a C string that stays as it is.
    let version = unsafe { std::ffi::CStr::from_ptr(nix::libc::gnu_get_libc_version()) };
    version.to_string_lossy().into_owned()
}

/// The files of the objects that are neither the process's own nor parts of glibc.
fn own_files(graph: &Graph) -> impl Iterator<Item = (String, ElfFile)> + '_ {
    let own = graph.nodes.iter().filter(|node| !node.of_host && !is_of_glibc(node.tag.short()));
    own.filter_map(|node| Some((node.tag.name.to_string(), ElfFile::open(&path_of(&node.tag.name))?)))
}

/// The versions that a file needs, without those that it may do without.
fn versions_of(file: &ElfFile) -> Vec<String> {
    let Some(symbols) = file.symbols() else { return Vec::new() };
    symbols.versions.needs.iter().filter(|need| !need.weak).map(|need| shown_bytes(need.name.text)).collect()
}

impl NeededGlibc {
    /// Whether a glibc of this number is too old.
    pub fn is_newer_than(&self, glibc: &str) -> bool {
        numbers(&self.number) > numbers(glibc)
    }
}

/// The parts of a version number; `None` if it is none, as for `GLIBC_PRIVATE`.
pub fn numbers(text: &str) -> Option<Vec<u64>> {
    text.split('.').map(|part| part.parse().ok()).collect()
}

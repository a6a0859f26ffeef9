//! The program that is meant to load the library (`--host`), and the glibc that it is meant to find (`--glibc`).

use std::collections::{BTreeMap, HashMap, HashSet};
use std::ffi::OsStr;
use std::path::PathBuf;
use std::sync::Arc;

use dlscope::event::Rule;
use serde::Serialize;

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
    pub version: String,
    pub symbols: Vec<String>,
}

/// For each object that is not the process's own, the newest glibc version that it needs; the newest of all first.
pub fn needed_glibc(graph: &Graph) -> Vec<NeededGlibc> {
    let of_node = |node: &super::graph::Node| {
        let path = &path_of(&node.tag.name);
        let file = ElfFile::open(path)?;
        let needs = &file.symbols()?.versions.needs;
        let versions = needs.iter().filter(|need| !need.weak).map(|need| shown_bytes(need.name.text));
        let numbered: BTreeMap<Vec<u64>, String> =
            versions.filter_map(|version| Some((numbers(version.strip_prefix("GLIBC_")?)?, version))).collect();
        let (_, version) = numbered.into_iter().next_back()?;
        let symbols = names_wanted(path, &version);
        Some(NeededGlibc { object: node.tag.name.to_string(), version, symbols })
    };
    let mut needed: Vec<NeededGlibc> = graph.nodes.iter().filter(|node| !node.of_host).filter_map(of_node).collect();
    needed.sort_by_key(|needed| std::cmp::Reverse(numbers(needed.number())));
    needed
}

impl NeededGlibc {
    /// `2.34`.
    pub fn number(&self) -> &str {
        self.version.strip_prefix("GLIBC_").unwrap_or(&self.version)
    }

    /// Whether a glibc of this number is too old.
    pub fn is_newer_than(&self, glibc: &str) -> bool {
        numbers(self.number()) > numbers(glibc)
    }
}

/// The parts of a version number; `None` if it is none, as for `GLIBC_PRIVATE`.
pub fn numbers(text: &str) -> Option<Vec<u64>> {
    text.split('.').map(|part| part.parse().ok()).collect()
}

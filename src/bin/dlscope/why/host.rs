//! The program that is meant to load the library (`--host`), and the glibc that it is meant to find (`--glibc`).

use std::collections::{BTreeMap, HashSet};
use std::ffi::OsStr;

use serde::Serialize;

use super::graph::Graph;
use super::machine::names_wanted;
use crate::Failure;
use crate::bytes::{path_of, shown_bytes};
use crate::compare::file::ElfFile;
use crate::host;
use crate::subject::SearchDirs;

/// The symbols that a program and the libraries of its start define.
pub fn exports(program: &OsStr, search: &SearchDirs) -> Result<HashSet<String>, Failure> {
    let path = host::found(program)?;
    let bytes = std::fs::read(&path)?;
    let elf = host::parse(&path, &bytes)?;
    let mut names = HashSet::new();
    for symbol in elf.dynsyms.iter().filter(|symbol| symbol.st_shndx != 0) {
        names.extend(elf.dynstrtab.get_at(symbol.st_name).map(String::from));
    }
    let dirs = host::search_path(&path, &elf);
    let loader = dirs.iter().fold(search.loader(), |loader, dir| loader.search_dir(path_of(dir)));
    for library in &elf.libraries {
        for object in loader.inspect(library).objects() {
            names.extend(object.symbols().map(|symbol| symbol.name));
        }
    }
    Ok(names)
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

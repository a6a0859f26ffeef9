//! Optional dependencies: libraries that an object opens with `dlopen` when it needs them, if its makers have written them
//! into a `.note.dlopen`.
//!
//! "dlopen() Metadata for ELF Files" (systemd.io/ELF_DLOPEN_METADATA): notes with the owner `FDO` and the type 0x407c0c0a,
//! each with a JSON array of objects. A feature has one or more sonames, of which the first that can be loaded is used.

use std::sync::Arc;

use goblin::elf64::program_header::PT_NOTE;
use serde::{Deserialize, Serialize};

use super::graph::{Graph, Node};
use super::watch::Watcher;
use crate::bytes::{name_of, path_of, shown};
use crate::compare::file::ElfFile;
use crate::subject::SearchDirs;

const OWNER: &[u8] = b"FDO\0";
const TYPE: u32 = 0x407c_0c0a;

/// One entry of the JSON array. What else an entry may have is left out.
#[derive(Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(default)]
struct Entry {
    soname: Vec<String>,
    feature: Option<String>,
    description: Option<String>,
    priority: Option<String>,
}

/// An optional dependency, and whether it is there.
#[derive(Clone, Debug, Serialize)]
pub struct Optional {
    /// The object whose note names it.
    pub object: String,
    pub feature: Option<String>,
    pub description: Option<String>,
    /// `required`, `recommended` or `suggested`; null if the note says nothing.
    pub priority: Option<String>,
    /// The names, the best first.
    pub libraries: Vec<Candidate>,
}

/// One library that may give the feature.
#[derive(Clone, Debug, Serialize)]
pub struct Candidate {
    pub soname: String,
    /// The file that the loader finds; null for none.
    pub path: Option<String>,
    /// Why that file does not load, if it does not.
    pub error: Option<String>,
}

impl Optional {
    /// The library that would be used.
    pub fn used(&self) -> Option<&Candidate> {
        self.libraries.iter().find(|library| library.path.is_some() && library.error.is_none())
    }
}

/// The optional dependencies of all objects that are not the process's own. `search` is how libraries are looked for.
pub fn of(graph: &Graph, search: &SearchDirs) -> Vec<Optional> {
    let mut found = Vec::new();
    for node in graph.nodes.iter().filter(|node| !node.of_host) {
        let Some(file) = ElfFile::open(&path_of(&node.tag.name)) else { continue };
        for entry in entries(&file) {
            found.push(Optional {
                object: node.tag.name.to_string(),
                libraries: entry.soname.iter().map(|soname| candidate(soname, node, search)).collect(),
                feature: entry.feature,
                description: entry.description,
                priority: entry.priority,
            });
        }
    }
    found
}

/// Looks a library up as `dlopen` does for the object that calls it.
fn candidate(soname: &str, node: &Node, search: &SearchDirs) -> Candidate {
    let origin = shown(node.origin());
    let list = node.runpath.as_ref().or(node.rpath.as_ref()).map_or("", String::as_str);
    let dirs = list.split(':').filter(|dir| !dir.is_empty());
    let dirs = dirs.map(|dir| path_of(&dir.replace("${ORIGIN}", "$ORIGIN").replace("$ORIGIN", &origin)));
    let watcher = Arc::new(Watcher::default());
    let loader = dirs.fold(search.loader(), |loader, dir| loader.search_dir(dir)).probe(watcher.clone());
    let inspection = loader.inspect(name_of(soname));
    let graph = Graph::of(&watcher.take());
    let faults = inspection.faults();
    let first = faults.first().map(|error| error.to_string().lines().next().unwrap_or_default().to_string());
    let path = graph.nodes.first().map(|node| node.tag.name.to_string());
    Candidate { soname: soname.into(), error: first.filter(|_| path.is_some()), path }
}

/// All entries of a file, in the order of its notes. A note that is damaged is passed over.
fn entries(file: &ElfFile) -> Vec<Entry> {
    let notes = file.image.segments.iter().filter(|segment| segment.p_type == PT_NOTE);
    // Two segments may hold the same notes.
    let mut seen = Vec::new();
    let mut found = Vec::new();
    for segment in notes {
        let start = segment.offset.0 as usize;
        let bytes = file.bytes().get(start..start.saturating_add(segment.filesz as usize)).unwrap_or_default();
        let align = if segment.align == 8 { 8 } else { 4 };
        for (at, json) in described(bytes, align) {
            if !seen.contains(&(start + at)) {
                seen.push(start + at);
                found.extend(parse(json));
            }
        }
    }
    found
}

/// The descriptions of our kind among the notes of a segment, each with its place.
fn described(notes: &[u8], align: usize) -> Vec<(usize, &[u8])> {
    let word = |at: usize| Some(u32::from_le_bytes(notes.get(at..at.checked_add(4)?)?.try_into().ok()?));
    let mut found = Vec::new();
    let mut at = 0_usize;
    let mut next = |at: usize| -> Option<usize> {
        let (name, length, kind) = (word(at)? as usize, word(at + 4)? as usize, word(at + 8)?);
        let content = (at + 12).checked_add(name)?.checked_next_multiple_of(align)?;
        let end = content.checked_add(length)?;
        let description = notes.get(content..end)?;
        if kind == TYPE && notes.get(at + 12..(at + 12).checked_add(name)?)? == OWNER {
            found.push((content, description));
        }
        end.checked_next_multiple_of(align)
    };
    while let Some(end) = next(at) {
        at = end;
    }
    found
}

/// The entries of one description, which zeros may follow.
fn parse(description: &[u8]) -> Vec<Entry> {
    let end = description.iter().position(|&byte| byte == 0).unwrap_or(description.len());
    let entries: Vec<Entry> = serde_json::from_slice(&description[..end]).unwrap_or_default();
    entries.into_iter().filter(|entry| !entry.soname.is_empty()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn note(owner: &[u8], kind: u32, description: &[u8]) -> Vec<u8> {
        let mut note = Vec::new();
        for word in [owner.len() as u32, description.len() as u32, kind] {
            note.extend(word.to_le_bytes());
        }
        note.extend(owner);
        note.resize(note.len().next_multiple_of(4), 0);
        note.extend(description);
        note.resize(note.len().next_multiple_of(4), 0);
        note
    }

    #[test]
    fn only_notes_of_this_owner_and_type_count_and_damaged_ones_are_passed_over() {
        let json = br#"[{"soname":["liba.so.1","liba.so.0"],"feature":"a","more":{"x":1}},{"feature":"no library"}]"#;
        let notes =
            [note(b"GNU\0", TYPE, json), note(OWNER, 5, json), note(OWNER, TYPE, b"[{"), note(OWNER, TYPE, json)];
        let notes = notes.concat();
        let found: Vec<Entry> = described(&notes, 4).into_iter().flat_map(|(_, json)| parse(json)).collect();
        let wanted = Entry {
            soname: vec!["liba.so.1".into(), "liba.so.0".into()],
            feature: Some("a".into()),
            ..Entry::default()
        };
        assert_eq!(found, [wanted]);
        for length in 0..notes.len() {
            described(&notes[..length], 4);
            described(&notes[..length], 8);
        }
        assert!(described(&[0xff; 64], 4).is_empty());
    }
}

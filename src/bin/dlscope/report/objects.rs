//! The tables about the whole load: objects, dependencies, symbols and relocations.

use std::collections::HashMap;

use dlscope::event::{Arrival, Kind, Tag};
use serde::Serialize;

use super::texts::{Text, Texts};
use crate::narrate::lookup;
use crate::walk::Walk;

/// An object of the process.
#[derive(Serialize)]
pub struct Object {
    id: u32,
    name: String,
    path: String,
    /// How it came into the process: `new`, `adopted`, …
    how: Arrival,
    /// The first row about the object.
    row: usize,
}

/// A dependency: one object needs another.
#[derive(Serialize)]
pub struct Edge {
    from: u32,
    to: u32,
    /// The sentence about the dependency.
    text: Text,
    row: usize,
}

/// A symbol, and the definition that it was bound to.
#[derive(Serialize)]
pub struct BoundSymbol {
    name: String,
    /// The object that refers to the symbol.
    wanted_by: String,
    /// The definition: object, offset and version.
    bound_to: Text,
    /// How many relocations use it.
    times: usize,
    row: usize,
}

/// The relocations that have rows of their own. Each field is a list of its own.
#[derive(Default, Serialize)]
pub struct Relocations {
    types: Vec<String>,
    /// The index in `types`.
    kind: Vec<usize>,
    symbol: Vec<Text>,
    object: Vec<u32>,
    /// The slot.
    place: Vec<Text>,
    /// What was stored in the slot; empty if nothing was.
    value: Vec<Text>,
    row: Vec<usize>,
    /// The number of all relocations, with those that share a row.
    total: usize,
}

/// All objects that are new, that others need, or to which symbols were bound.
pub fn objects(walk: &Walk, row_of: &[usize]) -> Vec<Object> {
    let mut objects: Vec<Object> = Vec::new();
    let mut add = |tag: &Tag, how: Arrival, at: usize| match objects.iter_mut().find(|known| known.id == tag.id) {
        // Several objects may need a new one. It stays `new`.
        Some(known) if how == Arrival::New => known.how = how,
        Some(_) => {}
        None => {
            let (name, path) = (tag.short().into(), tag.name.to_string());
            objects.push(Object { id: tag.id, name, path, how, row: row_of[at] });
        }
    };
    for (at, event) in walk.events.iter().enumerate() {
        match &event.kind {
            Kind::Planned { .. } => event.object.iter().for_each(|tag| add(tag, Arrival::New, at)),
            Kind::Needed { object, how, .. } => {
                let how = if *how == Arrival::Shared { Arrival::New } else { *how };
                add(object, how, at);
            }
            Kind::Lookup { found: Some(found), .. } => {
                found.object.iter().for_each(|tag| add(tag, Arrival::Adopted, at));
            }
            _ => {}
        }
    }
    objects
}

/// All dependencies.
pub fn edges(walk: &Walk, row_of: &[usize], texts: &mut Texts) -> Vec<Edge> {
    let mut edges: Vec<Edge> = Vec::new();
    for (at, event) in walk.events.iter().enumerate() {
        let (Kind::Needed { object, .. }, Some(from)) = (&event.kind, &event.object) else { continue };
        if !edges.iter().any(|edge| (edge.from, edge.to) == (from.id, object.id)) {
            edges.push(Edge { from: from.id, to: object.id, text: texts.add(&walk.sentence(at)), row: row_of[at] });
        }
    }
    edges
}

/// Every symbol that was looked up, in order. Lookups of one object with equal results share an entry.
pub fn symbols(walk: &Walk, row_of: &[usize], texts: &mut Texts) -> Vec<BoundSymbol> {
    let mut symbols: Vec<BoundSymbol> = Vec::new();
    let mut known: HashMap<(String, String, String), usize> = HashMap::new();
    // The entry of each lookup, by its event.
    let mut of_lookup: HashMap<usize, usize> = HashMap::new();
    for (at, event) in walk.events.iter().enumerate() {
        match &event.kind {
            Kind::Lookup { name, version, found, .. } => {
                let name = version.as_ref().map_or(name.clone(), |version| format!("{name}@{version}"));
                let wanted_by = event.object.as_ref().map_or(String::new(), |object| object.short().into());
                let bound_to = match found {
                    Some(found) => lookup::definition(&walk.atlas, found),
                    None => "found nowhere".into(),
                };
                let symbol = *known.entry((name, wanted_by, bound_to)).or_insert_with_key(|(name, by, to)| {
                    let (name, wanted_by, bound_to) = (name.clone(), by.clone(), texts.add(to));
                    symbols.push(BoundSymbol { name, wanted_by, bound_to, times: 0, row: row_of[at] });
                    symbols.len() - 1
                });
                of_lookup.insert(at, symbol);
            }
            Kind::Relocation { .. } => {
                let symbol = walk.link(at).lookup.and_then(|lookup| of_lookup.get(&lookup));
                symbol.into_iter().for_each(|symbol| symbols[*symbol].times += 1);
            }
            _ => {}
        }
    }
    symbols
}

/// The relocations, in order. `told` says whether an event has a row of its own.
pub fn relocations(walk: &Walk, row_of: &[usize], told: impl Fn(usize) -> bool, texts: &mut Texts) -> Relocations {
    let mut table = Relocations::default();
    // The index of each relocation in the table, by its event.
    let mut entries: HashMap<usize, usize> = HashMap::new();
    for (at, event) in walk.events.iter().enumerate() {
        match &event.kind {
            Kind::Relocation { name, .. } | Kind::LeftForCall { name, .. } => {
                table.total += 1;
                if told(at) {
                    entries.insert(at, table.row.len());
                    table.add(walk, at, name.as_deref().unwrap_or_default(), texts);
                    table.row.push(row_of[at]);
                }
            }
            Kind::Store { after, .. } => {
                let cause = walk.link(at).cause;
                if let Some(entry) = cause.and_then(|cause| entries.get(&cause)) {
                    table.value[*entry] = texts.add(&after.to_string());
                }
            }
            _ => {}
        }
    }
    table
}

impl Relocations {
    fn add(&mut self, walk: &Walk, at: usize, symbol: &str, texts: &mut Texts) {
        let kind = walk.relocation_type(at).unwrap_or_default();
        let known = self.types.iter().position(|known| known == kind);
        self.kind.push(known.unwrap_or_else(|| {
            self.types.push(kind.into());
            self.types.len() - 1
        }));
        let place = walk.touched(at).map_or(String::new(), |(address, _)| address.to_string());
        self.symbol.push(texts.add(symbol));
        self.object.push(walk.events[at].object.as_ref().map_or(0, |object| object.id));
        self.place.push(texts.add(&place));
        self.value.push(texts.add(""));
    }
}

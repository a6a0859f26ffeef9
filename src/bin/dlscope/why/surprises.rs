//! Surprises in a library that loads: definitions that lose to others, symbols from libraries that nobody needs.

use std::collections::{BTreeMap, HashMap, HashSet};

use dlscope::event::{Event, Kind, Tag};
use serde::Serialize;

use super::graph::Graph;
use super::symbols::Exports;

/// All surprises of a load.
#[derive(Default, Serialize)]
pub struct Surprises {
    /// A library defines a symbol, and its own uses of it are bound to another library's definition.
    pub interposed: Vec<Bound>,
    /// Several libraries define what a third one uses.
    pub rivals: Vec<Rivals>,
    /// A symbol is found only because this process has a library that no object of the load needs.
    pub borrowed: Vec<Bound>,
    /// How many weak definitions lost to another library's: inline functions, templates and type information of C++.
    pub shared_weak: usize,
    /// The circles of libraries that need each other, by name.
    pub cycles: Vec<Vec<String>>,
    /// The objects that take a part of the static TLS.
    pub static_tls: Vec<StaticTls>,
}

/// Symbols that one object uses and another defines.
#[derive(Serialize)]
pub struct Bound {
    pub user: String,
    pub bound_to: String,
    pub symbols: Vec<String>,
}

/// Symbols that several objects define. Only the first definition counts.
#[derive(Serialize)]
pub struct Rivals {
    pub first: String,
    pub also: Vec<String>,
    pub symbols: Vec<String>,
}

/// The part of the static TLS that an object takes.
#[derive(Serialize)]
pub struct StaticTls {
    pub object: String,
    pub bytes: u64,
    pub left: u64,
}

/// Symbols to which the compiler's start files have weak references in every library.
const OF_START_FILES: [&str; 1] = ["__cxa_finalize"];

/// Every definition of a name.
type Definitions<'e> = HashMap<&'e str, Vec<Definition<'e>>>;

struct Definition<'e> {
    object: &'e Tag,
    version: Option<&'e str>,
    weak: bool,
}

impl Definition<'_> {
    /// Whether a reference to this version could be bound to this definition.
    fn suits(&self, version: Option<&str>) -> bool {
        version.is_none() || self.version.is_none() || self.version == version
    }
}

impl Surprises {
    /// Compares the definitions that were taken with all that there are.
    pub fn of(events: &[Event], graph: &Graph, exports: &Exports) -> Surprises {
        let mut surprises = Surprises { cycles: cycles(graph), ..Surprises::default() };
        let definitions = definitions(exports);
        let mut seen = HashSet::new();
        let mut local: &[Tag] = &[];
        let mut interposed = BTreeMap::new();
        let mut rivals = BTreeMap::new();
        let mut borrowed = BTreeMap::new();
        for event in events {
            let Some(user) = &event.object else {
                if let Kind::Scope { local: tags, .. } = &event.kind {
                    local = tags;
                }
                continue;
            };
            match &event.kind {
                Kind::StaticTls { length, left, .. } => {
                    let object = user.short().into();
                    surprises.static_tls.push(StaticTls { object, bytes: *length, left: *left });
                }
                Kind::Lookup { name, version, found: Some(found), .. } => {
                    let Some(giver) = &found.object else { continue };
                    if giver == user || !seen.insert((user.id, name.as_str(), version.as_deref())) {
                        continue;
                    }
                    let all = definitions.get(name.as_str()).map_or(&[][..], Vec::as_slice);
                    let version = version.as_deref();
                    let pair = (user.short(), giver.short());
                    let own = all.iter().find(|d| d.object == user && d.suits(version));
                    let is_local = local.contains(giver) || OF_START_FILES.contains(&name.as_str());
                    if !is_local && all.iter().any(|d| d.suits(version)) {
                        // The program overrides the definition of a dependency, probably on purpose.
                    } else if !is_local {
                        add(&mut borrowed, pair, name);
                    } else if own.is_some_and(|own| own.weak) {
                        surprises.shared_weak += 1;
                    } else if own.is_some() {
                        add(&mut interposed, pair, name);
                    } else if let Some(others) = others(all, giver, version) {
                        add(&mut rivals, (giver.short(), others), name);
                    }
                }
                _ => {}
            }
        }
        let bound = |((user, bound_to), symbols): ((&str, &str), _)| Bound {
            user: user.into(),
            bound_to: bound_to.into(),
            symbols,
        };
        surprises.interposed = interposed.into_iter().map(bound).collect();
        surprises.borrowed = borrowed.into_iter().map(bound).collect();
        let list = |((first, also), symbols): ((&str, Vec<String>), _)| Rivals { first: first.into(), also, symbols };
        surprises.rivals = rivals.into_iter().map(list).collect();
        surprises
    }
}

fn add<K: Ord>(map: &mut BTreeMap<K, Vec<String>>, key: K, name: &str) {
    let names = map.entry(key).or_default();
    if !names.iter().any(|known| known == name) {
        names.push(name.into());
    }
}

fn definitions(exports: &Exports) -> Definitions<'_> {
    let mut definitions = Definitions::new();
    for (object, exports) in &exports.0 {
        for export in exports {
            let definition = Definition { object, version: export.version.as_deref(), weak: export.weak };
            definitions.entry(&export.name).or_default().push(definition);
        }
    }
    definitions
}

/// The other objects with a strong definition of the symbol, if that of `giver` is strong, too.
fn others(all: &[Definition<'_>], giver: &Tag, version: Option<&str>) -> Option<Vec<String>> {
    let strong = |d: &&Definition<'_>| !d.weak && d.suits(version);
    if !all.iter().filter(strong).any(|d| d.object == giver) {
        return None;
    }
    let mut others: Vec<String> =
        all.iter().filter(strong).filter(|d| d.object != giver).map(|d| d.object.short().into()).collect();
    others.dedup();
    (!others.is_empty()).then_some(others)
}

fn cycles(graph: &Graph) -> Vec<Vec<String>> {
    let names = |cycle: Vec<&super::graph::Node>| cycle.iter().map(|node| node.tag.short().into()).collect();
    graph.cycles().into_iter().map(names).collect()
}

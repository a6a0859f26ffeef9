//! A probe that counts events.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use dlscope::elf::symbol::Probing;
use dlscope::event::{Event, Kind, Probe, Stage};
use serde::{Deserialize, Serialize};

/// The counts of a load.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Counts {
    /// The path of the opened library.
    pub opened: String,
    /// The counts of each object, by its path.
    pub objects: BTreeMap<String, ObjectCounts>,
    /// The counts of each symbol that was looked up, the most frequent first.
    pub symbols: Vec<SymbolCount>,
}

/// The counts of one object.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct ObjectCounts {
    /// Relocations, by type.
    pub relocations: BTreeMap<String, u64>,
    /// Lookups of symbols.
    pub lookups: u64,
    /// Relocations with the same symbol as the one before, so that no lookup was necessary.
    pub reused: u64,
    /// Hash tables that were asked.
    pub asked: u64,
    /// Hash tables whose bloom filter said no.
    pub bloom_no: u64,
    /// Words written.
    pub stores: u64,
    /// Calls of its constructors.
    pub calls: u64,
    /// Whether this load mapped it.
    pub mapped: bool,
}

/// The counts of one symbol.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct SymbolCount {
    pub name: String,
    pub version: Option<String>,
    /// How often it was looked up.
    pub lookups: u64,
    /// Hash tables that were asked for it, in all lookups together.
    pub asked: u64,
    /// The object that defined it in the last lookup; `None` if no object did.
    pub found: Option<String>,
}

impl ObjectCounts {
    /// The number of relocations of all types.
    pub fn relocated(&self) -> u64 {
        self.relocations.values().sum()
    }
}

/// The probe that counts.
#[derive(Default)]
pub struct Counter(Mutex<Counting>);

#[derive(Default)]
struct Counting {
    counts: Counts,
    symbols: BTreeMap<(String, Option<String>), SymbolCount>,
    /// The symbol of the last lookup, and whether it belongs to the next relocation.
    last: Option<u32>,
    fresh: bool,
}

impl Counter {
    pub fn take(&self) -> Counts {
        let mut counting = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut counts = std::mem::take(&mut counting.counts);
        counts.symbols = std::mem::take(&mut counting.symbols).into_values().collect();
        counts.symbols.sort_by(|a, b| (b.lookups, b.asked, &a.name).cmp(&(a.lookups, a.asked, &b.name)));
        counts
    }
}

impl Probe for Counter {
    fn event(&self, event: &Event) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).note(event);
    }
}

impl Counting {
    fn note(&mut self, event: &Event) {
        let Some(tag) = &event.object else { return };
        let object = self.counts.objects.entry(tag.name.to_string()).or_default();
        match &event.kind {
            Kind::Planned { .. } => {
                object.mapped = true;
                if self.counts.opened.is_empty() {
                    self.counts.opened = tag.name.to_string();
                }
            }
            Kind::Lookup { name, version, candidates, found, .. } if event.stage == Stage::Relocate => {
                self.fresh = true;
                let no = |step: Option<&Probing>| matches!(step, Some(Probing::BloomNo));
                let asked = candidates.len() as u64;
                object.lookups += 1;
                object.asked += asked;
                object.bloom_no += candidates.iter().filter(|c| no(c.steps.last())).count() as u64;
                let key = (name.clone(), version.clone());
                let symbol = self.symbols.entry(key).or_insert_with_key(|(name, version)| SymbolCount {
                    name: name.clone(),
                    version: version.clone(),
                    lookups: 0,
                    asked: 0,
                    found: None,
                });
                symbol.lookups += 1;
                symbol.asked += asked;
                if let Some(found) = found {
                    symbol.found = Some(found.object.as_ref().map_or("dlscope".into(), |o| o.short().into()));
                }
            }
            Kind::Relocation { kind, symbol, s, .. } => {
                *object.relocations.entry(kind.clone()).or_default() += 1;
                // Relocations without a symbol do not count as the one before.
                if let (Some(symbol), Some(_)) = (symbol, s) {
                    let fresh = std::mem::take(&mut self.fresh);
                    if fresh {
                        self.last = Some(*symbol);
                    } else if self.last == Some(*symbol) {
                        object.reused += 1;
                    } else {
                        self.last = None;
                    }
                }
            }
            Kind::Pass { .. } => self.last = None,
            Kind::Relocated { .. } => self.last = None,
            Kind::Store { .. } => object.stores += 1,
            Kind::Call { .. } if event.stage == Stage::Init => object.calls += 1,
            _ => {}
        }
    }
}

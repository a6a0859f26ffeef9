//! A probe that listens to everything and counts.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use dlscope::elf::symbol::Probing;
use dlscope::event::{Event, Kind, Probe, Stage};
use serde::{Deserialize, Serialize};

/// What a load did, in numbers.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Counts {
    /// The object that was asked for.
    pub opened: String,
    /// By path.
    pub objects: BTreeMap<String, ObjectCounts>,
    /// Every symbol that was looked for, the most frequent first.
    pub symbols: Vec<SymbolCount>,
}

/// Of one object.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct ObjectCounts {
    /// By type.
    pub relocations: BTreeMap<String, u64>,
    /// Symbols that were looked for by name.
    pub lookups: u64,
    /// Relocations whose symbol is the one before, so the answer was taken again.
    pub reused: u64,
    /// Hash tables that were asked.
    pub asked: u64,
    /// Of them, how many said no by their bloom filter.
    pub bloom_no: u64,
    /// Words written.
    pub stores: u64,
    /// Functions of it that were called: constructors.
    pub calls: u64,
    /// Whether it was mapped by this load.
    pub mapped: bool,
}

/// Of one symbol.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct SymbolCount {
    pub name: String,
    pub version: Option<String>,
    /// How often it was looked for.
    pub lookups: u64,
    /// Hash tables that were asked for it, together.
    pub asked: u64,
    /// Where it was found last; `None`: nowhere.
    pub found: Option<String>,
}

impl ObjectCounts {
    /// All types together.
    pub fn relocated(&self) -> u64 {
        self.relocations.values().sum()
    }
}

/// The probe.
#[derive(Default)]
pub struct Counter(Mutex<Counting>);

#[derive(Default)]
struct Counting {
    counts: Counts,
    symbols: BTreeMap<(String, Option<String>), SymbolCount>,
    /// Whether the last relocation had its symbol looked for, and which that was.
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
                // Between two relocations of one symbol stand others that need none.
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

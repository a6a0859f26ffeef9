//! Everything that a view shows about one event.

use dlscope::elf::addr::Addr;
use dlscope::event::{Candidate, Kind};
use dlscope::replay::Effect;

use super::fields::Formula;
use super::{Record, Walk};
use crate::demangle::demangled;
use crate::narrate::lookup;
use crate::words::{self, EventWords};

/// At most so many bytes of a long range are shown.
const MOST: u64 = 64;

/// The bytes of memory that an event is about, in whole rows of 16; `None` where nothing is mapped.
pub struct Window {
    /// The address of the first byte.
    pub start: u64,
    /// The bytes before the event.
    pub before: Vec<Option<u8>>,
    /// The bytes after the event.
    pub after: Vec<Option<u8>>,
}

/// One event, ready to be shown.
pub struct Scene {
    /// One sentence about the event, with its names and numbers.
    pub sentence: String,
    /// What events of this kind mean, and where to read on.
    pub words: EventWords,
    /// The system call, as strace prints it.
    pub strace: Option<String>,
    /// The structure of the file that the event is about.
    pub record: Option<Record>,
    /// The formula of the relocation.
    pub formula: Option<Formula>,
    /// The purpose of the relocation type.
    pub purpose: &'static str,
    /// The memory that the event changed or is about: the first address, and how many bytes.
    pub touched: Option<(Addr, u64)>,
    /// The bytes of that memory.
    pub window: Option<Window>,
    /// The lookup of the symbol, line by line.
    pub trail: Vec<Trail>,
    /// What happened right after the event and is no event itself.
    pub remarks: Vec<String>,
    /// The instructions that use the slot of a relocation.
    pub ways: Vec<String>,
}

/// One line about a lookup.
pub struct Trail {
    /// The object that was asked; empty for a line about the whole lookup.
    pub who: String,
    /// What the hash table of the object said.
    pub said: String,
    /// Whether the definition of this object was taken.
    pub found: bool,
}

impl Walk {
    /// Everything about the current event.
    pub fn scene(&mut self) -> Scene {
        let at = self.at();
        let touched = self.touched(at);
        let window = touched.and_then(|(from, length)| self.window(from, length));
        let kind = &self.event().kind;
        let cause = self.link(at).cause.map_or(kind, |cause| &self.events[cause].kind);
        let purpose = match cause {
            Kind::Relocation { kind, .. } => words::of_relocation(kind),
            _ => "",
        };
        Scene {
            sentence: self.sentence(at),
            words: words::of_event(kind, self.event().stage),
            strace: kind.strace(),
            record: self.record_of(at),
            formula: self.formula_of(at),
            purpose,
            touched,
            window,
            trail: self.trail(at),
            remarks: self.remarks.get(&at).cloned().unwrap_or_default(),
            ways: self.ways.get(&at).cloned().unwrap_or_default(),
        }
    }

    /// The memory that event `at` changed or is about: address and length.
    pub fn touched(&self, at: usize) -> Option<(Addr, u64)> {
        let event = &self.events[at];
        let bias = || event.object.as_ref().and_then(|object| self.atlas.bias(object.id));
        if let Some(effect) = Effect::of(&event.kind) {
            return Some((effect.address, effect.length));
        }
        match &event.kind {
            Kind::Populate { address, length, .. }
            | Kind::Placed { address, length, .. }
            | Kind::Unmap { address, length, .. } => Some((*address, *length)),
            Kind::Relocation { place, .. } | Kind::Deferred { place, .. } | Kind::LeftForCall { place, .. } => {
                Some((bias()? + *place, 8))
            }
            Kind::DynamicEntry { vaddr, .. } => Some((bias()? + *vaddr, 16)),
            Kind::Call { address, .. } | Kind::Return { address, .. } => Some((*address, 16)),
            Kind::RegisterFrames { address } => Some((*address, 16)),
            _ => None,
        }
    }

    fn window(&mut self, from: Addr, length: u64) -> Option<Window> {
        let start = from.0 & !15;
        let end = (from.0 + length.clamp(1, MOST)).next_multiple_of(16);
        let [before, after] = self.bytes(start..end);
        let anything = before.iter().chain(&after).any(Option::is_some);
        anything.then_some(Window { start, before, after })
    }

    /// The lookup of the symbol that event `at` is about, line by line.
    pub fn trail(&self, at: usize) -> Vec<Trail> {
        let lookup = self.link(at).lookup.map(|lookup| &self.events[lookup].kind);
        let Some(Kind::Lookup { name, version, hash, candidates, found }) = lookup else { return Vec::new() };
        let version = version.as_ref().map_or(String::new(), |version| format!("@{version}"));
        let source = demangled(name).map_or(String::new(), |source| format!(" ({source})"));
        let said = format!("{name}{version}{source}, GNU hash {hash:#010x}");
        let mut trail = vec![Trail { who: String::new(), said, found: false }];
        trail.extend(candidates.iter().map(candidate));
        let said = match found {
            Some(_) => format!("→ {}", lookup::bound_to(&self.atlas, found.as_ref())),
            None => "→ found nowhere".into(),
        };
        trail.push(Trail { who: String::new(), said, found: false });
        trail
    }
}

fn candidate(candidate: &Candidate) -> Trail {
    use dlscope::elf::symbol::Probing;
    let steps = lookup::steps(&candidate.steps);
    let found = matches!(candidate.steps.last(), Some(Probing::Found { .. }));
    Trail { who: candidate.object.short().into(), said: steps.join("; "), found }
}

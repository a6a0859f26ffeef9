//! All that a view shows about one event.

use dlscope::elf::addr::Addr;
use dlscope::event::{Candidate, Kind};

use super::fields::Formula;
use super::{Memory, Record, Walk};
use crate::demangle::demangled;
use crate::narrate::lookup;
use crate::words::{self, Reference};

/// How many bytes of a long range are looked at, at most.
const MOST: u64 = 64;

/// Some bytes of memory around what an event is about, whole rows of 16; `None` where nothing is mapped.
pub struct Window {
    /// The address of the first.
    pub start: u64,
    /// Before the event.
    pub before: Vec<Option<u8>>,
    /// After it.
    pub after: Vec<Option<u8>>,
}

/// One event, ready to be shown.
pub struct Scene {
    /// One sentence with this event's names and numbers.
    pub sentence: String,
    /// What such events are, and why there are any.
    pub words: [&'static str; 2],
    /// Where to read on.
    pub reference: Reference,
    /// The system call, as strace prints it.
    pub strace: Option<String>,
    /// The structure of the file that it is about.
    pub record: Option<Record>,
    /// The formula of its relocation.
    pub formula: Option<Formula>,
    /// What the relocation's type is for.
    pub purpose: &'static str,
    /// The memory that it changed or was about: from where on, and how many bytes.
    pub touched: Option<(Addr, u64)>,
    /// The bytes there.
    pub window: Option<Window>,
    /// How the symbol was found, line by line.
    pub trail: Vec<Trail>,
    /// What happened right after it and is no event.
    pub remarks: Vec<String>,
}

/// One line of a search.
pub struct Trail {
    /// The object asked; empty for a line about the whole search.
    pub who: String,
    /// What its hash table said.
    pub said: String,
    /// Whether the symbol was taken from there.
    pub found: bool,
}

impl Walk {
    /// The event that is looked at.
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
            words: words::of_kind(kind),
            reference: words::reference(kind, self.event().stage),
            strace: kind.strace(),
            record: self.record_of(at),
            formula: self.formula_of(at),
            purpose,
            touched,
            window,
            trail: self.trail(at),
            remarks: self.remarks.get(&at).cloned().unwrap_or_default(),
        }
    }

    /// The memory that event `at` is about: address and length.
    pub fn touched(&self, at: usize) -> Option<(Addr, u64)> {
        let event = &self.events[at];
        let bias = || event.object.as_ref().and_then(|object| self.atlas.place(object.id)?.bias);
        match &event.kind {
            Kind::Reserve { address, length }
            | Kind::MapWhole { address, length, .. }
            | Kind::Populate { address, length, .. }
            | Kind::Placed { address, length, .. }
            | Kind::Map { address, length, .. }
            | Kind::MapZero { address, length, .. }
            | Kind::Zero { address, length }
            | Kind::Protect { address, length, .. }
            | Kind::Unmap { address, length, .. } => Some((*address, *length)),
            Kind::Store { address, size, .. } => Some((*address, (*size).into())),
            Kind::Changed { address, after, .. } => Some((*address, after.0.len() as u64)),
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
        let read = |memory: &Memory| -> Vec<Option<u8>> {
            (start..end).map(|at| memory.read(Addr(at), 1).map(|byte| byte[0])).collect()
        };
        let after = read(self.memory());
        let before = self.before(read);
        let anything = before.iter().chain(&after).any(Option::is_some);
        anything.then_some(Window { start, before, after })
    }

    /// How the symbol that event `at` is about was found.
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
    let steps: Vec<_> = candidate.steps.iter().map(lookup::step).collect();
    let found = matches!(candidate.steps.last(), Some(Probing::Found { .. }));
    Trail { who: candidate.object.short().into(), said: steps.join("; "), found }
}

//! The record of a load, in which one can walk from event to event in both directions: `step` and `report` show it.
//!
//! The command really loads the library, once, and records the events. [`Replay`] rebuilds the memory at every event,
//! forwards and backwards, so a step back is exact.

use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::io;
use std::ops::Range;

use dlscope::elf::addr::Addr;
use dlscope::event::{Event, Kind};
use dlscope::replay::Replay;

use crate::Failure;
use crate::atlas::Atlas;
use crate::bytes::path_of;
use crate::fixture_call::FixtureCall;
use crate::page::short;
use crate::story;
use crate::subject::{Phase, Story, Subject, Target};
use crate::uses::{Uses, is_read_by_code};

mod describe;
mod fields;
mod linking;
mod links;
mod search;
mod sources;
mod space;
mod title;

pub use describe::{Scene, Trail, Window};
pub use fields::{Formula, Record};
pub use links::Link;
use links::Links;
pub use search::Direction;
pub use sources::excerpt;
pub use space::Region;
pub use title::{arrival, protect, same, version};

/// The function by which [`Replay`] reads files.
type Files = fn(&str) -> io::Result<File>;

/// The memory of all objects, as [`Replay`] rebuilds it.
pub type Memory = Replay<Files>;

/// A library with more slots than this gets no [`Walk::ways`].
const MOST_SLOTS: usize = 20_000;

/// The ways from code to the slots of the opened library, by the events of their relocations.
fn ways(events: &[Event]) -> HashMap<usize, Vec<String>> {
    let Some(opened) = story::opened(events) else { return HashMap::new() };
    let slot = |event: &Event| match &event.kind {
        Kind::Relocation { kind, place, .. } if is_read_by_code(kind) => Some(place.0),
        _ => None,
    };
    let all = events.iter().enumerate().filter(|(_, event)| event.object.as_ref() == Some(opened));
    let slots: Vec<(usize, u64)> = all.filter_map(|(at, event)| Some((at, slot(event)?))).collect();
    if slots.len() > MOST_SLOTS {
        return HashMap::new();
    }
    let Some(uses) = Uses::of(&opened.name, &slots.iter().map(|&(_, slot)| slot).collect()) else {
        return HashMap::new();
    };
    let way = |(at, slot)| Some((at, uses.way_to(slot))).filter(|(_, way)| !way.is_empty());
    slots.into_iter().filter_map(way).collect()
}

/// A run that is recorded first, and shown when it is over.
struct Recording<'r> {
    target: &'r Target,
    show: &'r mut dyn FnMut(Walk) -> Result<(), Failure>,
    events: Vec<Event>,
    remarks: BTreeMap<usize, Vec<String>>,
}

impl Story for Recording<'_> {
    fn part(&mut self, phase: Phase<'_>, mut events: Vec<Event>, printed: &str) -> io::Result<()> {
        // The first part is nearly all of it, and may be hundreds of megabytes: it is not copied.
        if self.events.is_empty() {
            self.events = events;
        } else {
            self.events.append(&mut events);
        }
        let after = self.remarks.entry(self.events.len().saturating_sub(1)).or_default();
        if let Phase::Call { text, result } = phase {
            after.extend(call_remark(text, result));
        }
        after.extend(printed.lines().map(|line| format!("it prints: {line}")));
        Ok(())
    }

    fn over(&mut self, result: Result<(), Failure>) -> Result<(), Failure> {
        let (events, mut remarks) = (std::mem::take(&mut self.events), std::mem::take(&mut self.remarks));
        if events.is_empty() {
            return result;
        }
        if let Err(Failure::Ended(ended)) = &result {
            remarks.entry(events.len() - 1).or_default().push(ended.to_string());
        }
        (self.show)(Walk::over(self.target, events, remarks, result.err())?)
    }
}

/// The record of a load, and the current event in it.
pub struct Walk {
    /// The name of the library.
    pub title: String,
    /// All events, in order.
    pub events: Vec<Event>,
    /// For each event the events that it belongs to: the relocation of a store, the lookup of a relocation.
    links: Links,
    /// The objects and symbols, as they are known at the end of the load.
    pub atlas: Atlas,
    /// What happened after an event and is no event itself: results of calls, and what the library printed.
    pub remarks: BTreeMap<usize, Vec<String>>,
    /// For relocations of the opened library: the instructions that use the slot.
    pub ways: HashMap<usize, Vec<String>>,
    /// Why the load failed, if it did.
    pub error: Option<Failure>,
    replay: Memory,
    /// The current event, by its index in `events`. It is the last one that was applied to `replay`.
    at: usize,
}

impl Walk {
    /// Loads the library and records everything, from the search to the unmapping, and shows the record by `show`.
    ///
    /// # Errors
    /// If there are no events: the command line was wrong, or a file could not be written. Or the error of `show`.
    pub fn record(subject: &Subject, show: &mut dyn FnMut(Walk) -> Result<(), Failure>) -> Result<(), Failure> {
        let target = subject.target()?;
        subject.run(&target, &mut Recording { target: &target, show, events: Vec::new(), remarks: BTreeMap::new() })
    }

    fn over(
        target: &Target,
        events: Vec<Event>,
        remarks: BTreeMap<usize, Vec<String>>,
        error: Option<Failure>,
    ) -> Result<Walk, Failure> {
        let mut atlas = Atlas::default();
        atlas.note(&events);
        let links = links::of(&events, &atlas);
        let title = short(&target.title()).to_string();
        let replay = Replay::new((|path| File::open(path_of(path))) as Files);
        let ways = ways(&events);
        let mut walk = Walk { title, events, links, atlas, remarks, ways, error, replay, at: 0 };
        // Open every file now, and read what the loader wrote over: a fixture's temporary folder will be deleted.
        walk.run_through().map_err(|problem| io::Error::other(problem.to_string()))?;
        Ok(walk)
    }

    /// Applies every event and goes back to the first.
    fn run_through(&mut self) -> Result<(), dlscope::replay::Mismatch> {
        for event in &self.events {
            self.replay.apply(event)?;
        }
        for _ in 1..self.events.len() {
            self.replay.undo();
        }
        self.at = 0;
        Ok(())
    }

    /// How many events there are.
    pub fn len(&self) -> usize {
        self.events.len()
    }

    /// The index of the current event, from 0.
    pub fn at(&self) -> usize {
        self.at
    }

    /// The current event.
    pub fn event(&self) -> &Event {
        &self.events[self.at]
    }

    /// Goes to an event, or to the last one if there are not so many.
    pub fn go(&mut self, to: usize) {
        let to = to.min(self.events.len() - 1);
        while self.at > to {
            self.replay.undo();
            self.at -= 1;
        }
        while self.at < to {
            self.at += 1;
            self.apply_again();
        }
    }

    /// The memory after the current event.
    pub fn memory(&self) -> &Memory {
        &self.replay
    }

    /// The bytes of a range before and after the current event; `None` where nothing is mapped.
    pub fn bytes(&mut self, range: Range<u64>) -> [Vec<Option<u8>>; 2] {
        let read = |memory: &Memory| range.clone().map(|at| Some(memory.read(Addr(at), 1)?[0])).collect();
        let after = read(&self.replay);
        self.replay.undo();
        let before = read(&self.replay);
        self.apply_again();
        [before, after]
    }

    fn apply_again(&mut self) {
        self.replay.apply(&self.events[self.at]).expect("an event that was applied once can be applied again");
    }

    /// The events that event `at` belongs to.
    pub fn link(&self, at: usize) -> Link {
        self.links.get(at)
    }
}

/// The remark about a call: `add(40, 2) = 42`.
fn call_remark(text: &str, result: &Result<String, Failure>) -> Option<String> {
    let call = FixtureCall::parse(text).ok()?;
    Some(match result {
        Ok(result) => format!("{} = {result}", call.shown()),
        Err(_) => format!("{} cannot be called", call.shown()),
    })
}

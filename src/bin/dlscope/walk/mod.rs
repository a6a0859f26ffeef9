//! A load as a sequence of events that one can walk in both directions: what `step` and `report` show.
//!
//! The library is really loaded, once; what is walked is the record. [`Replay`] rebuilds the memory at every event,
//! forwards and backwards, so going back is exact.

use std::collections::BTreeMap;
use std::io;

use dlscope::event::{Event, Kind};
use dlscope::replay::Replay;

use crate::Failure;
use crate::atlas::Atlas;
use crate::fixture_call::FixtureCall;
use crate::subject::{Part, Subject, Target};

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
pub use search::Way;
pub use sources::excerpt;
pub use space::Region;

/// How `Replay` gets at files.
type Files = fn(&str) -> io::Result<Vec<u8>>;

/// Modelled memory.
pub type Memory = Replay<Files>;

/// A record of a load, and a place in it.
pub struct Walk {
    /// What was loaded.
    pub title: String,
    /// Everything that happened.
    pub events: Vec<Event>,
    /// What belongs to each event: the relocation of a store, the lookup of a relocation.
    links: Vec<Link>,
    /// What is known about objects and symbols at the end.
    pub atlas: Atlas,
    /// What happened after an event and is none: results of calls, what the library printed.
    pub remarks: BTreeMap<usize, Vec<String>>,
    /// Why the load failed, if it did.
    pub error: Option<Failure>,
    replay: Memory,
    /// The event that is looked at; it is the last one that was applied to `replay`.
    at: usize,
}

impl Walk {
    /// Loads the subject and records everything, from the search to the unmapping.
    ///
    /// # Errors
    /// If there is nothing to walk through: the command line was wrong, or a file could not be written.
    pub fn record(subject: &Subject) -> Result<Walk, Failure> {
        let target = subject.target()?;
        let mut events = Vec::new();
        let mut remarks: BTreeMap<usize, Vec<String>> = BTreeMap::new();
        let result = subject.run(&target, |part, mut more, printed| {
            events.append(&mut more);
            let after = remarks.entry(events.len().saturating_sub(1)).or_default();
            if let Part::Call { text, result } = part {
                after.extend(call_remark(text, result));
            }
            after.extend(printed.lines().map(|line| format!("it prints: {line}")));
            Ok(())
        });
        match result {
            Err(error) if events.is_empty() => Err(error),
            result => Walk::over(&target, events, remarks, result.err()),
        }
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
        let title = target.title().rsplit('/').next().unwrap_or_default().to_string();
        let replay = Replay::new((|path| std::fs::read(path)) as Files);
        let mut walk = Walk { title, events, links, atlas, remarks, error, replay, at: 0 };
        // Read every file while it is still there: that of a fixture lies in a folder that is going away.
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

    /// The place of the event that is looked at, from 0.
    pub fn at(&self) -> usize {
        self.at
    }

    /// The event that is looked at.
    pub fn event(&self) -> &Event {
        &self.events[self.at]
    }

    /// Goes to an event; behind the end it is the last one.
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

    /// The memory as it is after the event that is looked at.
    pub fn memory(&self) -> &Memory {
        &self.replay
    }

    /// The memory as it was before that event: `look` sees it.
    pub fn before<T>(&mut self, look: impl FnOnce(&Memory) -> T) -> T {
        self.replay.undo();
        let seen = look(&self.replay);
        self.apply_again();
        seen
    }

    fn apply_again(&mut self) {
        self.replay.apply(&self.events[self.at]).expect("an event that was applied once can be applied again");
    }

    /// What belongs to event `at`.
    pub fn link(&self, at: usize) -> Link {
        self.links[at]
    }
}

/// `add(40, 2) = 42`.
fn call_remark(text: &str, result: &Result<String, Failure>) -> Option<String> {
    let call = FixtureCall::parse(text).ok()?;
    Some(match result {
        Ok(result) => format!("{} = {result}", call.shown()),
        Err(_) => format!("{} cannot be called", call.shown()),
    })
}

/// Whether an event changes the memory of objects.
pub fn is_effect(kind: &Kind) -> bool {
    matches!(
        kind,
        Kind::Reserve { .. }
            | Kind::MapWhole { .. }
            | Kind::Map { .. }
            | Kind::MapZero { .. }
            | Kind::Zero { .. }
            | Kind::Protect { .. }
            | Kind::Store { .. }
            | Kind::Changed { .. }
            | Kind::Unmap { .. }
    )
}

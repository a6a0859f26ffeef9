//! From stamps to accounts: every nanosecond between the call and its return goes to one part of one object.
//!
//! The time up to an event belongs to what the event tells, for an event is told when the thing is done. Two things
//! are told before they are done: a call of foreign code, and a request. So the time up to a request that a
//! constructor makes is the constructor's, and the time up to a constructor's return, too.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::part::Part;
use super::stamps::{Moment, Stamp, What};

/// How much of a load went to one part of one object.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Share {
    pub part: Part,
    /// Its path; `None` for the loader's own work, which is for no single object.
    pub object: Option<String>,
    pub nanoseconds: u64,
    pub faults: u64,
}

/// The time of searches in one object's relocation.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Searches {
    pub object: String,
    /// How often a symbol was asked for.
    pub symbols: u64,
    /// From question to answer, together, the reading of the clock included.
    pub nanoseconds: u64,
}

/// The accounts under way.
#[derive(Default)]
struct Ledger {
    shares: BTreeMap<(Part, Option<String>), (u64, u64)>,
    /// What was spent on a file that is no object yet.
    unnamed: (u64, u64),
}

impl Ledger {
    fn add(&mut self, part: Part, object: Option<String>, (nanoseconds, faults): (u64, u64)) {
        let share = self.shares.entry((part, object)).or_default();
        *share = (share.0 + nanoseconds, share.1 + faults);
    }

    /// The file that was looked at is this object; or nobody's, if another is looked for.
    fn name(&mut self, object: Option<String>) {
        let spent = std::mem::take(&mut self.unnamed);
        self.add(Part::Search, object, spent);
    }
}

/// Divides the time from `start` to `end`.
pub fn divide(start: Moment, stamps: &[Stamp], end: Moment) -> Vec<Share> {
    let mut ledger = Ledger::default();
    // The objects whose constructors run at this moment, the innermost last.
    let mut running: Vec<Option<String>> = Vec::new();
    let mut before = start;
    for stamp in stamps {
        let spent = between(before, stamp.came);
        before = stamp.left;
        let object = stamp.object.as_ref().map(|tag| tag.name.to_string());
        match stamp.what {
            What::Begin => match running.last() {
                Some(caller) => ledger.add(Part::Constructors, caller.clone(), spent),
                None => ledger.add(Part::Host, None, spent),
            },
            What::Call => {
                ledger.add(Part::of_stage(stamp.stage), object.clone(), spent);
                running.push(object);
            }
            What::Return => {
                running.pop();
                ledger.add(Part::Constructors, object, spent);
            }
            What::Search => {
                ledger.name(None);
                ledger.add(Part::Search, None, spent);
            }
            What::Planned => {
                ledger.name(object.clone());
                ledger.add(Part::Map, object, spent);
            }
            What::Scope => ledger.add(Part::Lookup, None, spent),
            What::End => {
                ledger.name(None);
                ledger.add(Part::Publish, None, spent);
            }
            What::Relocated { .. } | What::Other => match (Part::of_stage(stamp.stage), object) {
                (Part::Search, None) => {
                    ledger.unnamed = (ledger.unnamed.0 + spent.0, ledger.unnamed.1 + spent.1);
                }
                (part, object) => ledger.add(part, object, spent),
            },
        }
    }
    ledger.name(None);
    ledger.add(Part::Publish, None, between(before, end));
    let share = |((part, object), (nanoseconds, faults))| Share { part, object, nanoseconds, faults };
    ledger.shares.into_iter().map(share).filter(|s: &Share| s.nanoseconds > 0 || s.faults > 0).collect()
}

fn between(before: Moment, after: Moment) -> (u64, u64) {
    let time = after.time.saturating_duration_since(before.time).as_nanos() as u64;
    (time, after.faults.saturating_sub(before.faults))
}

/// The searches of each object, where they were timed.
pub fn searches(stamps: &[Stamp]) -> Vec<Searches> {
    let timed = |stamp: &Stamp| match (&stamp.what, &stamp.object) {
        (What::Relocated { symbols, looking_up: Some(nanoseconds) }, Some(tag)) => {
            Some(Searches { object: tag.name.to_string(), symbols: *symbols, nanoseconds: *nanoseconds })
        }
        _ => None,
    };
    stamps.iter().filter_map(timed).collect()
}

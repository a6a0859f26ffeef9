//! Divides the time of a load: every nanosecond between the call and its return goes to one part of one object.
//!
//! The loader emits an event when the work is done, so the time before an event belongs to the work that the event
//! tells. There are two exceptions, a call of foreign code and a request, whose events come before the work. So the
//! time before a request that a constructor makes belongs to the constructor, and so does the time before the
//! constructor's return.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::part::Part;
use super::stamps::{Boundary, Moment, Stamp};

/// The time that one part of one object took.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Share {
    pub part: Part,
    /// The path of the object; `None` for work of the loader that is for no single object.
    pub object: Option<String>,
    pub nanoseconds: u64,
    pub faults: u64,
}

/// The time of all lookups in one object's relocation.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct LookupTime {
    pub object: String,
    /// How many lookups.
    pub symbols: u64,
    /// The sum of their times, which includes the time of reading the clock.
    pub nanoseconds: u64,
}

/// The times so far.
#[derive(Default)]
struct Ledger {
    shares: BTreeMap<(Part, Option<String>), (u64, u64)>,
    /// Time and page faults for a file of which no object has been made yet.
    unnamed: (u64, u64),
}

impl Ledger {
    fn add(&mut self, part: Part, object: Option<String>, (nanoseconds, faults): (u64, u64)) {
        let share = self.shares.entry((part, object)).or_default();
        *share = (share.0 + nanoseconds, share.1 + faults);
    }

    /// Gives that time to an object; to none if the file did not become an object.
    fn name(&mut self, object: Option<String>) {
        let spent = std::mem::take(&mut self.unnamed);
        self.add(Part::Search, object, spent);
    }
}

/// Divides the time from `start` to `end` among parts and objects.
pub fn divide(start: Moment, stamps: &[Stamp], end: Moment) -> Vec<Share> {
    let mut ledger = Ledger::default();
    // The objects whose constructors are running, the innermost last.
    let mut running: Vec<Option<String>> = Vec::new();
    let mut before = start;
    for stamp in stamps {
        let spent = between(before, stamp.came);
        before = stamp.left;
        let object = stamp.object.as_ref().map(|tag| tag.name.to_string());
        match stamp.what {
            Boundary::Begin => match running.last() {
                Some(caller) => ledger.add(Part::Constructors, caller.clone(), spent),
                None => ledger.add(Part::Host, None, spent),
            },
            Boundary::Call => {
                ledger.add(Part::of_stage(stamp.stage), object.clone(), spent);
                running.push(object);
            }
            Boundary::Return => {
                running.pop();
                ledger.add(Part::Constructors, object, spent);
            }
            Boundary::Search => {
                ledger.name(None);
                ledger.add(Part::Search, None, spent);
            }
            Boundary::Planned => {
                ledger.name(object.clone());
                ledger.add(Part::Map, object, spent);
            }
            Boundary::Scope => ledger.add(Part::Lookup, None, spent),
            Boundary::End => {
                ledger.name(None);
                ledger.add(Part::Publish, None, spent);
            }
            Boundary::Relocated { .. } | Boundary::Other => match (Part::of_stage(stamp.stage), object) {
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

/// The lookup times of each object, if they were measured.
pub fn lookups(stamps: &[Stamp]) -> Vec<LookupTime> {
    let timed = |stamp: &Stamp| match (&stamp.what, &stamp.object) {
        (Boundary::Relocated { symbols, looking_up: Some(nanoseconds) }, Some(tag)) => {
            Some(LookupTime { object: tag.name.to_string(), symbols: *symbols, nanoseconds: *nanoseconds })
        }
        _ => None,
    };
    stamps.iter().filter_map(timed).collect()
}

//! Keeps what explains a load, and forgets the rest: most events are words that were patched.

use std::sync::{Mutex, PoisonError};

use dlscope::event::{Event, Kind, Probe};

/// The probe of this subcommand.
#[derive(Default)]
pub struct Watcher {
    kept: Mutex<Vec<Event>>,
}

impl Watcher {
    /// What was kept, in order.
    pub fn take(&self) -> Vec<Event> {
        std::mem::take(&mut self.kept.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Probe for Watcher {
    fn event(&self, event: &Event) {
        let kind = match &event.kind {
            // Who was asked on the way takes the most room, and is not told here.
            Kind::Lookup { name, version, hash, found: Some(found), .. } => Kind::Lookup {
                name: name.clone(),
                version: version.clone(),
                hash: *hash,
                candidates: Vec::new(),
                found: Some(found.clone()),
            },
            Kind::Host { .. }
            | Kind::Search { .. }
            | Kind::Rule { .. }
            | Kind::Try { .. }
            | Kind::Known { .. }
            | Kind::Planned { .. }
            | Kind::DynamicEntry { .. }
            | Kind::Needed { .. }
            | Kind::Fault { .. }
            | Kind::Scope { .. }
            | Kind::Pass { .. }
            | Kind::StaticTls { .. } => event.kind.clone(),
            _ => return,
        };
        let event = Event { kind, object: event.object.clone(), ..*event };
        self.kept.lock().unwrap_or_else(PoisonError::into_inner).push(event);
    }
}

//! A probe that keeps the events that explain a load. It drops the others, most of which are about single relocations.

use std::sync::{Mutex, PoisonError};

use dlscope::event::{Event, Kind, Probe, VersionOutcome};

/// The probe of this subcommand.
#[derive(Default)]
pub struct Watcher {
    kept: Mutex<Vec<Event>>,
}

impl Watcher {
    /// The events that were kept, in order.
    pub fn take(&self) -> Vec<Event> {
        std::mem::take(&mut self.kept.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Probe for Watcher {
    fn event(&self, event: &Event) {
        let kind = match &event.kind {
            // The objects that were asked take the most memory, and `why` does not tell them.
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
            | Kind::Version { outcome: VersionOutcome::ProviderHasNone, .. }
            | Kind::StaticTls { .. } => event.kind.clone(),
            _ => return,
        };
        let event = Event { kind, object: event.object.clone(), ..*event };
        self.kept.lock().unwrap_or_else(PoisonError::into_inner).push(event);
    }
}

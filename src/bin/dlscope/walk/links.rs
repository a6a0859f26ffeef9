//! Which events belong together: a store to its relocation, a relocation to the lookup of its symbol.

use std::collections::HashMap;

use dlscope::event::{Event, Kind, Stage};

use crate::atlas::Atlas;

/// What an event belongs to, by place in the list of events.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Link {
    /// The relocation (or the decision about a slot) that this event carries out.
    pub cause: Option<usize>,
    /// The lookup that found the symbol for it.
    pub lookup: Option<usize>,
}

/// A link for every event.
pub fn of(events: &[Event], atlas: &Atlas) -> Vec<Link> {
    let mut finder =
        Finder { atlas, pending: None, cause: Link::default(), found: HashMap::new(), deferred: HashMap::new() };
    events.iter().enumerate().map(|(at, event)| finder.link(at, event)).collect()
}

/// What is remembered on the way through the events.
struct Finder<'a> {
    atlas: &'a Atlas,
    /// The last lookup, until a relocation takes it.
    pending: Option<usize>,
    /// What the next store carries out.
    cause: Link,
    /// By object and symbol index: its lookup. Each is looked up once and used by several relocations.
    found: HashMap<(u32, u32), usize>,
    /// By slot: what was put off to pass 2.
    deferred: HashMap<u64, Link>,
}

impl Finder<'_> {
    fn link(&mut self, at: usize, event: &Event) -> Link {
        let object = event.object.as_ref().map_or(0, |object| object.id);
        match &event.kind {
            Kind::Lookup { .. } => {
                self.pending = Some(at);
                Link { cause: self.cause.cause.filter(|_| event.stage == Stage::Bind), lookup: Some(at) }
            }
            Kind::Relocation { symbol, .. } => {
                let index = symbol.map(|symbol| (object, symbol));
                let pending = self.pending.take();
                if let (Some(index), Some(lookup)) = (index, pending) {
                    self.found.insert(index, lookup);
                }
                let lookup = index.and_then(|index| self.found.get(&index).copied());
                self.cause = Link { cause: Some(at), lookup };
                self.cause
            }
            Kind::Deferred { place, .. } => {
                if let Some(bias) = self.atlas.place(object).and_then(|place| place.bias) {
                    self.deferred.insert((bias + *place).0, self.cause);
                }
                std::mem::take(&mut self.cause)
            }
            Kind::LazyGot { .. } | Kind::LeftForCall { .. } | Kind::FirstCall { .. } => {
                self.cause = Link { cause: Some(at), lookup: None };
                self.cause
            }
            Kind::Store { address, .. } => match self.deferred.get(&address.0) {
                Some(link) => *link,
                None => Link { lookup: self.cause.lookup.or(self.pending), ..self.cause },
            },
            Kind::Call { .. } | Kind::Return { .. } => self.cause,
            _ => {
                self.cause = Link::default();
                self.pending = None;
                Link::default()
            }
        }
    }
}

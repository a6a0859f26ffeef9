//! Finds which events belong together: a store and its relocation, a relocation and the lookup of its symbol.

use std::collections::HashMap;

use dlscope::event::{Event, Kind, Stage};

use crate::atlas::Atlas;

/// The events that an event belongs to, by their indexes in the list of events.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Link {
    /// The relocation that this event carries out, or the event that decided about the slot.
    pub cause: Option<usize>,
    /// The lookup of the symbol.
    pub lookup: Option<usize>,
}

/// The links of all events. There may be a million of them, so each is two numbers of 32 bits.
pub struct Links(Vec<[u32; 2]>);

/// The number that stands for no event.
const NONE: u32 = u32::MAX;

impl Links {
    fn add(&mut self, link: Link) {
        let packed = |event: Option<usize>| event.and_then(|at| u32::try_from(at).ok()).unwrap_or(NONE);
        self.0.push([packed(link.cause), packed(link.lookup)]);
    }

    /// The link of event `at`.
    pub fn get(&self, at: usize) -> Link {
        let [cause, lookup] = self.0[at].map(|event| (event != NONE).then_some(event as usize));
        Link { cause, lookup }
    }
}

/// Finds the link of every event.
pub fn of(events: &[Event], atlas: &Atlas) -> Links {
    let mut finder =
        Finder { atlas, pending: None, cause: Link::default(), found: HashMap::new(), deferred: HashMap::new() };
    let mut links = Links(Vec::with_capacity(events.len()));
    events.iter().enumerate().for_each(|(at, event)| links.add(finder.link(at, event)));
    links
}

/// What the search for links remembers on its way through the events.
struct Finder<'a> {
    atlas: &'a Atlas,
    /// The last lookup, until a relocation uses it.
    pending: Option<usize>,
    /// The link of the next store.
    cause: Link,
    /// The lookup of each symbol, by object and symbol index: several relocations may use one lookup.
    found: HashMap<(u32, u32), usize>,
    /// The links of relocations that wait for pass 2, by the address of the slot.
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
                if let Some(bias) = self.atlas.bias(object) {
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

//! From one event to another: by stage, by type, by text, by address.

use dlscope::event::Kind;

use super::Walk;

/// Which way to look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    Forwards,
    Backwards,
}

impl Walk {
    /// The nearest event in a direction that `wanted` takes, by its place; the one that is looked at not included.
    pub fn nearest(&self, way: Way, mut wanted: impl FnMut(usize) -> bool) -> Option<usize> {
        match way {
            Way::Forwards => (self.at() + 1..self.len()).find(|&at| wanted(at)),
            Way::Backwards => (0..self.at()).rev().find(|&at| wanted(at)),
        }
    }

    /// The first event of the next stage; backwards the first of this one, or of the one before it.
    pub fn stage(&self, way: Way) -> Option<usize> {
        let starts = |at: usize| at == 0 || self.stage_of(at) != self.stage_of(at - 1);
        self.nearest(way, starts)
    }

    fn stage_of(&self, at: usize) -> (dlscope::event::Stage, dlscope::event::LoadId) {
        (self.events[at].stage, self.events[at].load)
    }

    /// The next event like this one: of a relocation or its store the next of its type, else of the same kind.
    pub fn alike(&self, way: Way) -> Option<usize> {
        let here = self.at();
        match self.relocation_type(here) {
            Some(wanted) => {
                let by_store = matches!(self.events[here].kind, Kind::Store { .. });
                self.nearest(way, |at| {
                    let store = matches!(self.events[at].kind, Kind::Store { .. });
                    store == by_store && self.relocation_type(at) == Some(wanted)
                })
            }
            None => {
                let wanted = self.events[here].kind.name();
                self.nearest(way, |at| self.events[at].kind.name() == wanted)
            }
        }
    }

    /// The type of the relocation that event `at` belongs to.
    pub fn relocation_type(&self, at: usize) -> Option<&str> {
        match &self.events[self.link(at).cause?].kind {
            Kind::Relocation { kind, .. } => Some(kind),
            Kind::LeftForCall { .. } => Some("R_X86_64_JUMP_SLOT"),
            _ => None,
        }
    }

    /// The next event that names `text`: in its sentence, its kind, or the type of its relocation. Goes round.
    pub fn find(&self, way: Way, text: &str) -> Option<usize> {
        let text = text.to_lowercase();
        let holds = |at: usize| {
            self.sentence(at).to_lowercase().contains(&text)
                || self.events[at].kind.name().contains(&text)
                || self.relocation_type(at).is_some_and(|kind| kind.to_lowercase().contains(&text))
        };
        let found = self.nearest(way, holds);
        found.or_else(|| match way {
            Way::Forwards => (0..self.at()).find(|&at| holds(at)),
            Way::Backwards => (self.at() + 1..self.len()).rev().find(|&at| holds(at)),
        })
    }

    /// The next event that changes the byte at `address`; goes round.
    pub fn touching(&self, address: u64) -> Option<usize> {
        let touches = |at: usize| {
            super::is_effect(&self.events[at].kind)
                && self.touched(at).is_some_and(|(from, length)| from.0 <= address && address - from.0 < length)
        };
        self.nearest(Way::Forwards, touches).or_else(|| (0..=self.at()).find(|&at| touches(at)))
    }
}

//! Ways from one event to another: by stage, by type, by text, by address.

use dlscope::event::Kind;
use dlscope::replay::Effect;

use super::Walk;

/// The direction of a search.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    Forwards,
    Backwards,
}

impl Walk {
    /// The nearest event in a direction that `wanted` accepts, without the current event.
    pub fn nearest(&self, direction: Direction, mut wanted: impl FnMut(usize) -> bool) -> Option<usize> {
        match direction {
            Direction::Forwards => (self.at() + 1..self.len()).find(|&at| wanted(at)),
            Direction::Backwards => (0..self.at()).rev().find(|&at| wanted(at)),
        }
    }

    /// Forwards the first event of the next stage; backwards the first event of this stage, or of the one before.
    pub fn stage(&self, direction: Direction) -> Option<usize> {
        let starts = |at: usize| at == 0 || self.stage_of(at) != self.stage_of(at - 1);
        self.nearest(direction, starts)
    }

    fn stage_of(&self, at: usize) -> (dlscope::event::Stage, dlscope::event::LoadId) {
        (self.events[at].stage, self.events[at].load)
    }

    /// The next event like the current one: for a relocation or its store one of the same relocation type, else one of
    /// the same kind.
    pub fn alike(&self, direction: Direction) -> Option<usize> {
        let here = self.at();
        match self.relocation_type(here) {
            Some(wanted) => {
                let by_store = matches!(self.events[here].kind, Kind::Store { .. });
                self.nearest(direction, |at| {
                    let store = matches!(self.events[at].kind, Kind::Store { .. });
                    store == by_store && self.relocation_type(at) == Some(wanted)
                })
            }
            None => {
                let wanted = self.events[here].kind.name();
                self.nearest(direction, |at| self.events[at].kind.name() == wanted)
            }
        }
    }

    /// The type of the relocation that event `at` belongs to, if it belongs to one.
    pub fn relocation_type(&self, at: usize) -> Option<&str> {
        match &self.events[self.link(at).cause?].kind {
            Kind::Relocation { kind, .. } => Some(kind),
            Kind::LeftForCall { .. } => Some("R_X86_64_JUMP_SLOT"),
            _ => None,
        }
    }

    /// The next event that has `text` in its sentence, its kind, or the type of its relocation. After the last event
    /// the search goes on at the first.
    pub fn find(&self, text: &str) -> Option<usize> {
        let text = text.to_lowercase();
        let holds = |at: usize| {
            self.sentence(at).to_lowercase().contains(&text)
                || self.events[at].kind.name().contains(&text)
                || self.relocation_type(at).is_some_and(|kind| kind.to_lowercase().contains(&text))
        };
        self.nearest(Direction::Forwards, holds).or_else(|| (0..self.at()).find(|&at| holds(at)))
    }

    /// The next event that changes the byte at `address`. After the last event the search goes on at the first.
    pub fn touching(&self, address: u64) -> Option<usize> {
        let touches = |at: usize| {
            Effect::of(&self.events[at].kind)
                .is_some_and(|effect| effect.address.0 <= address && address - effect.address.0 < effect.length)
        };
        self.nearest(Direction::Forwards, touches).or_else(|| (0..=self.at()).find(|&at| touches(at)))
    }
}

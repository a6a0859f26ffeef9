//! A probe that notes when each event came, and nothing else.
//!
//! It asks for the stages only, so hardly anything is told and the load is hardly slower. The events are made when a
//! thing is done: the time up to an event is that of the work which it tells.

use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use dlscope::elf::addr::Addr;
use dlscope::event::{Detail, Event, Kind, Probe, Stage, Tag};
use nix::libc;
use nix::unistd::gettid;

use super::pages::{self, Seen};

/// What one run looks at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Looks {
    /// Each search for a symbol is timed, too.
    pub lookups: bool,
    /// Each mapping is brought into memory whole, as soon as it is made, so that nothing faults later.
    pub resident: bool,
    /// Page faults and pages are counted.
    pub pages: bool,
}

/// An event, as far as the accounts need it.
pub struct Stamp {
    /// When it came, and when the probe was done with it. In between nothing of the load happens.
    pub came: Moment,
    pub left: Moment,
    pub stage: Stage,
    pub object: Option<Tag>,
    pub what: What,
}

/// A point of time, and the page faults up to it.
#[derive(Clone, Copy)]
pub struct Moment {
    pub time: Instant,
    pub faults: u64,
}

/// The kinds of event that are boundaries of a special sort.
pub enum What {
    Begin,
    End,
    Search,
    Planned,
    /// The scope is being made.
    Scope,
    Call,
    Return,
    Relocated {
        symbols: u64,
        looking_up: Option<u64>,
    },
    Other,
}

impl What {
    fn of(kind: &Kind) -> What {
        match kind {
            Kind::Begin { .. } => What::Begin,
            Kind::End { .. } => What::End,
            Kind::Search { .. } => What::Search,
            Kind::Planned { .. } => What::Planned,
            Kind::Scope { .. } | Kind::Pass { .. } => What::Scope,
            Kind::Call { .. } => What::Call,
            Kind::Return { .. } => What::Return,
            Kind::Relocated { symbols, looking_up, .. } => {
                What::Relocated { symbols: *symbols, looking_up: *looking_up }
            }
            _ => What::Other,
        }
    }
}

/// The probe.
pub struct Stamps {
    looks: Looks,
    thread: i32,
    stamps: Mutex<Vec<Stamp>>,
    /// Where objects lie and what became of their pages.
    seen: Mutex<Vec<Seen>>,
}

impl Stamps {
    pub fn new(looks: Looks) -> Stamps {
        let mut stamps = Vec::with_capacity(1 << 14);
        // The pages of the list itself must not fault later.
        stamps.resize_with(stamps.capacity(), || Stamp {
            came: Moment::new(false),
            left: Moment::new(false),
            stage: Stage::Find,
            object: None,
            what: What::Other,
        });
        stamps.clear();
        Stamps { looks, thread: gettid().as_raw(), stamps: Mutex::new(stamps), seen: Mutex::default() }
    }

    pub fn take(&self) -> (Vec<Stamp>, Vec<Seen>) {
        let take = |seen: &Mutex<Vec<Seen>>| std::mem::take(&mut *seen.lock().unwrap_or_else(PoisonError::into_inner));
        let stamps = std::mem::take(&mut *self.stamps.lock().unwrap_or_else(PoisonError::into_inner));
        (stamps, take(&self.seen))
    }

    /// What is done to or noted about pages at this event.
    fn look_at_pages(&self, event: &Event) {
        if self.looks.resident
            && let Some((address, length, writable)) = mapped(&event.kind)
        {
            pages::bring_in(address, length, writable);
        }
        if self.looks.pages {
            pages::note(&mut self.seen.lock().unwrap_or_else(PoisonError::into_inner), event);
        }
    }
}

fn mapped(kind: &Kind) -> Option<(Addr, u64, bool)> {
    match kind {
        Kind::Map { address, length, prot, .. } | Kind::MapZero { address, length, prot } if prot.readable() => {
            Some((*address, *length, prot.writable()))
        }
        _ => None,
    }
}

impl Probe for Stamps {
    fn event(&self, event: &Event) {
        let came = Moment::new(self.looks.pages);
        // A constructor's threads load on their own time.
        if event.thread != self.thread {
            return;
        }
        let mut left = came;
        if self.looks.resident || self.looks.pages {
            self.look_at_pages(event);
            left = Moment::new(self.looks.pages);
        }
        let stamp = Stamp { came, left, stage: event.stage, object: event.object.clone(), what: What::of(&event.kind) };
        self.stamps.lock().unwrap_or_else(PoisonError::into_inner).push(stamp);
    }

    fn detail(&self) -> Detail {
        if self.looks.lookups { Detail::Lookups } else { Detail::Stages }
    }
}

impl Moment {
    /// Now. Counting faults is a system call of its own.
    pub fn new(with_faults: bool) -> Moment {
        Moment { time: Instant::now(), faults: if with_faults { faults() } else { 0 } }
    }
}

/// The page faults of this thread so far, `ru_minflt` and `ru_majflt`.
fn faults() -> u64 {
    // SAFETY: `rusage` is numbers, for which zeros are valid; getrusage(2) fills it in and does nothing else.
    let usage = unsafe {
        let mut usage: libc::rusage = std::mem::zeroed();
        libc::getrusage(libc::RUSAGE_THREAD, &raw mut usage);
        usage
    };
    (usage.ru_minflt + usage.ru_majflt) as u64
}

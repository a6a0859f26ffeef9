//! A probe that notes the time of each event.
//!
//! It asks for the stages only, so there are few events and the load is hardly slower. The loader emits an event when
//! the work is done, so the time before an event is the time of the work that the event tells.

use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use dlscope::elf::addr::Addr;
use dlscope::event::{Detail, Event, Kind, Probe, Stage, Tag};
use nix::libc;
use nix::unistd::gettid;

use super::child::RunKind;
use super::pages::{self, WatchedObject};

/// The time of an event, and what `account` must know about it.
pub struct Stamp {
    /// The time when the event came, and when the probe was done with it. The load stands still in between.
    pub came: Moment,
    pub left: Moment,
    pub stage: Stage,
    pub object: Option<Tag>,
    pub what: Boundary,
}

/// A point in time, and the number of page faults up to it.
#[derive(Clone, Copy)]
pub struct Moment {
    pub time: Instant,
    pub faults: u64,
}

/// The kind of an event, as far as it decides to which part the time before it belongs.
pub enum Boundary {
    Begin,
    End,
    Search,
    Planned,
    /// The loader has made the scope, or begins a pass.
    Scope,
    Call,
    Return,
    Relocated {
        symbols: u64,
        looking_up: Option<u64>,
    },
    Other,
}

impl Boundary {
    fn of(kind: &Kind) -> Boundary {
        match kind {
            Kind::Begin { .. } => Boundary::Begin,
            Kind::End { .. } => Boundary::End,
            Kind::Search { .. } => Boundary::Search,
            Kind::Planned { .. } => Boundary::Planned,
            Kind::Scope { .. } | Kind::Pass { .. } => Boundary::Scope,
            Kind::Call { .. } => Boundary::Call,
            Kind::Return { .. } => Boundary::Return,
            Kind::Relocated { symbols, looking_up, .. } => {
                Boundary::Relocated { symbols: *symbols, looking_up: *looking_up }
            }
            _ => Boundary::Other,
        }
    }
}

/// The probe that notes times.
pub struct Stamps {
    kind: RunKind,
    thread: i32,
    stamps: Mutex<Vec<Stamp>>,
    /// The objects whose pages are counted.
    seen: Mutex<Vec<WatchedObject>>,
}

impl Stamps {
    pub fn new(kind: RunKind) -> Stamps {
        let mut stamps = Vec::with_capacity(1 << 14);
        // So that no page fault of this list itself falls into the load.
        stamps.resize_with(stamps.capacity(), || Stamp {
            came: Moment::new(false),
            left: Moment::new(false),
            stage: Stage::Find,
            object: None,
            what: Boundary::Other,
        });
        stamps.clear();
        Stamps { kind, thread: gettid().as_raw(), stamps: Mutex::new(stamps), seen: Mutex::default() }
    }

    pub fn take(&self) -> (Vec<Stamp>, Vec<WatchedObject>) {
        let take = |seen: &Mutex<Vec<WatchedObject>>| {
            std::mem::take(&mut *seen.lock().unwrap_or_else(PoisonError::into_inner))
        };
        let stamps = std::mem::take(&mut *self.stamps.lock().unwrap_or_else(PoisonError::into_inner));
        (stamps, take(&self.seen))
    }

    /// Brings pages into memory, or notes which pages an object has, as this kind of run wants it.
    fn look_at_pages(&self, event: &Event) {
        if self.kind == RunKind::Resident
            && let Some((address, length, writable)) = mapped(&event.kind)
        {
            pages::bring_in(address, length, writable);
        }
        if self.kind.counts_faults() {
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
        let came = Moment::new(self.kind.counts_faults());
        // Threads that a constructor starts may load libraries, too; they are not part of this load.
        if event.thread != self.thread {
            return;
        }
        let mut left = came;
        if self.kind == RunKind::Resident || self.kind.counts_faults() {
            self.look_at_pages(event);
            left = Moment::new(self.kind.counts_faults());
        }
        let stamp =
            Stamp { came, left, stage: event.stage, object: event.object.clone(), what: Boundary::of(&event.kind) };
        self.stamps.lock().unwrap_or_else(PoisonError::into_inner).push(stamp);
    }

    fn detail(&self) -> Detail {
        if matches!(self.kind, RunKind::Lookups | RunKind::Resident) { Detail::Lookups } else { Detail::Stages }
    }
}

impl Moment {
    /// The present moment. Page faults are counted on demand only, because that takes a system call.
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

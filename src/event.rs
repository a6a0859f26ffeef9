//! Typed events, which tell what the loader does, and the probes that listen to them.
//!
//! The loader prints nothing. Each effect on an object's memory and each decision is an [`Event`]. To see
//! them, give a [`Probe`] to a [`Loader`](crate::Loader). Every view (the command's `trace`, a test, your own
//! program) is made of events alone.
//!
//! Without a probe no event is built. Each place that tells an event tests whether somebody listens, and goes
//! on.

use std::fmt;
use std::panic::Location;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use crate::elf::addr::{Addr, Bias, FileOffset, Vaddr, Word};
use crate::elf::image::{Prot, Segment};
use crate::elf::plan::Plan;
use crate::elf::trail::Probing;
pub use crate::error::Stage;
use crate::thread::words;

mod kind;
mod parts;
mod show;
pub use kind::*;
pub use parts::*;

/// The version of the stream's form. It goes up when a reader of an older stream would misread a newer one.
pub const STREAM_VERSION: u32 = 1;

/// Listens to a loader. A probe watches; it cannot change what the loader does.
///
/// Events come from whichever thread loads, possibly from several at once. If a probe loads something itself
/// while it handles an event, the events of that load are dropped and counted in [`dropped`].
pub trait Probe: Send + Sync {
    /// Called with each event, as it happens.
    fn event(&self, event: &Event);

    /// Whether the probe wants events at all. Asked once for each request.
    fn listening(&self) -> bool {
        true
    }

    /// How many of the events the probe wants. Asked once for each request.
    fn detail(&self) -> Detail {
        Detail::Everything
    }
}

/// How many of the events a probe wants.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Detail {
    /// All events.
    #[default]
    Everything,
    /// Only the events that tell where stages and objects begin and end. It leaves out single headers, rules,
    /// dynamic entries, relocations, lookups, stores, calls of resolvers and changed bytes. Those make a load
    /// many times slower, so a probe that measures time does without them.
    Stages,
    /// The same as `Stages`, and the time of symbol lookups is measured: `looking_up` in [`Kind::Relocated`].
    Lookups,
}

/// A probe that keeps every event, in a buffer that is allocated beforehand.
///
/// ```
/// use std::sync::Arc;
/// let recorder = Arc::new(dlscope::Recorder::with_capacity(4096));
/// let loader = dlscope::Loader::new().probe(recorder.clone());
/// // SAFETY: zlib's constructors do nothing surprising.
/// let zlib = unsafe { loader.open("libz.so.1")? };
/// assert!(recorder.events().iter().any(|e| matches!(e.kind, dlscope::event::Kind::Store { .. })));
/// # Ok::<(), dlscope::Error>(())
/// ```
#[derive(Debug, Default)]
pub struct Recorder {
    events: Mutex<Vec<Event>>,
}

impl Recorder {
    /// A recorder with room for `events` events before its buffer must grow.
    pub fn with_capacity(events: usize) -> Recorder {
        Recorder { events: Mutex::new(Vec::with_capacity(events)) }
    }

    /// The events that were recorded so far. Those of one thread are in the order of [`Event::seq`].
    pub fn events(&self) -> Vec<Event> {
        self.events.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Takes the events that were recorded so far out of the recorder.
    pub fn take(&self) -> Vec<Event> {
        std::mem::take(&mut self.events.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Probe for Recorder {
    fn event(&self, event: &Event) {
        self.events.lock().unwrap_or_else(PoisonError::into_inner).push(event.clone());
    }
}

/// One thing that the loader did or decided.
#[derive(Clone, Debug)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct Event {
    /// The number of the event. It goes up by one from event to event, over all loads and threads of the
    /// process.
    pub seq: u64,
    /// The request (open, lookup, close, …) that the event belongs to.
    pub load: LoadId,
    /// The request around that one, if there is one: a constructor may open libraries.
    pub parent: Option<LoadId>,
    /// The kernel's id of the thread that told the event.
    pub thread: i32,
    /// The stage in which it happened.
    pub stage: Stage,
    /// The object that the event is about, if it is about one.
    pub object: Option<Tag>,
    /// The line of dlscope that told the event.
    pub source: Source,
    /// What happened.
    #[cfg_attr(feature = "serde", serde(flatten))]
    pub kind: Kind,
}

/// The number of a request to the loader (an open, a lookup, a close), counted from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct LoadId(pub u64);

/// The name of an object in events. Its number is never given to another object.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct Tag {
    /// The number, counted from 1 over the process.
    pub id: u32,
    /// The path that the object was mapped from, or the name that it was given.
    pub name: Arc<str>,
}

impl Tag {
    pub(crate) fn new(name: &str) -> Tag {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        Tag { id: NEXT.fetch_add(1, Ordering::Relaxed) as u32, name: name.into() }
    }

    /// The last component of the path.
    pub fn short(&self) -> &str {
        self.name.rsplit('/').next().unwrap_or(&self.name)
    }
}

impl fmt::Display for Tag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.short())
    }
}

/// A place in dlscope's own source.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct Source {
    /// The file as `file!()` gives it, relative to the package.
    pub file: &'static str,
    /// The line, from 1.
    pub line: u32,
}

impl Source {
    fn of(at: &'static Location<'static>) -> Source {
        // If dlscope is built as a dependency of another crate, `file!()` is an absolute path.
        let file = at.file().strip_prefix(concat!(env!("CARGO_MANIFEST_DIR"), "/")).unwrap_or(at.file());
        Source { file, line: at.line() }
    }
}

static SEQ: AtomicU64 = AtomicU64::new(1);
static DROPPED: AtomicU64 = AtomicU64::new(0);
static NEXT_LOAD: AtomicU64 = AtomicU64::new(1);

/// How many events were dropped because a probe caused them while it handled another.
pub fn dropped() -> u64 {
    DROPPED.load(Ordering::Relaxed)
}

/// A request of this thread: its number, and that of the request around it.
pub(crate) struct Request {
    load: LoadId,
    parent: Option<LoadId>,
}

impl Request {
    pub(crate) fn begin() -> Entered {
        let load = LoadId(NEXT_LOAD.fetch_add(1, Ordering::Relaxed));
        let outer = words(|words| words.request.replace((load.0, words.request.get().0)));
        Entered { request: Request::of((load.0, outer.0)), outer }
    }

    /// The request that this thread is in, for what happens on its behalf without being told of the request.
    pub(crate) fn current() -> Request {
        Request::of(words(|words| words.request.get()))
    }

    /// By their numbers: loads count from 1, and 0 as the parent is none.
    fn of((load, parent): (u64, u64)) -> Request {
        Request { load: LoadId(load), parent: (parent != 0).then_some(LoadId(parent)) }
    }

    /// A report by which events of this request are told to `probe`, if it listens.
    pub(crate) fn report<'p>(&self, probe: Option<&'p dyn Probe>, stage: Stage) -> Report<'p> {
        let probe = probe.filter(|probe| probe.listening());
        let detail = probe.map(|probe| probe.detail());
        let (closely, timed) = (detail == Some(Detail::Everything), detail == Some(Detail::Lookups));
        Report { probe, load: self.load, parent: self.parent, stage, object: None, closely, timed }
    }
}

/// A request that has begun. Dropping this ends it, and the thread is again in the request around it.
pub(crate) struct Entered {
    request: Request,
    outer: (u64, u64),
}

impl std::ops::Deref for Entered {
    type Target = Request;

    fn deref(&self) -> &Request {
        &self.request
    }
}

impl Drop for Entered {
    fn drop(&mut self) {
        words(|words| words.request.set(self.outer));
    }
}

/// The probe that listens, if there is one, and what every event says of its circumstances: request, stage
/// and object. Stages hand a report on by value.
///
/// Where nobody listens, `tell` only tests one word. The code that builds an event stands out of line, in
/// functions marked as cold. So there is one compiled copy of every stage, whether or not somebody listens.
#[derive(Clone, Copy)]
pub(crate) struct Report<'p> {
    /// `None` if nobody listens.
    probe: Option<&'p dyn Probe>,
    load: LoadId,
    parent: Option<LoadId>,
    stage: Stage,
    object: Option<&'p Tag>,
    /// The probe's [`Detail`], as the two questions that are asked.
    closely: bool,
    timed: bool,
}

impl<'p> Report<'p> {
    /// A report that tells nobody.
    pub(crate) fn silent() -> Report<'static> {
        Request::current().report(None, Stage::Host)
    }

    /// The same report from another stage.
    #[inline(always)]
    pub(crate) fn at(self, stage: Stage) -> Self {
        Report { stage, ..self }
    }

    /// The same report about `object`.
    #[inline(always)]
    pub(crate) fn about<'q>(self, object: &'q Tag) -> Report<'q>
    where
        'p: 'q,
    {
        Report { object: Some(object), ..self }
    }

    /// The request that the report belongs to.
    pub(crate) fn load(&self) -> LoadId {
        self.load
    }

    #[inline(always)]
    pub(crate) fn listening(&self) -> bool {
        self.probe.is_some()
    }

    /// Whether the probe wants the event of every single entry.
    #[inline(always)]
    pub(crate) fn closely(&self) -> bool {
        self.closely
    }

    /// Whether the probe wants the time of symbol lookups.
    #[inline(always)]
    pub(crate) fn times_lookups(&self) -> bool {
        self.timed
    }

    /// [`Report::tell`] for events of which an object has hundreds. Only a probe that listens closely gets
    /// them.
    #[track_caller]
    #[inline(always)]
    pub(crate) fn tell_each(&self, kind: impl FnOnce() -> Kind) {
        if self.closely() {
            self.build_and_emit(Location::caller(), kind);
        }
    }

    /// Builds an event by `kind` and gives it to the probe, if one listens. The caller's line becomes the
    /// event's source.
    #[track_caller]
    #[inline(always)]
    pub(crate) fn tell(&self, kind: impl FnOnce() -> Kind) {
        if self.listening() {
            self.build_and_emit(Location::caller(), kind);
        }
    }

    /// Out of line, so that the code which runs without a probe lies close together.
    #[cold]
    #[inline(never)]
    fn build_and_emit(self, at: &'static Location<'static>, kind: impl FnOnce() -> Kind) {
        self.emit(at, kind());
    }

    #[cold]
    fn emit(&self, at: &'static Location<'static>, kind: Kind) {
        let Some(probe) = self.probe else { return };
        if words(|words| words.in_probe.replace(true)) {
            DROPPED.fetch_add(1, Ordering::Relaxed);
            return;
        }
        // The drop also runs if the probe panics.
        struct Leave;
        impl Drop for Leave {
            fn drop(&mut self) {
                words(|words| words.in_probe.set(false));
            }
        }
        let _leave = Leave;
        probe.event(&Event {
            seq: SEQ.fetch_add(1, Ordering::Relaxed),
            load: self.load,
            parent: self.parent,
            thread: nix::unistd::gettid().as_raw(),
            stage: self.stage,
            object: self.object.cloned(),
            source: Source::of(at),
            kind,
        });
    }
}

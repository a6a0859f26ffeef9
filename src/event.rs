//! What the loader says while it works: typed events, and those who listen.
//!
//! Nothing in the loader prints. Each effect on an object's memory and each decision is an [`Event`];
//! whoever wants to see it gives a [`Probe`] to a [`Loader`](crate::Loader). Views (the command's `trace`,
//! a test, your own program) only read events.
//!
//! Without a probe no event is built: each place that would tell one tests whether somebody listens, and goes on.

use std::cell::Cell;
use std::fmt;
use std::panic::Location;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use crate::elf::addr::{Addr, Bias, FileOffset, Vaddr, Word};
use crate::elf::image::{Prot, Segment};
use crate::elf::plan::Plan;
use crate::elf::trail::Probing;
pub use crate::error::Stage;

mod kind;
mod parts;
mod show;
pub use kind::*;
pub use parts::*;

/// The version of the stream's form; it goes up when a reader of an older stream would misread a newer one.
pub const STREAM_VERSION: u32 = 1;

/// Watches a loader. Probes watch; they never steer.
///
/// Events come from whichever thread loads, possibly from several. An event that is raised while a probe
/// is already handling one on the same thread (because the probe itself loads something) is dropped and
/// counted in [`dropped`].
pub trait Probe: Send + Sync {
    /// One event, as it happens.
    fn event(&self, event: &Event);

    /// Whether events are wanted at all. Asked once for each request.
    fn listening(&self) -> bool {
        true
    }

    /// How much is wanted. Asked once for each request.
    fn detail(&self) -> Detail {
        Detail::Everything
    }
}

/// How much of the stream a probe wants.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Detail {
    /// All of it.
    #[default]
    Everything,
    /// What tells where stages and objects begin and end: no single header, rule, dynamic entry, relocation, lookup,
    /// store, call of a resolver or changed byte. Those slow a load many times over; who measures time does without.
    Stages,
    /// The same, and each search for a symbol is timed: `looking_up` in [`Kind::Relocated`].
    Lookups,
}

/// Keeps every event, in a buffer allocated beforehand.
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
    /// Room for `events` events before the buffer must grow.
    pub fn with_capacity(events: usize) -> Recorder {
        Recorder { events: Mutex::new(Vec::with_capacity(events)) }
    }

    /// What was recorded so far, in the order of [`Event::seq`] within each thread.
    pub fn events(&self) -> Vec<Event> {
        self.events.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Takes what was recorded so far out of the recorder.
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
    /// Goes up by one from event to event, over all loads and threads of the process.
    pub seq: u64,
    /// The request (open, lookup, close, …) this belongs to.
    pub load: LoadId,
    /// The request that this one is nested in: a constructor may open libraries.
    pub parent: Option<LoadId>,
    /// The kernel's id of the thread.
    pub thread: i32,
    /// The stage of the pipeline.
    pub stage: Stage,
    /// The object it is about, where it is about one.
    pub object: Option<Tag>,
    /// The line of dlscope that did it.
    pub source: Source,
    /// What happened.
    #[cfg_attr(feature = "serde", serde(flatten))]
    pub kind: Kind,
}

/// One request to the loader: an open, a lookup, a close. Counted from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct LoadId(pub u64);

/// Names an object in events: its number stays the same while it is mapped and is never used again.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct Tag {
    /// Counted from 1 over the process.
    pub id: u32,
    /// The path it was mapped from, or the name it was given.
    pub name: Arc<str>,
}

impl Tag {
    pub(crate) fn new(name: &str) -> Tag {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        Tag { id: NEXT.fetch_add(1, Ordering::Relaxed) as u32, name: name.into() }
    }

    /// The last part of the path.
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
    /// As `file!()` gives it: relative to the package.
    pub file: &'static str,
    /// From 1.
    pub line: u32,
}

impl Source {
    fn of(at: &'static Location<'static>) -> Source {
        // Built as somebody's dependency, the path is absolute.
        let file = at.file().strip_prefix(concat!(env!("CARGO_MANIFEST_DIR"), "/")).unwrap_or(at.file());
        Source { file, line: at.line() }
    }
}

static SEQ: AtomicU64 = AtomicU64::new(1);
static DROPPED: AtomicU64 = AtomicU64::new(0);
static NEXT_LOAD: AtomicU64 = AtomicU64::new(1);

thread_local! {
    static IN_PROBE: Cell<bool> = const { Cell::new(false) };
    /// The request this thread is in, and the one around it.
    static CURRENT: Cell<Option<(LoadId, Option<LoadId>)>> = const { Cell::new(None) };
}

/// How many events were dropped because a probe caused them while it handled one.
pub fn dropped() -> u64 {
    DROPPED.load(Ordering::Relaxed)
}

/// A request in progress on this thread: gives it its [`LoadId`] and remembers the one it is nested in.
pub(crate) struct Request {
    load: LoadId,
    parent: Option<LoadId>,
}

impl Request {
    pub(crate) fn begin() -> Entered {
        let load = LoadId(NEXT_LOAD.fetch_add(1, Ordering::Relaxed));
        let outer = CURRENT.get();
        let parent = outer.map(|(load, _)| load);
        CURRENT.set(Some((load, parent)));
        Entered { request: Request { load, parent }, outer }
    }

    /// The request that this thread is in, for what happens on its behalf without being told so.
    pub(crate) fn current() -> Request {
        let (load, parent) = CURRENT.get().unwrap_or((LoadId(0), None));
        Request { load, parent }
    }

    /// The way to tell events of this request to `probe`, if there is one that listens.
    pub(crate) fn report<'p>(&self, probe: Option<&'p dyn Probe>, stage: Stage) -> Report<'p> {
        let probe = probe.filter(|probe| probe.listening());
        let detail = probe.map_or(Detail::Stages, |probe| probe.detail());
        Report { probe, load: self.load, parent: self.parent, stage, object: None, detail }
    }
}

/// A request from its beginning to its end: dropping it goes back to the one around it.
pub(crate) struct Entered {
    request: Request,
    outer: Option<(LoadId, Option<LoadId>)>,
}

impl std::ops::Deref for Entered {
    type Target = Request;

    fn deref(&self) -> &Request {
        &self.request
    }
}

impl Drop for Entered {
    fn drop(&mut self) {
        CURRENT.set(self.outer);
    }
}

/// Who listens, if anybody does, and what every event says about its circumstances. Stages hand it down by value.
///
/// Where nobody listens, `tell` is the test of one word: what builds an event stands out of line, in functions marked
/// as cold.
#[derive(Clone, Copy)]
pub(crate) struct Report<'p> {
    /// `None`: nobody listens.
    probe: Option<&'p dyn Probe>,
    load: LoadId,
    parent: Option<LoadId>,
    stage: Stage,
    object: Option<&'p Tag>,
    detail: Detail,
}

impl<'p> Report<'p> {
    /// The report of something that nobody needs to hear of.
    pub(crate) fn silent() -> Report<'static> {
        Request::current().report(None, Stage::Host)
    }

    /// The same, from another stage.
    #[inline(always)]
    pub(crate) fn at(self, stage: Stage) -> Self {
        Report { stage, ..self }
    }

    /// The same, about `object`.
    #[inline(always)]
    pub(crate) fn about<'q>(self, object: &'q Tag) -> Report<'q>
    where
        'p: 'q,
    {
        Report { object: Some(object), ..self }
    }

    /// The request that it is about.
    pub(crate) fn load(&self) -> LoadId {
        self.load
    }

    #[inline(always)]
    pub(crate) fn listening(&self) -> bool {
        self.probe.is_some()
    }

    /// Whether someone wants to hear of every single entry.
    #[inline(always)]
    pub(crate) fn closely(&self) -> bool {
        self.listening() && self.detail == Detail::Everything
    }

    /// Whether someone wants to know how long symbols are looked for.
    #[inline(always)]
    pub(crate) fn times_lookups(&self) -> bool {
        self.listening() && self.detail == Detail::Lookups
    }

    /// [`Report::tell`] for events of which an object has hundreds: only for those who listen closely.
    #[track_caller]
    #[inline(always)]
    pub(crate) fn tell_each(&self, kind: impl FnOnce() -> Kind) {
        if self.closely() {
            self.build_and_emit(Location::caller(), kind);
        }
    }

    /// Emits the event that `kind` builds, if someone listens. The caller's line becomes its source.
    #[track_caller]
    #[inline(always)]
    pub(crate) fn tell(&self, kind: impl FnOnce() -> Kind) {
        if self.listening() {
            self.build_and_emit(Location::caller(), kind);
        }
    }

    /// Out of line, so that the code of those who do not listen lies together.
    #[cold]
    #[inline(never)]
    fn build_and_emit(&self, at: &'static Location<'static>, kind: impl FnOnce() -> Kind) {
        self.emit(at, kind());
    }

    #[cold]
    fn emit(&self, at: &'static Location<'static>, kind: Kind) {
        let Some(probe) = self.probe else { return };
        if IN_PROBE.replace(true) {
            DROPPED.fetch_add(1, Ordering::Relaxed);
            return;
        }
        // Also when the probe panics.
        struct Leave;
        impl Drop for Leave {
            fn drop(&mut self) {
                IN_PROBE.set(false);
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

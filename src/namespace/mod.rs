//! One namespace: the objects that one [`Loader`](crate::Loader) has loaded; and the list of all namespaces.
//!
//! glibc `struct link_namespaces`.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use crate::event::Probe;
use crate::lock::{Lock, Shared, made_once};
use crate::object::Object;
use crate::policy::{Policy, StandIn};

pub(crate) mod members;
pub(crate) mod order;
mod unneeded;
pub(crate) use members::{Binder, Edges, Kept, Life, Member, Members, OneOfAKind};

/// How often any namespace was changed.
static CHANGES: AtomicU64 = AtomicU64::new(0);
/// Whether a namespace with a probe was ever made.
static LISTENED: AtomicBool = AtomicBool::new(false);

/// How often any namespace was changed. Something that was worked out from namespaces still holds if this number is the
/// same.
#[inline]
pub(crate) fn changes() -> u64 {
    CHANGES.load(Ordering::SeqCst)
}

/// Whether there is, or was, a namespace with a probe.
#[inline]
pub(crate) fn anyone_listens() -> bool {
    LISTENED.load(Ordering::SeqCst)
}

/// One namespace: the objects that one loader has loaded, what the user decided about them, and who listens.
pub(crate) struct Namespace {
    pub policy: Policy,
    pub probe: Option<Arc<dyn Probe>>,
    /// A reader gets the list itself, not a copy of it: a change copies the list only while a reader has it. So no
    /// borrow is held while events are told or foreign code runs.
    members: Shared<Arc<Members>>,
}

impl Namespace {
    pub(crate) fn new(policy: Policy, probe: Option<Arc<dyn Probe>>) -> Namespace {
        LISTENED.fetch_or(probe.is_some(), Ordering::SeqCst);
        Namespace { policy, probe, members: Shared::new(Arc::default()) }
    }

    /// The members as they are now, for a caller that holds the process-wide lock.
    pub(crate) fn members(&self, _: &Lock) -> Arc<Members> {
        self.snapshot()
    }

    /// The members as they are now, for a caller that may not wait for the process-wide lock: a first call of a lazily
    /// bound function. The namespace can change meanwhile.
    pub(crate) fn snapshot(&self) -> Arc<Members> {
        self.members.with(|members| members.clone())
    }

    /// Changes the members. `change` must not call foreign code or a probe: other threads wait for its end.
    pub(crate) fn change<R>(&self, _: &Lock, change: impl FnOnce(&mut Members) -> R) -> R {
        self.note(change)
    }

    /// Changes the members without the process-wide lock: for what a first call leaves to be remembered.
    pub(crate) fn note<R>(&self, change: impl FnOnce(&mut Members) -> R) -> R {
        CHANGES.fetch_add(1, Ordering::SeqCst);
        self.members.with(|members| change(Arc::make_mut(members)))
    }
}

// ── all of them ──────────────────────────────────────────────────────────────────────────────────────────

/// The namespace of [`Library::open`](crate::Library::open) and of the C functions, one for the process.
static PROCESS_WIDE: OnceLock<Arc<Namespace>> = OnceLock::new();

/// The process-wide namespace. The first call makes it, and its libraries get these stand-ins.
pub(crate) fn process_wide(stand_ins: &'static [StandIn]) -> &'static Arc<Namespace> {
    made_once(&PROCESS_WIDE, || Arc::new(Namespace::new(Policy { stand_ins, ..Policy::default() }, None)))
}

/// Makes `namespace` the process-wide one. `false`: there is one already.
pub(crate) fn make_process_wide(namespace: Arc<Namespace>) -> bool {
    PROCESS_WIDE.set(namespace).is_ok()
}

/// Whether this is the process-wide namespace.
pub(crate) fn is_process_wide(namespace: &Arc<Namespace>) -> bool {
    PROCESS_WIDE.get().is_some_and(|process_wide| Arc::ptr_eq(process_wide, namespace))
}

/// Every namespace that has an object. It lives on without its `Loader`, because an object may be there for good. The
/// end of the process runs its destructors, and C functions look here for the namespace of their caller.
static NAMESPACES: Shared<Vec<Arc<Namespace>>> = Shared::new(Vec::new());

/// Every namespace that has an object, in the order in which they got their first.
pub(crate) fn namespaces(_: &Lock) -> Vec<Arc<Namespace>> {
    NAMESPACES.with(|known| known.clone())
}

/// Shows every object of every namespace, as it is at this moment, until `see` has an answer: for a caller that may not
/// wait for the process-wide lock. Nothing is borrowed while `see` runs, and nothing is allocated.
pub(crate) fn find_object_now<R>(mut see: impl FnMut(&Arc<Object>) -> Option<R>) -> Option<R> {
    let mut at = 0;
    while let Some(namespace) = NAMESPACES.with(|known| known.get(at).cloned()) {
        let members = namespace.snapshot();
        let answer = members.iter().find_map(|member| see(&member.object));
        if answer.is_some() {
            return answer;
        }
        // If this namespace is gone meanwhile, the next one has its place in the list.
        at = NAMESPACES.with(|known| known.iter().position(|n| Arc::ptr_eq(n, &namespace)).map_or(at, |at| at + 1));
    }
    None
}

/// Whether no namespace has an object.
pub(crate) fn nothing_is_loaded() -> bool {
    NAMESPACES.with(|known| known.is_empty())
}

/// Notes that a namespace has an object.
pub(crate) fn remember(namespace: &Arc<Namespace>, _: &Lock) {
    NAMESPACES.with(|known| {
        if !known.iter().any(|n| Arc::ptr_eq(n, namespace)) {
            known.push(namespace.clone());
        }
    });
}

/// Forgets a namespace that has no object any more.
pub(crate) fn forget(namespace: &Namespace, _: &Lock) {
    let gone = NAMESPACES.with(|known| {
        let at = known.iter().position(|n| std::ptr::eq(&**n, namespace));
        at.map(|at| known.remove(at))
    });
    // The namespace may take its probe with it, which is the user's code: so no borrow is held while it is dropped.
    drop(gone);
}

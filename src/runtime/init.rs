//! Constructors, destructors, and the end of the process.
//!
//! gABI "Initialization and Termination Functions"; glibc `_dl_init`, `_dl_fini` and `_dl_close_worker`, musl
//! `do_init_fini`. This is where the library's own code runs. It may open and close libraries itself, so no
//! borrow of the namespace is held; the process-wide lock is, as in glibc.

use std::sync::{Arc, PoisonError};

use crate::elf::addr::{Addr, Vaddr};
use crate::elf::dynamic::Table;
use crate::error::Result;
use crate::event::{Asked, Kind, Probe, Purpose, Report, Request, Silent, Stage, Tag};
use crate::host;
use crate::lock::{Lock, Shared};
use crate::memory::{self, Around, Memory, Watch};
use crate::namespace::{Life, Members, Namespace};
use crate::object::Object;
use crate::runtime::unwind;

/// Every namespace that has an object: they live on without their `Loader`, because an object may be there for
/// good. For the end of the process, and to find a caller's own.
static NAMESPACES: Shared<Vec<Arc<Namespace>>> = Shared::new(Vec::new());

/// Every namespace that has an object, in the order in which they got their first.
pub(crate) fn namespaces(_: &Lock) -> Vec<Arc<Namespace>> {
    NAMESPACES.with(|known| known.clone())
}

/// Every object of every namespace, as it is at this moment: for those who may not wait for the lock.
pub(crate) fn objects_now() -> Vec<Arc<Object>> {
    let known = NAMESPACES.with(|known| known.clone());
    let members = known.iter().map(|namespace| namespace.snapshot());
    members.flat_map(|members| members.iter().map(|m| m.object.clone()).collect::<Vec<_>>()).collect()
}

/// Notes a namespace that has an object.
#[inline(never)] // a stage: see docs/gdb.md
pub(crate) fn remember(namespace: &Arc<Namespace>, _: &Lock) {
    NAMESPACES.with(|known| {
        if !known.iter().any(|n| Arc::ptr_eq(n, namespace)) {
            known.push(namespace.clone());
        }
    });
}

/// Forgets a namespace that has none any more.
fn forget(namespace: &Namespace, _: &Lock) {
    let gone = NAMESPACES.with(|known| {
        let at = known.iter().position(|n| std::ptr::eq(&**n, namespace));
        at.map(|at| known.remove(at))
    });
    // A probe may go with it, and that is the user's code: no borrow is held.
    drop(gone);
}

/// Stage 11: runs the constructors of the objects `order`.
///
/// # Safety
/// They are relocated and published, and stand in the right order.
#[inline(never)] // a stage: see docs/gdb.md
pub(crate) unsafe fn run<P: Probe + ?Sized>(namespace: &Namespace, order: &[u32], lock: &Lock, report: Report<'_, P>) {
    report.tell(|| Kind::Order { objects: tags(namespace, order, lock) });
    // Once for all of them: their code may throw from now on.
    unwind::publish(order.len(), lock);
    let mut watch = Watch::default();
    for &id in order {
        // A nested open in an earlier constructor may have been here before us.
        let Some(object) = advance(namespace, lock, id, Life::Fresh, Life::Initialising) else { continue };
        let frames = unwind::register(&object, report.about(&object.tag));
        *object.frames.lock().unwrap_or_else(PoisonError::into_inner) = frames;
        // SAFETY: the caller's.
        unsafe { construct(&object, &(namespace, lock), &mut watch, report.about(&object.tag)) };
        advance(namespace, lock, id, Life::Initialising, Life::Ready);
    }
}

/// What constructors and destructors may change, for those who watch.
impl Around for (&Namespace, &Lock) {
    fn each(&self, see: &mut dyn FnMut(&Memory)) {
        self.0.members(self.1).iter().for_each(|m| see(&m.object.memory));
    }
}

/// Moves a member from one state of life to the next; `None` if it is in another.
fn advance(namespace: &Namespace, lock: &Lock, id: u32, from: Life, to: Life) -> Option<Arc<Object>> {
    namespace.change(lock, |members| {
        let member = members.get_mut(id).filter(|m| m.life == from)?;
        member.life = to;
        Some(member.object.clone())
    })
}

/// `DT_INIT`, then `DT_INIT_ARRAY` in order.
unsafe fn construct<P: Probe + ?Sized>(
    object: &Object,
    around: &impl Around,
    watch: &mut Watch,
    report: Report<'_, P>,
) {
    if let Some(init) = object.dynamic.init {
        // SAFETY: `Object::build` saw that it lies in executable memory of the object.
        unsafe { memory::call_init(object.bias() + init, Purpose::Init, host::arguments(), around, watch, report) };
    }
    for (index, address) in functions(object, object.dynamic.init_array) {
        // SAFETY: the relocated word of the object's own list of constructors.
        unsafe { memory::call_init(address, Purpose::InitArray(index), host::arguments(), around, watch, report) };
    }
}

/// `DT_FINI_ARRAY` in reverse, then `DT_FINI`.
unsafe fn destruct<P: Probe + ?Sized>(object: &Object, around: &impl Around, watch: &mut Watch, report: Report<'_, P>) {
    for (index, address) in functions(object, object.dynamic.fini_array).rev() {
        // SAFETY: the relocated word of the object's own list of destructors, whose constructors ran.
        unsafe { memory::call_fini(address, Purpose::FiniArray(index), around, watch, report) };
    }
    if let Some(fini) = object.dynamic.fini {
        // SAFETY: as for `DT_INIT`.
        unsafe { memory::call_fini(object.bias() + fini, Purpose::Fini, around, watch, report) };
    }
}

/// The addresses in an array of functions, each read when its turn comes: one may change the next.
fn functions(object: &Object, array: Option<Table>) -> impl DoubleEndedIterator<Item = (usize, Addr)> + '_ {
    let (at, count) = array.map_or((Vaddr(0), 0), |table| (table.at, table.length as usize / 8));
    let word = move |index: usize| object.memory.word(Vaddr(at.0 + index as u64 * 8));
    (0..count).filter_map(move |index| Some((index, Addr(word(index)?))))
}

/// Ends one use of `root`, and unloads what nothing needs any more: destructors in order, then memory.
///
/// # Safety
/// Nothing of the library is used by the caller any more.
#[inline(never)] // a stage: see docs/gdb.md
pub(crate) unsafe fn close<P: Probe + ?Sized>(
    namespace: &Namespace,
    root: u32,
    lock: &Lock,
    report: Report<'_, P>,
) -> Result<()> {
    let released = namespace.change(lock, |members| {
        let member = members.get_mut(root)?;
        member.opens = member.opens.saturating_sub(1);
        Some((member.object.clone(), member.opens))
    });
    // A host object is not ours to close.
    let Some((object, opens)) = released else { return Ok(()) };
    report.about(&object.tag).tell(|| Kind::Release { opens });
    drop(object);
    // SAFETY: the caller's; what is unneeded is used by nobody.
    unsafe { sweep(namespace, lock, report) };
    Ok(())
}

/// Unloads what nothing needs any more.
///
/// # Safety
/// Whoever opened a library and closed it uses nothing of it any more.
unsafe fn sweep<P: Probe + ?Sized>(namespace: &Namespace, lock: &Lock, report: Report<'_, P>) {
    // A destructor that closes a library only notes it; whoever sweeps looks again. As in glibc.
    if namespace.change(lock, |members| std::mem::replace(&mut members.sweeping, true)) {
        return;
    }
    loop {
        let unneeded = namespace.change(lock, Members::doom_unneeded);
        if unneeded.is_empty() {
            break;
        }
        // SAFETY: nothing that stays refers to these objects.
        unsafe { unload(namespace, &unneeded, lock, report) };
    }
    namespace.change(lock, |members| members.sweeping = false);
    if namespace.members(lock).is_empty() {
        forget(namespace, lock);
    }
}

/// The same in every namespace: after the last thread-local destructor of a library that was closed before.
pub(crate) fn sweep_everywhere(lock: &Lock) {
    for namespace in namespaces(lock) {
        let request = Request::begin();
        // SAFETY: closed by its users, and the last code that had to run in it did.
        unsafe {
            match &namespace.probe {
                None => sweep(&namespace, lock, request.report(&Silent, Stage::Close)),
                Some(probe) => sweep(&namespace, lock, request.report(&**probe, Stage::Close)),
            }
        }
    }
}

/// Destructors in order, then memory.
unsafe fn unload<P: Probe + ?Sized>(namespace: &Namespace, unneeded: &[u32], lock: &Lock, report: Report<'_, P>) {
    report.tell(|| Kind::Unneeded { objects: tags(namespace, unneeded, lock) });
    // SAFETY: the caller's.
    unsafe { finish(namespace, unneeded, Life::Closing, lock, report) };
    unwind::publish_without(unneeded, lock);
    for &id in unneeded {
        let member = namespace.change(lock, |members| members.remove(id));
        // Here the memory goes, unless a library that is being closed on another thread still holds it.
        drop(member);
    }
}

fn tags(namespace: &Namespace, ids: &[u32], lock: &Lock) -> Vec<Tag> {
    let members = namespace.members(lock);
    ids.iter().filter_map(|&id| members.get(id)).map(|m| m.object.tag.clone()).collect()
}

/// Runs the destructors of `order`. All are marked first with their new state `life`, so that a destructor which opens
/// a library does not get one that is going away.
unsafe fn finish<P: Probe + ?Sized>(
    namespace: &Namespace,
    order: &[u32],
    life: Life,
    lock: &Lock,
    report: Report<'_, P>,
) {
    let ready: Vec<_> = order.iter().filter_map(|&id| advance(namespace, lock, id, Life::Ready, life)).collect();
    let mut watch = Watch::default();
    for object in ready {
        // SAFETY: its constructors ran, and its users' destructors ran before it.
        unsafe { destruct(&object, &(namespace, lock), &mut watch, report.about(&object.tag)) };
    }
}

// ── the end of the process ───────────────────────────────────────────────────────────────────────────────

/// Runs after the program's own `atexit` handlers, as ld.so's `_dl_fini` does for its libraries. A handler of
/// ours, registered at the first open, would run before those of the program that were registered earlier.
#[used]
#[unsafe(link_section = ".fini_array")]
static AT_EXIT: extern "C" fn() = at_exit;

extern "C" fn at_exit() {
    let lock = Lock::acquire();
    for namespace in namespaces(&lock).into_iter().rev() {
        match &namespace.probe {
            None => finish_all(&namespace, &lock, &Silent),
            Some(probe) => finish_all(&namespace, &lock, &**probe),
        }
    }
}

/// The destructors of everything that is still open. The memory stays: other exit code may use it.
fn finish_all<P: Probe + ?Sized>(namespace: &Namespace, lock: &Lock, probe: &P) {
    let request = Request::begin();
    let report = request.report(probe, Stage::Close);
    let order = namespace.members(lock).fini_order(|_| true);
    if order.is_empty() {
        return;
    }
    report.tell(|| Kind::Begin { request: Asked::Exit, name: String::new(), caller: None });
    // SAFETY: the process ends; every object's constructors ran, and the order is theirs reversed.
    unsafe { finish(namespace, &order, Life::Over, lock, report) };
    report.tell(|| Kind::End { error: None });
}

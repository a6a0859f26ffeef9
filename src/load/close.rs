//! The way back: destructors, unmapping, and the end of the process.
//!
//! gABI "Initialization and Termination Functions"; glibc `_dl_close_worker` and `_dl_fini`, musl `do_init_fini`. A
//! destructor may open and close libraries itself, so no borrow of the namespace is held while one runs.

use crate::event::{Asked, Kind, Purpose, Report, Request, Stage};
use crate::load::init::{advance, functions, tags};
use crate::lock::Lock;
use crate::memory::{self, Around, Watch};
use crate::namespace::{self, Life, Namespace};
use crate::object::Object;
use crate::runtime::unwind;

/// Ends one use of the library whose tag is `root`: what `Library::close` and `dlclose` have in common. Once nothing
/// uses it any more, its destructors run, and it is unmapped with everything that only it needs.
///
/// # Safety
/// The caller uses nothing of the library any more, and its destructors may run.
pub(crate) unsafe fn close(namespace: &Namespace, root: u32) {
    let lock = Lock::acquire();
    let request = Request::begin();
    let report = request.report(namespace.probe.as_deref(), Stage::Close);
    report.tell(|| {
        let members = namespace.members(&lock);
        let name = members.get(root).map_or(String::new(), |m| m.object.label());
        Kind::Begin { request: Asked::Close, name, caller: None }
    });
    // SAFETY: the caller uses nothing of the library any more.
    unsafe { release(namespace, root, &lock, report) };
    report.tell(|| Kind::End { error: None });
}

/// Counts one use less, then unloads every object that nothing needs any more: destructors in order, then memory.
///
/// # Safety
/// As [`close`].
#[inline(never)] // a stage: see docs/gdb.md
unsafe fn release(namespace: &Namespace, root: u32, lock: &Lock, report: Report<'_>) {
    let released = namespace.change(lock, |members| Some((members.closed(root)?, members.object(root)?)));
    // A tag that is no member's is that of a host object, which only the system's loader may close.
    let Some((opens, object)) = released else { return };
    report.about(&object.tag).tell(|| Kind::Release { opens });
    drop(object);
    // SAFETY: the caller uses nothing of the library any more, and what is unneeded is used by nobody else.
    unsafe { sweep(namespace, root, lock, report) };
}

/// Unloads every object that nothing needs any more, after a close of `root`, and looks again until there is none.
///
/// # Safety
/// Whoever opened a library and closed it uses nothing of it any more.
unsafe fn sweep(namespace: &Namespace, root: u32, lock: &Lock, report: Report<'_>) {
    // A destructor may close a library, and so come here in the middle of a sweep. It returns at once, and the sweep
    // that is under way looks again, as glibc's `_dl_close_worker` does. A sweep that began in another hold of the lock
    // and did not come to its end is not in this process: the process was forked meanwhile.
    let this = Some(lock.hold());
    if namespace.change(lock, |members| std::mem::replace(&mut members.sweeping, this)) == this {
        return;
    }
    let mut closed = Some(root);
    loop {
        let unneeded = namespace.change(lock, |members| members.doom_unneeded(closed.take()));
        if unneeded.is_empty() {
            break;
        }
        // SAFETY: nothing that stays refers to these objects.
        unsafe { unload(namespace, &unneeded, lock, report) };
    }
    namespace.change(lock, |members| members.sweeping = None);
    if report.listening() {
        tell_why_it_stays(namespace, root, lock, report);
    }
    if namespace.members(lock).is_empty() {
        namespace::forget(namespace, lock);
    }
}

/// Tells probes why the library `root` is still there after the end of its last use.
#[cold]
fn tell_why_it_stays(namespace: &Namespace, root: u32, lock: &Lock, report: Report<'_>) {
    let members = namespace.members(lock);
    let (object, why) = (members.object(root), members.why_it_stays(root));
    drop(members);
    if let (Some(object), Some(why)) = (object, why) {
        report.about(&object.tag).tell(|| Kind::Stays { why });
    }
}

/// Runs the destructors of the members `unneeded` in order, then unmaps them.
unsafe fn unload(namespace: &Namespace, unneeded: &[u32], lock: &Lock, report: Report<'_>) {
    report.tell(|| Kind::Unneeded { objects: tags(namespace, unneeded, lock) });
    // SAFETY: `sweep` found that nothing which stays needs these members, and put users before what they use.
    unsafe { finish(namespace, unneeded, Life::Closing, lock, report) };
    unwind::hide(unneeded, lock);
    for &id in unneeded {
        let member = namespace.change(lock, |members| members.remove(id));
        member.iter().for_each(|member| unwind::withdraw(&member.object, lock));
        // Dropping the member unmaps the object, unless another thread, which is closing the library too, still holds
        // it.
        drop(member);
    }
}

/// Runs the destructors of one object: `DT_FINI_ARRAY` in reverse, then `DT_FINI`.
unsafe fn destruct(object: &Object, around: &impl Around, watch: &mut Watch, report: Report<'_>) {
    for (index, address) in functions(object, object.dynamic.fini_array).rev() {
        // SAFETY: the relocated word of the object's own list of destructors, whose constructors ran.
        unsafe { memory::call_fini(address, Purpose::FiniArray(index), around, watch, report) };
    }
    if let Some(fini) = object.dynamic.fini {
        // SAFETY: as for `DT_INIT`: `Object::new` saw that it lies in executable memory of the object.
        unsafe { memory::call_fini(object.bias() + fini, Purpose::Fini, around, watch, report) };
    }
}

/// Runs the destructors of the members `order` whose constructors ran, or began. All of them enter the state `life` first,
/// so that a destructor which opens a library does not get one that is going away.
unsafe fn finish(namespace: &Namespace, order: &[u32], life: Life, lock: &Lock, report: Report<'_>) {
    for &id in order {
        advance(namespace, lock, id, Life::Ready, life);
        if life == Life::Over {
            // A constructor of this one called `exit`.
            advance(namespace, lock, id, Life::Initialising, life);
        }
    }
    let mut watch = Watch::default();
    for &id in order {
        let Some(object) = namespace.change(lock, |members| members.begin_to_finish(id)) else { continue };
        // SAFETY: its constructors ran, and its users' destructors ran before it.
        unsafe { destruct(&object, &(namespace, lock), &mut watch, report.about(&object.tag)) };
    }
}

// ── the end of the process ───────────────────────────────────────────────────────────────────────────────

/// [`at_exit`] runs after the program's own `atexit` handlers, as ld.so's `_dl_fini` does for its libraries. A handler
/// that dlscope registered at the first open would run before those that the program had registered earlier.
#[used]
#[unsafe(link_section = ".fini_array")]
static AT_EXIT: extern "C" fn() = at_exit;

extern "C" fn at_exit() {
    let lock = Lock::acquire();
    // As in glibc, the first namespace comes last, and the others in the reverse order of their making.
    let mut all = namespace::namespaces(&lock);
    all.reverse();
    all.sort_by_key(namespace::is_process_wide);
    for namespace in all {
        finish_all(&namespace, &lock);
    }
}

/// Runs the destructors of every object that is still loaded. The memory stays mapped, because other exit code may use
/// it.
fn finish_all(namespace: &Namespace, lock: &Lock) {
    let request = Request::begin();
    let report = request.report(namespace.probe.as_deref(), Stage::Close);
    let members = namespace.members(lock);
    let order = members.fini_order(members.iter().map(|m| m.object.tag.id).collect(), None);
    drop(members);
    if order.is_empty() {
        return;
    }
    report.tell(|| Kind::Begin { request: Asked::Exit, name: String::new(), caller: None });
    // SAFETY: the process ends; every object's constructors ran, and the order is theirs reversed.
    unsafe { finish(namespace, &order, Life::Over, lock, report) };
    report.tell(|| Kind::End { error: None });
}

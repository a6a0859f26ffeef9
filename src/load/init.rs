//! Stage 11, init: the constructors of the new objects, dependencies first.
//!
//! gABI "Initialization and Termination Functions"; glibc `_dl_init`, musl `do_init_fini`. This is where the library's
//! own code runs. A constructor may open and close libraries itself, so no borrow of the namespace is held meanwhile.
//! The process-wide lock is held, as in glibc.

use std::sync::Arc;

use crate::elf::addr::{Addr, Vaddr};
use crate::elf::dynamic::Table;
use crate::event::{Kind, Purpose, Report, Stage, Tag};
use crate::host;
use crate::lock::Lock;
use crate::memory::{self, Around, Memory, Watch};
use crate::namespace::{Life, Namespace};
use crate::object::Object;
use crate::runtime::unwind;

/// Stage 11: runs the constructors of the members `order`, which are tags.
///
/// # Safety
/// These members are relocated and published, and dependencies come first in `order`.
#[inline(never)] // a stage: see docs/gdb.md
pub(crate) unsafe fn run(namespace: &Namespace, order: &[u32], lock: &Lock, report: Report<'_>) {
    let report = report.at(Stage::Init);
    report.tell(|| Kind::Order { objects: tags(namespace, order, lock) });
    let mut watch = Watch::default();
    for &id in order {
        // Constructors run once: they are not for an object that is past `Life::Fresh`.
        let Some(object) = advance(namespace, lock, id, Life::Fresh, Life::Initialising) else { continue };
        if let Some(frames) = unwind::register(&object, report.about(&object.tag)) {
            keep(namespace, lock, id, Arc::new(frames));
        }
        // A constructor may throw: then the object counts as constructed all the same, as in glibc.
        let _constructed = Constructed { namespace, lock, id };
        // SAFETY: the caller promises that the members are relocated, and that dependencies come first.
        unsafe { construct(&object, &(namespace, lock), &mut watch, report.about(&object.tag)) };
    }
}

/// The end of an object's constructors, when it is dropped.
struct Constructed<'a> {
    namespace: &'a Namespace,
    lock: &'a Lock,
    id: u32,
}

impl Drop for Constructed<'_> {
    fn drop(&mut self) {
        advance(self.namespace, self.lock, self.id, Life::Initialising, Life::Ready);
    }
}

/// The memory that constructors and destructors may change: that of every member.
impl Around for (&Namespace, &Lock) {
    fn each(&self, see: &mut dyn FnMut(&Memory)) {
        self.0.members(self.1).iter().for_each(|m| see(&m.object.memory));
    }
}

/// Moves the member `id` from one [`Life`] to the next. `None`: it was not in the state `from`, and stays as it is.
pub(super) fn advance(namespace: &Namespace, lock: &Lock, id: u32, from: Life, to: Life) -> Option<Arc<Object>> {
    namespace.change(lock, |members| {
        let member = members.get_mut(id).filter(|m| m.life == from)?;
        member.life = to;
        Some(member.object.clone())
    })
}

/// Keeps `kept` for as long as the member `id` is mapped.
fn keep(namespace: &Namespace, lock: &Lock, id: u32, kept: Arc<dyn Send + Sync>) {
    namespace.change(lock, |members| members.get_mut(id).into_iter().for_each(|member| member.kept.push(kept.clone())));
}

/// Runs the constructors of one object: `DT_INIT`, then `DT_INIT_ARRAY` in order.
unsafe fn construct(object: &Object, around: &impl Around, watch: &mut Watch, report: Report<'_>) {
    if let Some(init) = object.dynamic.init {
        // SAFETY: `Object::new` saw that it lies in executable memory of the object.
        unsafe { memory::call_init(object.bias() + init, Purpose::Init, host::arguments(), around, watch, report) };
    }
    for (index, address) in functions(object, object.dynamic.init_array) {
        // SAFETY: the relocated word of the object's own list of constructors.
        unsafe { memory::call_init(address, Purpose::InitArray(index), host::arguments(), around, watch, report) };
    }
}

/// The function addresses in `array` with their indices. Each is read when its turn comes, because a constructor may
/// change the address of the next one.
pub(super) fn functions(object: &Object, array: Option<Table>) -> impl DoubleEndedIterator<Item = (usize, Addr)> + '_ {
    let (at, count) = array.map_or((Vaddr(0), 0), |table| (table.at, table.length as usize / 8));
    let word = move |index: usize| object.memory.word(Vaddr(at.0 + index as u64 * 8));
    (0..count).filter_map(move |index| Some((index, Addr(word(index)?))))
}

/// The tags of the members `ids`, which name them in events.
pub(super) fn tags(namespace: &Namespace, ids: &[u32], lock: &Lock) -> Vec<Tag> {
    let members = namespace.members(lock);
    ids.iter().filter_map(|&id| members.get(id)).map(|m| m.object.tag.clone()).collect()
}

//! Pass 2 of stage 8: the IFUNC resolvers of new objects are called, now that every object which they may use has been
//! through pass 1.

use super::refusals::{outside, refused};
use super::store;
use crate::elf::addr::{Addr, Vaddr};
use crate::elf::reloc::{RelocKind, Relocation, Value, Write};
use crate::error::{Error, ErrorKind, Result};
use crate::event::{Kind, Report, Stage};
use crate::load::batch::{Batch, Bound};
use crate::memory::{Around, Watch};
use crate::object::Object;
use crate::runtime::{ifunc, lazy};

/// A relocation that waits for pass 2: its entry, and the resolver whose answer is its value.
pub(crate) struct Deferred {
    pub table: &'static str,
    pub index: usize,
    pub place: Vaddr,
    pub kind: RelocKind,
    pub addend: i64,
    pub resolver: Addr,
}

/// Pass 2 over every object that has relocations which wait for it.
///
/// # Safety
/// Runs the IFUNC resolvers of the new objects.
///
/// # Errors
/// The first relocation that cannot be applied.
pub(super) unsafe fn deferred(mut batch: Batch<Bound>, report: Report<'_>) -> Result<Batch<Bound>> {
    let nodes = &batch.stage.0.nodes;
    let order: Vec<_> = batch.order.iter().copied().filter(|&at| !nodes[at].deferred.is_empty()).collect();
    report.tell(|| Kind::Pass { pass: 2, objects: batch.tags(&order) });
    // A resolver may call through a slot that was left for its first call. `Pending` lets such calls be bound, although
    // the objects are not published yet.
    let pending = lazy::Pending::new(batch.objects());
    let mut watch = Watch::default();
    for at in order {
        let object = &*batch.nodes[at].object;
        let report = report.about(&object.tag);
        // SAFETY: the whole batch has been through pass 1, and pass 2 goes dependencies first; that resolvers are
        // called at all is the caller's promise.
        unsafe { second_pass(object, &nodes[at].deferred, &*batch.nodes, &mut watch, report) }?;
    }
    for (user, provider) in pending.end() {
        let at = batch.nodes.iter().position(|n| n.object.tag.id == user);
        let bound = at.map(|at| &mut batch.stage.0.nodes[at].bound);
        bound.filter(|bound| !bound.contains(&provider)).into_iter().for_each(|bound| bound.push(provider));
    }
    Ok(batch)
}

/// Pass 2 over one object: calls the resolvers, and stores their answers.
///
/// # Safety
/// Every object that the resolvers may use has been through pass 1, and the dependencies of `object` through pass 2.
///
/// # Errors
/// A place that cannot be written, or a result that does not fit there.
unsafe fn second_pass(
    object: &Object,
    deferred: &[Deferred],
    around: &(impl Around + ?Sized),
    watch: &mut Watch,
    report: Report<'_>,
) -> Result<()> {
    let wrap = |kind: ErrorKind| -> Error { kind.of(object.label(), Stage::Relocate) };
    // The resolvers of IRELATIVE entries come last, as in glibc: they may call other functions of the object through its
    // slots, among them IFUNCs that are found by name.
    let (last, first): (Vec<&Deferred>, _) = deferred.iter().partition(|d| d.kind == RelocKind::IRelative);
    for d in first.into_iter().chain(last) {
        // SAFETY: the caller says that whatever the resolver may use is relocated far enough.
        let answer = unsafe { ifunc::resolve(d.resolver, around, watch, report) };
        let value = Value { address: answer.0, ..Value::default() };
        let write = match d.kind {
            RelocKind::IRelative => Ok(Write::Word(answer.0)),
            kind => kind.compute(object.bias(), object.bias() + d.place, value, d.addend),
        };
        let entry = Relocation { place: d.place, kind: d.kind as u32, symbol: 0, addend: d.addend };
        let write = write.map_err(|problem| wrap(refused(d.table, d.index, entry, problem)))?;
        // The text is writable for one store only: the resolver's own code may lie in these pages, and would not run.
        if object.dynamic.textrel {
            object.memory.open_text(report).map_err(wrap)?;
        }
        store(object, d.place, write, report).ok_or_else(|| wrap(outside(d.table, d.index, d.kind.name(), d.place)))?;
        if report.listening() {
            watch.stored(&object.memory, d.place);
        }
        if object.dynamic.textrel {
            object.memory.shut_text(report).map_err(wrap)?;
        }
    }
    report.tell(|| Kind::Relocated { pass: 2, symbols: 0, looking_up: None });
    Ok(())
}

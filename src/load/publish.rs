//! Stage 10, publish: the new objects enter the namespace, where later loads and lookups find them.
//!
//! dlopen(3); glibc `update_scopes`.

use std::sync::Arc;

use crate::elf::dynamic::DF_1_INITFIRST;
use crate::error::Result;
use crate::event::{Kind, Report, Stage};
use crate::host::Host;
use crate::load::batch::{Batch, Held, Links, Mapped, Sealed};
use crate::load::needed::Here;
use crate::namespace::{self, Edges, Life, Member};
use crate::object::Object;
use crate::policy::Mode;
use crate::runtime::{tls, unwind};

/// Enters the new objects into the namespace. From here on a nested open may hold them, so nothing is undone any more.
/// Returns the opened library, and the tags of those whose constructors are to run, new or still waiting, in order.
///
/// # Errors
/// If an initial-exec thread-local variable cannot get its initial value in every thread. Every new object is unmapped
/// then.
#[inline(never)] // a stage: see docs/gdb.md
pub(crate) fn publish(
    batch: Batch<Sealed>,
    mode: Mode,
    here: &Here<'_>,
    report: Report<'_>,
) -> Result<(Arc<Object>, Vec<u32>)> {
    let report = report.at(Stage::Publish);
    install_tls(&batch, here.host, report)?;
    report.tell(|| Kind::Publish { objects: batch.new_objects().map(|object| object.tag.clone()).collect() });
    let root = batch.nodes[0].object.shared();
    let (ids, asked) = (batch.ids(), batch.asked_ids());
    let new = batch.order.len();
    let order: Vec<u32> = batch.order_with_known(&here.members()).iter().map(|&at| ids[at]).collect();
    here.namespace.change(here.lock, |members| {
        let Sealed(Links { nodes: links, unique }) = batch.stage;
        members.reserve(new);
        for (node, linked) in batch.nodes.into_iter().zip(links) {
            let filtees = node.filtees.iter().map(|&filtee| ids[filtee]).collect();
            let needs = node.needs.iter().map(|&need| ids[need]).collect();
            match node.object {
                Held::New(object) => {
                    let edges = Edges { needs, filtees, bound: linked.bound, ..Edges::default() };
                    let kept = node.kept.into_iter().chain(linked.kept).collect();
                    members.insert(Member::new(object, kept, node.names, edges, mode.deep));
                }
                Held::Known(object) => members.add_names(object.tag.id, node.names),
            }
        }
        members.add_unique(unique);
        members.opened(ids[0], &asked, &order, mode);
    });
    namespace::remember(here.namespace, here.lock);
    // Once for all new objects, and before their code runs: it may throw.
    unwind::publish(new, here.lock);
    Ok((root, fresh(order, here)))
}

/// Gives initial-exec thread-local variables, which lie at the same place in every thread, their initial values. By now
/// the initial image is relocated, and no code has used it yet.
fn install_tls(batch: &Batch<Sealed>, host: &Host, report: Report<'_>) -> Result<()> {
    for (object, module) in batch.new_objects().filter_map(|object| Some((object, object.tls_module?))) {
        let installed = tls::install(module, host, report.about(&object.tag));
        installed.map_err(|kind| kind.of(object.label(), Stage::Publish))?;
    }
    Ok(())
}

/// Counts one more use of a library that was loaded before, and returns it. `mode` may add to how it is used.
///
/// Constructors that did not run yet come back in order: a constructor of the load that brought the library may open it.
/// As in glibc, there are none if the library was opened by itself before.
pub(crate) fn already_here(batch: Batch<Mapped>, mode: Mode, here: &Here<'_>) -> (Arc<Object>, Vec<u32>) {
    let (ids, asked, root) = (batch.ids(), batch.asked_ids(), batch.nodes[0].object.shared());
    let was_open = here.members().get(root.tag.id).is_some_and(|member| member.opens > 0);
    let order = if was_open { Vec::new() } else { batch.order_with_known(&here.members()) };
    let order: Vec<u32> = order.into_iter().map(|at| ids[at]).collect();
    here.namespace.change(here.lock, |members| {
        for node in batch.nodes.into_iter().filter(|node| !node.names.is_empty()) {
            members.add_names(node.object.tag.id, node.names);
        }
        members.opened(root.tag.id, &asked, &order, mode);
    });
    (root, fresh(order, here))
}

/// The members of `order` whose constructors did not run yet.
fn fresh(mut order: Vec<u32>, here: &Here<'_>) -> Vec<u32> {
    let members = here.namespace.members(here.lock);
    order.retain(|&id| members.get(id).is_some_and(|member| member.life == Life::Fresh));
    // Constructors of an object with DF_1_INITFIRST run before all others. Of several, glibc prefers the one that was mapped
    // last, which has the highest tag.
    let first = |id| members.get(id).is_some_and(|member| member.object.dynamic.flags_1 & DF_1_INITFIRST != 0);
    if let Some(first) = order.iter().copied().filter(|&id| first(id)).max() {
        order.retain(|&id| id != first);
        order.insert(0, first);
    }
    order
}

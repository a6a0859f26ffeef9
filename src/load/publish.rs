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
use crate::namespace::{self, Edges, Member};
use crate::object::Object;
use crate::policy::Mode;
use crate::runtime::tls;

/// Enters the new objects into the namespace. From here on a nested open may hold them, so nothing is undone any more.
/// Returns the opened library, and the order of the constructors: tags of new objects, dependencies first.
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
    let ids = batch.ids();
    let mut order = batch.order;
    // Constructors of an object with DF_1_INITFIRST run before all others. The sort is stable, so the others keep their
    // order.
    order.sort_by_key(|&at| batch.nodes[at].object.dynamic.flags_1 & DF_1_INITFIRST == 0);
    let init_order = order.iter().map(|&at| ids[at]).collect();
    here.namespace.change(here.lock, |members| {
        let Sealed(Links { nodes: links, unique }) = batch.stage;
        members.reserve(order.len());
        for (node, linked) in batch.nodes.into_iter().zip(links) {
            let filtees = node.filtees.iter().map(|&filtee| ids[filtee]).collect();
            let needs = node.needs.iter().map(|&need| ids[need]).collect();
            match node.object {
                Held::New(object) => {
                    let edges = Edges { needs, filtees, bound: linked.bound };
                    let kept = [node.kept, linked.kept].concat();
                    members.insert(Member::new(object, kept, node.names, edges, mode.deep));
                }
                Held::Known(object) => members.add_names(object.tag.id, node.names),
            }
        }
        members.add_unique(unique);
        members.opened(ids[0], &ids, mode);
    });
    namespace::remember(here.namespace, here.lock);
    Ok((root, init_order))
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
pub(crate) fn already_here(batch: Batch<Mapped>, mode: Mode, here: &Here<'_>) -> Arc<Object> {
    let (ids, root) = (batch.ids(), batch.nodes[0].object.shared());
    here.namespace.change(here.lock, |members| members.opened(root.tag.id, &ids, mode));
    root
}

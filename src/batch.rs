//! The new objects of one load, on their way from "mapped" to "published".
//!
//! The stage is a type, and it is the stage of the *batch*: symbols cross objects and dependencies may form
//! cycles, so no object is ready before all are. Until [`Batch::publish`], dropping a batch undoes everything.

use std::sync::Arc;

use crate::elf::dynamic::DF_1_INITFIRST;
use crate::error::Result;
use crate::event::{Kind, Probe, Report, Stage, Tag};
use crate::host::Host;
use crate::link::needed::{Held, Node, search_order};
use crate::link::order::opened_last;
use crate::link::relocate::{self, Outcome};
use crate::link::scope::{Scope, Unique};
use crate::link::versions;
use crate::lock::Lock;
use crate::memory::{Around, Memory, Watch};
use crate::namespace::{Bind, Edges, Member, Mode, Namespace, OneOfAKind, Policy};
use crate::object::Object;
use crate::runtime::{init, lazy, tls};

/// Every object is mapped, nothing is patched.
pub(crate) struct Mapped;
/// Pass 1 is done: only what needs resolvers of new objects is missing. One outcome for each node.
pub(crate) struct Bound(Outcomes);
/// Every relocation is done.
pub(crate) struct Relocated(Outcomes);
/// `PT_GNU_RELRO` is read-only.
pub(crate) struct Sealed(Outcomes);

/// What relocating leaves to be remembered: for each node, and the unique symbols that were chosen.
pub(crate) struct Outcomes {
    nodes: Vec<Outcome>,
    unique: Vec<OneOfAKind>,
}

/// The objects of one load, new ones and those that were here, in the order of the local scope.
pub(crate) struct Batch<S> {
    nodes: Vec<Node>,
    /// Their places in the order in which they are asked for symbols.
    asked: Vec<usize>,
    /// The places of the new ones, dependencies first.
    order: Vec<usize>,
    stage: S,
}

impl<S> Batch<S> {
    /// The opened library.
    pub(crate) fn root(&self) -> &Object {
        &self.nodes[0].object
    }

    /// Every object, in the order of the local scope.
    pub(crate) fn objects(&self) -> impl Iterator<Item = &Object> {
        self.asked.iter().map(|&at| &*self.nodes[at].object)
    }

    /// The same, to keep.
    pub(crate) fn scope(&self) -> Arc<[Arc<Object>]> {
        self.asked.iter().map(|&at| self.nodes[at].object.shared()).collect()
    }

    /// The same batch in its next stage.
    fn then<T>(self, next: impl FnOnce(S) -> T) -> Batch<T> {
        Batch { nodes: self.nodes, asked: self.asked, order: self.order, stage: next(self.stage) }
    }

    fn tags(&self, order: &[usize]) -> Vec<Tag> {
        order.iter().map(|&at| self.nodes[at].object.tag.clone()).collect()
    }
}

impl Batch<Mapped> {
    pub(crate) fn new(nodes: Vec<Node>) -> Batch<Mapped> {
        let asked = search_order(nodes.len(), |at| &nodes[at].filtees);
        let mut order = opened_last(nodes.len(), |at| &nodes[at].needs);
        order.retain(|&at| nodes[at].is_new());
        Batch { nodes, asked, order, stage: Mapped }
    }

    /// The tags of all objects.
    pub(crate) fn ids(&self) -> Vec<u32> {
        self.nodes.iter().map(|n| n.object.tag.id).collect()
    }

    /// The opened library, when it was here before.
    pub(crate) fn into_root(mut self) -> Arc<Object> {
        match self.nodes.swap_remove(0).object {
            Held::Known(object) | Held::New(object) => object,
        }
    }

    /// Whether nothing was mapped: the library was here before.
    pub(crate) fn is_empty(&self) -> bool {
        !self.nodes.iter().any(Node::is_new)
    }

    /// Stage 7.
    pub(crate) fn check_versions<P: Probe + ?Sized>(&self, policy: &Policy, report: Report<'_, P>) -> Result<()> {
        versions::check(&self.nodes, policy, report.at(Stage::Versions))
    }

    /// Stage 8, pass 1.
    ///
    /// # Errors
    /// The first relocation that cannot be applied; everything is unmapped again.
    pub(crate) fn bind<P: Probe + ?Sized>(
        self,
        namespace: &Arc<Namespace>,
        bind: Bind,
        host: &Host,
        deep: bool,
        lock: &Lock,
        report: Report<'_, P>,
    ) -> Result<Batch<Bound>> {
        // Where first calls will look for the host's objects.
        namespace.change(lock, |members| members.host = Some(host.clone()));
        let members = &*namespace.members(lock);
        let defined = &namespace.policy.defined;
        let report = report.at(Stage::Relocate);
        let order = &self.order;
        let mut outcomes: Vec<Outcome> = self.nodes.iter().map(|_| Outcome::default()).collect();
        let unique = {
            let everybodys: Vec<&Object> = host.startup().iter().chain(members.global()).map(|o| &**o).collect();
            report.tell(|| Kind::Scope {
                global: everybodys.iter().map(|o| o.tag.clone()).collect(),
                local: self.objects().map(|o| o.tag.clone()).collect(),
            });
            let references = order.iter().map(|&at| self.nodes[at].object.reference_count()).sum();
            let local = self.objects();
            let unique = Unique::new(members, host);
            let scope = match deep {
                false => Scope::new(defined, everybodys, local, unique, references, report.closely(), lock),
                true => Scope::deep(defined, everybodys, local, unique),
            };
            report.tell(|| Kind::Pass { pass: 1, objects: self.tags(order) });
            for &at in order {
                let object = &*self.nodes[at].object;
                lazy::prepare(object, namespace, bind, report.about(&object.tag));
                outcomes[at] = relocate::first_pass(object, &scope, &namespace.policy, report.about(&object.tag))?;
            }
            scope.unique.chosen()
        };
        Ok(self.then(|Mapped| Bound(Outcomes { nodes: outcomes, unique })))
    }
}

impl Batch<Bound> {
    /// Stage 8, pass 2.
    ///
    /// # Safety
    /// Runs the IFUNC resolvers of the new objects.
    ///
    /// # Errors
    /// A relocation that cannot be applied; everything is unmapped again.
    pub(crate) unsafe fn resolve<P: Probe + ?Sized>(self, report: Report<'_, P>) -> Result<Batch<Relocated>> {
        let report = report.at(Stage::Relocate);
        let outcomes = &self.stage.0.nodes;
        let order: Vec<_> = self.order.iter().copied().filter(|&at| !outcomes[at].deferred.is_empty()).collect();
        if order.is_empty() {
            return Ok(self.then(|Bound(outcomes)| Relocated(outcomes)));
        }
        report.tell(|| Kind::Pass { pass: 2, objects: self.tags(&order) });
        // A resolver may call through a slot of its own library that was left for its first call.
        let pending = lazy::Pending::new(self.objects());
        let mut watch = Watch::default();
        for at in order {
            let object = &*self.nodes[at].object;
            // SAFETY: the whole batch has been through pass 1, and pass 2 goes dependencies first; that
            // resolvers are called at all is the caller's promise.
            unsafe {
                relocate::second_pass(
                    object,
                    &outcomes[at].deferred,
                    &*self.nodes,
                    &mut watch,
                    report.about(&object.tag),
                )
            }?;
        }
        let bound = pending.end();
        let mut resolved = self;
        for (user, provider) in bound {
            let at = resolved.nodes.iter().position(|n| n.object.tag.id == user);
            let bound = at.map(|at| &mut resolved.stage.0.nodes[at].bound);
            bound.filter(|bound| !bound.contains(&provider)).into_iter().for_each(|bound| bound.push(provider));
        }
        Ok(resolved.then(|Bound(outcomes)| Relocated(outcomes)))
    }
}

/// What a resolver may change, for those who watch.
impl Around for [Node] {
    fn each(&self, see: &mut dyn FnMut(&Memory)) {
        self.iter().filter(|n| n.is_new()).for_each(|n| see(&n.object.memory));
    }
}

impl Batch<Relocated> {
    /// Stage 9.
    ///
    /// # Errors
    /// A `PT_GNU_RELRO` that is not the object's own, or a refusal of the kernel.
    pub(crate) fn seal<P: Probe + ?Sized>(self, report: Report<'_, P>) -> Result<Batch<Sealed>> {
        let report = report.at(Stage::Seal);
        for node in self.nodes.iter().filter(|n| n.is_new()) {
            let object = &*node.object;
            let Some(relro) = object.image.relro() else { continue };
            let range = relro.vaddr.span(relro.memsz).unwrap_or(relro.vaddr..relro.vaddr);
            object
                .memory
                .seal(range, report.about(&object.tag))
                .map_err(|kind| kind.of(object.label(), Stage::Seal))?;
        }
        Ok(self.then(|Relocated(outcomes)| Sealed(outcomes)))
    }
}

impl Batch<Sealed> {
    /// Thread-local variables at fixed places: their initial values into every thread, now that they are
    /// relocated and before any code uses them.
    ///
    /// # Errors
    /// Where the program has no place for them.
    pub(crate) fn install_tls<P: Probe + ?Sized>(&self, host: &Host, report: Report<'_, P>) -> Result<()> {
        let new = self.nodes.iter().filter(|n| n.is_new()).map(|n| &*n.object);
        for (object, module) in new.filter_map(|o| Some((o, o.tls.as_ref()?))).filter(|(_, m)| m.is_static()) {
            let report = report.at(Stage::Publish).about(&object.tag);
            tls::install(module, host, report).map_err(|kind| kind.of(object.label(), Stage::Publish))?;
        }
        Ok(())
    }
}

/// What [`Batch::publish`] leaves for the constructors.
pub(crate) struct Published {
    /// The opened library.
    pub root: Arc<Object>,
    /// The order of the constructors: tags of new objects, dependencies first.
    pub init_order: Vec<u32>,
}

impl Batch<Sealed> {
    /// Stage 10: from here on nested opens may hold the objects, and dropping the batch undoes nothing.
    pub(crate) fn publish<P: Probe + ?Sized>(
        self,
        namespace: &Arc<Namespace>,
        mode: Mode,
        lock: &Lock,
        report: Report<'_, P>,
    ) -> Published {
        let mut order = self.order;
        // DF_1_INITFIRST: before all others. A stable sort, so the others keep their order.
        order.sort_by_key(|&at| self.nodes[at].object.dynamic.flags_1 & DF_1_INITFIRST == 0);
        report.at(Stage::Publish).tell(|| Kind::Publish {
            objects: self.nodes.iter().filter(|n| n.is_new()).map(|n| n.object.tag.clone()).collect(),
        });
        let ids: Vec<u32> = self.nodes.iter().map(|n| n.object.tag.id).collect();
        let init_order = order.iter().map(|&at| ids[at]).collect();
        let mut root = None;
        namespace.change(lock, |members| {
            let Sealed(Outcomes { nodes: outcomes, unique }) = self.stage;
            members.reserve(order.len());
            for (at, (node, outcome)) in self.nodes.into_iter().zip(outcomes).enumerate() {
                let filtees = node.filtees.iter().map(|&filtee| ids[filtee]).collect();
                let needs = node.needs.iter().map(|&need| ids[need]).collect();
                let object = match node.object {
                    Held::New(object) => {
                        members.insert(Member::new(
                            object.clone(),
                            node.names,
                            Edges { needs, filtees, bound: outcome.bound },
                            mode.deep,
                        ));
                        object
                    }
                    Held::Known(object) => {
                        members.add_names(object.tag.id, node.names);
                        object
                    }
                };
                if at == 0 {
                    root = Some(object);
                }
            }
            members.add_unique(unique);
            members.opened(ids[0], &ids, mode);
        });
        init::remember(namespace, lock);
        let Some(root) = root else { unreachable!("a batch has at least its target") };
        Published { root, init_order }
    }
}

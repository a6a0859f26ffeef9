//! The objects of one load, on their way from "mapped" to "published".
//!
//! The stage is a type, and it is the stage of the *batch*: symbols cross objects and dependencies may form cycles, so
//! no object is ready before all are.
//!
//! | stage | what holds for every new object | who leads to the next stage |
//! |---|---|---|
//! | [`Mapped`] | in memory, its tables are checked, nothing is patched | `relocate::bind`: stage 8, pass 1 |
//! | [`Bound`] | relocated, but for the answers of new IFUNC resolvers | `relocate::resolve`: stage 8, pass 2 |
//! | [`Relocated`] | every relocation is applied | `seal::seal`: stage 9 |
//! | [`Sealed`] | its `PT_GNU_RELRO` is read-only | `publish::publish`: stage 10, which takes the batch apart |
//!
//! Until stage 10, dropping a batch unmaps its new objects, and so undoes the load.

use std::ops::Deref;
use std::sync::Arc;

use crate::event::Tag;
use crate::load::relocate::Linked;
use crate::memory::{Around, Memory};
use crate::namespace::order::{known_opened_last, opened_last, search_order};
use crate::namespace::{Kept, Members, OneOfAKind};
use crate::object::Object;
use rustc_hash::FxHashMap as Map;

/// An object of a load: mapped by this load, or loaded before it.
pub(crate) enum Held {
    New(Arc<Object>),
    Known(Arc<Object>),
}

impl Held {
    pub(crate) fn shared(&self) -> Arc<Object> {
        let (Held::New(object) | Held::Known(object)) = self;
        object.clone()
    }
}

impl Deref for Held {
    type Target = Object;

    fn deref(&self) -> &Object {
        match self {
            Held::New(object) | Held::Known(object) => object,
        }
    }
}

/// One object of a load, and how it is tied to the others.
pub(crate) struct Node {
    /// What the chapters of `runtime/` keep for a new object. It may refer to the object's memory, so it is dropped
    /// first.
    pub kept: Kept,
    pub object: Held,
    /// The names by which this load asked for the object.
    pub names: Vec<Arc<str>>,
    /// The nodes of its direct dependencies, in the order of `DT_NEEDED`, then those of `filtees`.
    pub needs: Vec<usize>,
    /// `DT_FILTER` and `DT_AUXILIARY`: the nodes that are asked for symbols before this one.
    pub filtees: Vec<usize>,
}

impl Node {
    pub(crate) fn is_new(&self) -> bool {
        matches!(self.object, Held::New(_))
    }
}

/// The stage of a batch that is mapped.
pub(crate) struct Mapped;
/// The stage of a batch that has been through pass 1 of stage 8.
pub(crate) struct Bound(pub Links);
/// The stage of a batch that has been through pass 2 of stage 8.
pub(crate) struct Relocated(pub Links);
/// The stage of a batch that is sealed.
pub(crate) struct Sealed(pub Links);

/// What relocating leaves to be remembered: one [`Linked`] for each node, and the definitions of unique symbols that
/// were chosen.
pub(crate) struct Links {
    pub nodes: Vec<Linked>,
    pub unique: Vec<OneOfAKind>,
}

/// The objects of one load in the order of their discovery: the opened library first, then breadth first.
pub(crate) struct Batch<S> {
    pub nodes: Vec<Node>,
    /// Indices of all nodes in the order of the local scope, in which they are asked for symbols.
    pub asked: Vec<usize>,
    /// Indices of the new nodes, dependencies first.
    pub order: Vec<usize>,
    pub stage: S,
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

    /// Every object, in the order of the local scope, to be kept.
    pub(crate) fn scope(&self) -> Arc<[Arc<Object>]> {
        self.asked.iter().map(|&at| self.nodes[at].object.shared()).collect()
    }

    /// The new objects.
    pub(crate) fn new_objects(&self) -> impl Iterator<Item = &Object> {
        self.nodes.iter().filter(|n| n.is_new()).map(|n| &*n.object)
    }

    /// The tags of all objects, in the order of the nodes.
    pub(crate) fn ids(&self) -> Vec<u32> {
        self.nodes.iter().map(|n| n.object.tag.id).collect()
    }

    /// The same in the order in which the objects are asked for symbols.
    pub(crate) fn asked_ids(&self) -> Vec<u32> {
        self.asked.iter().map(|&at| self.nodes[at].object.tag.id).collect()
    }

    /// The places of the new ones and of those that were loaded before, dependencies first. Constructors of the latter
    /// may not have run yet, if one of their own load asks.
    pub(crate) fn order_with_known(&self, members: &Members) -> Vec<usize> {
        let is_ours = |node: &Node| !node.object.is_host();
        if self.nodes.iter().all(|node| node.is_new() || !is_ours(node)) {
            return self.order.clone();
        }
        let places: Map<u32, usize> = self.ids().into_iter().zip(0..).collect();
        // glibc goes by `l_initfini`, which is longer for a library that was opened by itself before.
        let needs = |(at, node): (usize, &Node)| match members.get(node.object.tag.id) {
            Some(member) if !member.edges.all.is_empty() => {
                member.edges.all.iter().rev().filter_map(|id| places.get(id).copied()).collect()
            }
            None if at == 0 => Vec::new(),
            _ => node.needs.clone(),
        };
        let mut order = known_opened_last(&self.nodes.iter().enumerate().map(needs).collect::<Vec<_>>());
        order.retain(|&at| is_ours(&self.nodes[at]));
        order
    }

    /// The same batch in its next stage.
    pub(crate) fn then<T>(self, next: impl FnOnce(S) -> T) -> Batch<T> {
        Batch { nodes: self.nodes, asked: self.asked, order: self.order, stage: next(self.stage) }
    }

    pub(crate) fn tags(&self, order: &[usize]) -> Vec<Tag> {
        order.iter().map(|&at| self.nodes[at].object.tag.clone()).collect()
    }
}

impl Batch<Mapped> {
    pub(crate) fn new(nodes: Vec<Node>) -> Batch<Mapped> {
        let asked = match nodes.iter().all(|node| node.filtees.is_empty()) {
            true => (0..nodes.len()).collect(),
            false => search_order(nodes.len(), |at| &nodes[at].filtees),
        };
        let mut order: Vec<usize> = (0..nodes.len()).filter(|&at| nodes[at].is_new()).collect();
        // A single new object needs no sorting.
        if order.len() > 1 {
            order = opened_last(nodes.len(), |at| &nodes[at].needs);
            order.retain(|&at| nodes[at].is_new());
        }
        Batch { nodes, asked, order, stage: Mapped }
    }

    /// Whether nothing was mapped, because the library and everything that it needs were loaded before.
    pub(crate) fn is_empty(&self) -> bool {
        !self.nodes.iter().any(Node::is_new)
    }
}

/// The memory that an IFUNC resolver may change: that of the new objects.
impl Around for [Node] {
    fn each(&self, see: &mut dyn FnMut(&Memory)) {
        self.iter().filter(|n| n.is_new()).for_each(|n| see(&n.object.memory));
    }
}

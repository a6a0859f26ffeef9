//! The objects of one load, on their way from "mapped" to "published".
//!
//! The stage is a type, and it is the stage of the *batch*: symbols cross objects and dependencies may form
//! cycles, so no object is ready before all are. Until stage 10, publish, dropping a batch undoes everything.

use std::ops::Deref;
use std::sync::Arc;

use crate::event::Tag;
use crate::load::relocate::Linked;
use crate::memory::{Around, Memory};
use crate::namespace::order::{opened_last, search_order};
use crate::namespace::{Kept, OneOfAKind};
use crate::object::Object;

/// An object of a load: mapped by it, or here before.
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

/// One object of a load with its place among the others.
pub(crate) struct Node {
    /// What the chapters keep for a new object. Dropped before the object, whose memory it may refer to.
    pub kept: Kept,
    pub object: Held,
    /// The names by which it was asked for.
    pub names: Vec<Arc<str>>,
    /// Its direct dependencies, as indices of nodes, in the order of `DT_NEEDED`; then what it filters.
    pub needs: Vec<usize>,
    /// `DT_FILTER` and `DT_AUXILIARY`: the objects that are asked before it is.
    pub filtees: Vec<usize>,
}

impl Node {
    pub(crate) fn is_new(&self) -> bool {
        matches!(self.object, Held::New(_))
    }
}

/// Every object is mapped, nothing is patched.
pub(crate) struct Mapped;
/// Pass 1 is done: only what needs resolvers of new objects is missing. One `Linked` for each node.
pub(crate) struct Bound(pub Links);
/// Every relocation is done.
pub(crate) struct Relocated(pub Links);
/// `PT_GNU_RELRO` is read-only.
pub(crate) struct Sealed(pub Links);

/// What relocating leaves to be remembered: for each node, and the unique symbols that were chosen.
pub(crate) struct Links {
    pub nodes: Vec<Linked>,
    pub unique: Vec<OneOfAKind>,
}

/// The objects of one load, new ones and those that were here, in the order of the local scope.
pub(crate) struct Batch<S> {
    pub nodes: Vec<Node>,
    /// Their places in the order in which they are asked for symbols.
    pub asked: Vec<usize>,
    /// The places of the new ones, dependencies first.
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

    /// The same, to keep.
    pub(crate) fn scope(&self) -> Arc<[Arc<Object>]> {
        self.asked.iter().map(|&at| self.nodes[at].object.shared()).collect()
    }

    /// The new objects.
    pub(crate) fn new_objects(&self) -> impl Iterator<Item = &Object> {
        self.nodes.iter().filter(|n| n.is_new()).map(|n| &*n.object)
    }

    /// The tags of all objects.
    pub(crate) fn ids(&self) -> Vec<u32> {
        self.nodes.iter().map(|n| n.object.tag.id).collect()
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
        // One alone is in order.
        if order.len() > 1 {
            order = opened_last(nodes.len(), |at| &nodes[at].needs);
            order.retain(|&at| nodes[at].is_new());
        }
        Batch { nodes, asked, order, stage: Mapped }
    }

    /// Whether nothing was mapped: the library was here before.
    pub(crate) fn is_empty(&self) -> bool {
        !self.nodes.iter().any(Node::is_new)
    }
}

/// What a resolver may change, for those who watch.
impl Around for [Node] {
    fn each(&self, see: &mut dyn FnMut(&Memory)) {
        self.iter().filter(|n| n.is_new()).for_each(|n| see(&n.object.memory));
    }
}

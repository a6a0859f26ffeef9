//! The objects of one namespace: the names that mean them, who needs whom, and what keeps each of them mapped.
//!
//! An object stays mapped if it was opened and not closed, or if an object that stays needs it or is bound to it. Which
//! ones go is found out in `unneeded.rs`.

use std::collections::BTreeMap;
use std::sync::{Arc, Weak};

use super::Namespace;
use super::order::search_order;
use super::unneeded::{Users, reldeps};
use crate::elf::dynamic::DF_1_NODELETE;
use crate::host::Host;
use crate::object::{FileId, Object};
use crate::policy::Mode;
use rustc_hash::FxHashMap as Map;

/// Where an object is in its life, as far as its own code is concerned.
///
/// | state | meaning | who leads to the next state |
/// |---|---|---|
/// | `Fresh` | published; no constructor has run | `load::init` → `Initialising` |
/// | `Initialising` | its constructors are running, or one threw | `load::init`, behind the last one → `Ready` |
/// | `Ready` | complete | `load::close`: unneeded → `Closing`; at exit → `Over` |
/// | `Closing` | destructors are due, running, or ran; loads pass it over | `load::close` removes and unmaps it |
/// | `Over` | destructors are due, running, or ran; it can still be opened and used | nobody: the process ends |
///
/// At exit `Initialising` becomes `Over`, too: one of its constructors called `exit`. [`Member::finished`] tells whether the
/// destructors have begun, which they do once: a destructor may call `exit` in the middle of a close.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Life {
    /// Published, before its constructors.
    Fresh,
    /// In its constructors. It is not unloaded meanwhile.
    Initialising,
    /// Complete.
    Ready,
    /// Before, in or behind its destructors, on its way out of the process.
    Closing,
    /// Before, in or behind its destructors, at the end of the process.
    Over,
}

/// What the chapters of `runtime/` and the C ABI keep for an object as long as it is mapped: its TLS module, its
/// registered unwind table, and so on. Dropping such a thing takes it back.
pub(crate) type Kept = Vec<Arc<dyn Send + Sync>>;

/// What `GOT[1]` of a lazily bound object points to. It tells a first call which object is calling. glibc keeps the
/// `link_map` there.
pub(crate) struct Binder {
    pub namespace: Weak<Namespace>,
    /// The object's tag.
    pub object: u32,
}

/// One object of a namespace, and what is known about its use.
#[derive(Clone)]
pub(crate) struct Member {
    /// It may refer to the object's memory, so it is dropped first.
    pub kept: Kept,
    pub object: Arc<Object>,
    /// Every name that means the object.
    names: Vec<Arc<str>>,
    pub edges: Edges,
    /// How often the object was opened and not closed. glibc: `l_direct_opencount`.
    pub opens: usize,
    /// Whether it is in the global scope: it, or an object that needs it, was opened with `RTLD_GLOBAL`.
    pub global: bool,
    /// Whether it is never unloaded: `DF_1_NODELETE`, `RTLD_NODELETE`, or it has a unique symbol in use.
    pub pinned: bool,
    /// `RTLD_DEEPBIND`: its references ask the local scope before the global one.
    pub deep: bool,
    pub life: Life,
    /// Its destructors began.
    pub finished: bool,
    /// What it uses is counted: `unneeded.rs`.
    pub(super) counted: bool,
    /// Nothing needs it any more. It will be unloaded, and no reference of a staying object may be bound to it.
    pub doomed: bool,
    /// The tags of the opened libraries whose closure it is in, in the order of their opening. Its first calls ask
    /// these closures after the global scope. glibc: `l_scope`.
    pub scopes: Vec<u32>,
}

/// The one definition of a `STB_GNU_UNIQUE` symbol.
pub(crate) struct OneOfAKind {
    pub name: Box<[u8]>,
    /// The tag of the object that has it.
    pub object: u32,
    /// The symbol's index there.
    pub index: u32,
}

/// The tags of the objects that an object keeps in the process.
#[derive(Clone, Default)]
pub(crate) struct Edges {
    /// Its direct dependencies in the order of `DT_NEEDED`, then what it filters.
    pub needs: Vec<u32>,
    /// The objects that are asked for symbols before it is: `DT_FILTER` and `DT_AUXILIARY`.
    pub filtees: Vec<u32>,
    /// The objects whose definitions its references are bound to, in the order of binding. glibc: `l_reldeps`.
    pub bound: Vec<u32>,
    /// Of a library that was opened with dependencies: the members among them and itself, in the order of constructors.
    pub all: Vec<u32>,
    /// Whether `all` stays as it is: the library was opened, or another one was closed that was opened and needs it. glibc
    /// gives an object a search list of its own then, and sorts no more.
    pub all_is_known: bool,
    /// Whether it was bound to objects that it did not need itself, when it was opened as the dependency of another one.
    pub was_bound: bool,
}

impl Member {
    pub(crate) fn new(object: Arc<Object>, kept: Kept, names: Vec<Arc<str>>, edges: Edges, deep: bool) -> Member {
        let pinned = object.dynamic.flags_1 & DF_1_NODELETE != 0;
        Member {
            kept,
            object,
            names,
            edges,
            opens: 0,
            global: false,
            pinned,
            deep,
            life: Life::Fresh,
            finished: false,
            counted: false,
            doomed: false,
            scopes: Vec::new(),
        }
    }

    /// Whether it is on its way out of the process.
    pub(crate) fn is_leaving(&self) -> bool {
        self.doomed || self.life == Life::Closing
    }
}

/// All members, in the order of loading (tags ascend), and the names that mean them.
#[derive(Clone, Default)]
pub(crate) struct Members {
    pub(super) list: BTreeMap<u32, Member>,
    /// The tags of the members of the global scope, in the order in which they entered it.
    global: Vec<u32>,
    names: Map<Arc<str>, u32>,
    /// Names that another member had before, and the tags of the later members. A name means the member that had it
    /// first, and the next one here when that is gone.
    also_named: Vec<(Arc<str>, u32)>,
    /// The members by the files that they were mapped from.
    files: Map<FileId, u32>,
    /// `STB_GNU_UNIQUE` definitions in use: name → object, symbol index.
    pub(super) unique: Map<Box<[u8]>, (u32, u32)>,
    /// The hold of the lock in which unneeded members are being unloaded: that is under way further up on the stack of
    /// the lock's owner.
    pub sweeping: Option<u32>,
    /// How many members use each one, and which may be unneeded.
    pub(super) users: Users,
    /// The host's objects as the last load saw them.
    pub host: Option<Host>,
}

impl Members {
    pub(crate) fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    pub(crate) fn len(&self) -> usize {
        self.list.len()
    }

    /// The members whose tags are higher than `last`: those that came after it.
    pub(crate) fn since(&self, last: Option<u32>) -> impl Iterator<Item = &Member> {
        self.list.range(last.map_or(0, |last| last + 1)..).map(|(_, member)| member)
    }

    pub(crate) fn get(&self, id: u32) -> Option<&Member> {
        self.list.get(&id)
    }

    pub(crate) fn get_mut(&mut self, id: u32) -> Option<&mut Member> {
        self.list.get_mut(&id)
    }

    pub(crate) fn object(&self, id: u32) -> Option<Arc<Object>> {
        self.list.get(&id).map(|m| m.object.clone())
    }

    pub(crate) fn iter(&self) -> impl DoubleEndedIterator<Item = &Member> {
        self.list.values()
    }

    /// The objects in the order of loading, without those whose destructors run or ran.
    pub(crate) fn objects(&self) -> impl Iterator<Item = Arc<Object>> {
        self.list.values().filter(|m| m.life != Life::Closing).map(|m| m.object.clone())
    }

    pub(crate) fn by_name(&self, name: &str) -> Option<Arc<Object>> {
        let first = self.names.get(name)?;
        let others = self.also_named.iter().filter(|(other, _)| **other == *name).map(|(_, id)| id);
        let mut members = [first].into_iter().chain(others).filter_map(|id| self.list.get(id));
        members.find(|member| member.life != Life::Closing).map(|member| member.object.clone())
    }

    pub(crate) fn by_file(&self, file: FileId) -> Option<Arc<Object>> {
        let member = self.list.get(self.files.get(&file)?)?;
        (member.life != Life::Closing).then(|| member.object.clone())
    }

    /// Makes room for `count` more members and their names.
    pub(crate) fn reserve(&mut self, count: usize) {
        self.files.reserve(count);
        self.names.reserve(count * 2);
    }

    pub(crate) fn insert(&mut self, member: Member) {
        let id = member.object.tag.id;
        if let Some(file) = member.object.file {
            self.files.insert(file, id);
        }
        for name in &member.names {
            self.add_name(id, name);
        }
        self.list.insert(id, member);
    }

    pub(crate) fn add_names(&mut self, id: u32, names: Vec<Arc<str>>) {
        for name in &names {
            self.add_name(id, name);
        }
        if let Some(member) = self.list.get_mut(&id) {
            member.names.extend(names);
        }
    }

    fn add_name(&mut self, id: u32, name: &Arc<str>) {
        match self.names.get(name) {
            None => {
                self.names.insert(name.clone(), id);
            }
            Some(&first) if first == id => {}
            Some(_) => self.also_named.push((name.clone(), id)),
        }
    }

    /// Counts one more use of the member `root`, whose closure is `ids`; `order` are the members of it in the order of
    /// constructors. Tags of host objects mean no member, and change nothing.
    pub(crate) fn opened(&mut self, root: u32, ids: &[u32], order: &[u32], mode: Mode) {
        if let Some(member) = self.list.get_mut(&root) {
            member.opens += 1;
            member.pinned |= mode.pinned;
            if order.len() > 1 && !std::mem::replace(&mut member.edges.all_is_known, true) {
                member.edges.was_bound = !member.scopes.is_empty() && reldeps(member).next().is_some();
                member.edges.all = order.into();
            }
        }
        for id in ids {
            if let Some(member) = self.list.get_mut(id)
                && !member.scopes.contains(&root)
            {
                member.scopes.push(root);
            }
        }
        if mode.global {
            // An object stays in the global scope until it is unloaded: others may be bound to what they found there.
            for id in ids {
                if let Some(member) = self.list.get_mut(id).filter(|m| !m.global) {
                    member.global = true;
                    self.global.push(*id);
                }
            }
        }
    }

    /// Takes a member out of the namespace. The last `Arc` of its object unmaps the memory.
    pub(crate) fn remove(&mut self, id: u32) -> Option<Member> {
        let member = self.list.remove(&id)?;
        self.also_named.retain(|(_, other)| *other != id);
        for name in &member.names {
            if self.names.get(name) == Some(&id) {
                self.names.remove(name);
                if let Some(next) = self.also_named.iter().position(|(other, _)| other == name) {
                    let (name, id) = self.also_named.remove(next);
                    self.names.insert(name, id);
                }
            }
        }
        if let Some(file) = member.object.file.filter(|file| self.files.get(file) == Some(&id)) {
            self.files.remove(&file);
        }
        if member.global {
            self.global.retain(|global| *global != id);
        }
        if member.pinned {
            self.unique.retain(|_, (object, _)| *object != id);
        }
        // Only an opened library can be in the `scopes` of others, and those are in its closure.
        for other in &member.edges.all {
            let Some(other) = self.list.get_mut(other) else { continue };
            other.scopes.retain(|root| *root != id);
            other.edges.all_is_known = true;
        }
        self.users.removed(&member);
        Some(member)
    }

    /// The members' part of the global scope, which follows the start-up objects, in the order in which they entered
    /// it.
    pub(crate) fn global(&self) -> impl Iterator<Item = &Arc<Object>> {
        let members = self.global.iter().filter_map(|id| self.list.get(id));
        members.filter(|m| m.life != Life::Closing).map(|m| &m.object)
    }

    /// The definition of a unique symbol in use: its object, and its index there.
    pub(crate) fn unique<'a>(&'a self, name: &[u8], host: &'a Host) -> Option<(&'a Object, u32)> {
        let &(id, index) = self.unique.get(name)?;
        let own = self.list.get(&id).map(|m| &*m.object);
        let object = own.or_else(|| host.objects.iter().find(|o| o.tag.id == id).map(|o| &**o))?;
        Some((object, index))
    }

    /// Notes unique symbols that a reference was bound to for the first time. Their objects are never unloaded.
    pub(crate) fn add_unique(&mut self, new: Vec<OneOfAKind>) {
        self.unique.reserve(new.len());
        for OneOfAKind { name, object, index } in new {
            if let Some(member) = self.list.get_mut(&object) {
                member.pinned = true;
            }
            self.unique.entry(name).or_insert((object, index));
        }
    }

    /// `root` and its dependencies, breadth first: the scope of `dlsym` with its handle.
    pub(crate) fn closure(&self, root: &Arc<Object>, host: &Host) -> Vec<Arc<Object>> {
        let mut found = vec![root.clone()];
        let mut places: Map<u32, usize> = Map::default();
        places.insert(root.tag.id, 0);
        let mut at = 0;
        while let Some(object) = found.get(at).cloned() {
            at += 1;
            let needs: Vec<Arc<Object>> = match self.get(object.tag.id) {
                Some(member) => member
                    .edges
                    .needs
                    .iter()
                    .filter_map(|&id| self.object(id).or_else(|| host_by_id(host, id)))
                    .collect(),
                None => object.wants().needed.iter().filter_map(|name| host_by_soname(host, name)).collect(),
            };
            for need in needs {
                places.entry(need.tag.id).or_insert_with(|| {
                    found.push(need);
                    found.len() - 1
                });
            }
        }
        let filtees = |at: usize| match self.get(found[at].tag.id) {
            Some(member) => member.edges.filtees.iter().filter_map(|id| places.get(id).copied()).collect(),
            None => Vec::new(),
        };
        search_order(found.len(), filtees).into_iter().map(|at| found[at].clone()).collect()
    }

    /// The local scope of `object`: the closure of the first opened library that it belongs to.
    pub(crate) fn local_scope(&self, object: &Arc<Object>, host: &Host) -> Vec<Arc<Object>> {
        let root = self.get(object.tag.id).and_then(|member| self.object(*member.scopes.first()?));
        let scope = self.closure(root.as_ref().unwrap_or(object), host);
        if scope.iter().any(|o| o.tag.id == object.tag.id) { scope } else { self.closure(object, host) }
    }
}

fn host_by_id(host: &Host, id: u32) -> Option<Arc<Object>> {
    host.objects.iter().find(|o| o.tag.id == id).cloned()
}

fn host_by_soname(host: &Host, name: &str) -> Option<Arc<Object>> {
    host.objects.iter().find(|o| o.soname.as_deref() == Some(name)).cloned()
}

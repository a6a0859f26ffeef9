//! The objects of one namespace: the names that mean them, who needs whom, and what keeps each of them mapped.
//!
//! glibc `_dl_close_worker`. What stays mapped is decided by walking from what is in use, never by counting references
//! down: an object stays if someone opened it, or if something that stays needs it or is bound to it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};

use super::Namespace;
use super::order::{dependencies_first, search_order};
use crate::elf::dynamic::DF_1_NODELETE;
use crate::hash::Map;
use crate::host::Host;
use crate::object::{FileId, Object};
use crate::policy::Mode;

/// Where an object is in its life, as far as its own code is concerned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Life {
    /// Published; its constructors did not run yet.
    Fresh,
    /// Its constructors are running: nested opens and closes leave it alone.
    Initialising,
    /// Complete.
    Ready,
    /// Its destructors are running, or ran: it is being unloaded.
    Closing,
    /// The same at the end of the process: it stays where it is, and can still be opened and used.
    Over,
}

/// What the chapters of `runtime/` and the C ABI keep for an object as long as it is mapped: its place in the list of
/// TLS modules, its unwind table's registration, and so on. Dropping one of them takes it back.
pub(crate) type Kept = Vec<Arc<dyn Send + Sync>>;

/// What `GOT[1]` of a lazily bound object points to: whose call it is. glibc keeps the `link_map` there.
pub(crate) struct Binder {
    pub namespace: Weak<Namespace>,
    /// The object's tag.
    pub object: u32,
}

/// One object of a namespace, and what is known about its use.
#[derive(Clone)]
pub(crate) struct Member {
    /// Dropped before the object, whose memory it may refer to.
    pub kept: Kept,
    pub object: Arc<Object>,
    /// Every name that means it.
    names: Vec<Arc<str>>,
    pub edges: Edges,
    /// How often it was opened and not closed.
    pub opens: usize,
    /// Opened with `RTLD_GLOBAL`: in everybody's scope.
    pub global: bool,
    /// Never unloaded: `DF_1_NODELETE`, `RTLD_NODELETE`, or it has a unique symbol in use.
    pub pinned: bool,
    /// `RTLD_DEEPBIND`: its local scope is asked before everybody's.
    pub deep: bool,
    pub life: Life,
    /// Nothing needs it any more: it will be unloaded, and nothing may be bound to it from outside.
    pub doomed: bool,
    /// The opened libraries whose closure it is in, in the order of their opening: where its calls look for
    /// symbols after everybody's scope. glibc: `l_scope`.
    pub scopes: Vec<u32>,
}

/// The one definition of a `STB_GNU_UNIQUE` symbol.
pub(crate) struct OneOfAKind {
    pub name: Box<[u8]>,
    /// The object that has it, by tag.
    pub object: u32,
    /// Its symbol there.
    pub index: u32,
}

/// What an object keeps in the process, by tag.
#[derive(Clone)]
pub(crate) struct Edges {
    /// Its direct dependencies in the order of `DT_NEEDED`, then what it filters.
    pub needs: Vec<u32>,
    /// What is asked for symbols before it is.
    pub filtees: Vec<u32>,
    /// Objects whose symbols it uses. glibc: `l_reldeps`.
    pub bound: Vec<u32>,
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
            doomed: false,
            scopes: Vec::new(),
        }
    }

    /// On its way out of the process.
    pub(crate) fn is_leaving(&self) -> bool {
        self.doomed || self.life == Life::Closing
    }
}

/// All members, in the order of loading (tags ascend), and the names that mean them.
#[derive(Clone, Default)]
pub(crate) struct Members {
    list: BTreeMap<u32, Member>,
    /// Members opened with `RTLD_GLOBAL`, in that order: everybody's scope, after the start-up objects.
    global: Vec<u32>,
    names: Map<Arc<str>, u32>,
    /// Names that a later member has, too: whoever has one first goes by it, and the next when that one is gone.
    also_named: Vec<(Arc<str>, u32)>,
    /// By the files that they were mapped from.
    files: Map<FileId, u32>,
    /// `STB_GNU_UNIQUE` definitions in use: name → object, symbol index.
    unique: Map<Box<[u8]>, (u32, u32)>,
    /// Unneeded members are being unloaded, in this hold of the lock: further up on its owner's stack.
    pub sweeping: Option<u32>,
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

    /// The objects in the order of loading, without those that are going away.
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

    /// Makes room for so many more, and their names.
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

    /// One more use of the member `root`, whose closure is `ids`; the host's objects are not counted.
    pub(crate) fn opened(&mut self, root: u32, ids: &[u32], mode: Mode) {
        if let Some(member) = self.list.get_mut(&root) {
            member.opens += 1;
            member.pinned |= mode.pinned;
        }
        for id in ids {
            if let Some(member) = self.list.get_mut(id)
                && !member.scopes.contains(&root)
            {
                member.scopes.push(root);
            }
        }
        if mode.global {
            // Promoted, never taken back: others may have found symbols there.
            for id in ids {
                if let Some(member) = self.list.get_mut(id).filter(|m| !m.global) {
                    member.global = true;
                    self.global.push(*id);
                }
            }
        }
    }

    /// Takes a member out; its memory goes with the last `Arc`.
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
        // Only what was opened is a root, of itself too.
        if member.scopes.contains(&id) {
            self.list.values_mut().for_each(|m| m.scopes.retain(|root| *root != id));
        }
        Some(member)
    }

    /// The objects of everybody's scope, after the start-up objects: those promoted first, first.
    pub(crate) fn global(&self) -> impl Iterator<Item = &Arc<Object>> {
        let members = self.global.iter().filter_map(|id| self.list.get(id));
        members.filter(|m| m.life != Life::Closing).map(|m| &m.object)
    }

    /// The definition of a unique symbol in use: its object and index.
    pub(crate) fn unique<'a>(&'a self, name: &[u8], host: &'a Host) -> Option<(&'a Object, u32)> {
        let &(id, index) = self.unique.get(name)?;
        let own = self.list.get(&id).map(|m| &*m.object);
        let object = own.or_else(|| host.objects.iter().find(|o| o.tag.id == id).map(|o| &**o))?;
        Some((object, index))
    }

    /// Notes unique symbols that were bound to for the first time; their objects stay for good.
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

    /// The members that nothing uses any more, in the order of their destructors: users before what they use.
    fn unneeded(&self) -> Vec<u32> {
        let mut kept: BTreeSet<u32> = BTreeSet::new();
        let in_use = |m: &&Member| {
            m.opens > 0 || m.pinned || m.object.thread_destructors.load(Ordering::SeqCst) > 0 || m.life != Life::Ready
        };
        let mut to_visit: Vec<u32> = self.list.values().filter(in_use).map(|m| m.object.tag.id).collect();
        while let Some(id) = to_visit.pop() {
            if let Some(member) = self.list.get(&id)
                && kept.insert(id)
            {
                to_visit.extend(member.edges.needs.iter().chain(&member.edges.bound));
            }
        }
        self.fini_order(|id| !kept.contains(&id))
    }

    /// Marks and returns those: from now on no first call binds to them.
    pub(crate) fn doom_unneeded(&mut self) -> Vec<u32> {
        let unneeded = self.unneeded();
        for id in &unneeded {
            if let Some(member) = self.list.get_mut(id) {
                member.doomed = true;
            }
        }
        unneeded
    }

    /// The chosen members in the order of their destructors: the reverse of dependencies first.
    pub(crate) fn fini_order(&self, chosen: impl Fn(u32) -> bool) -> Vec<u32> {
        let ids: Vec<u32> = self.list.keys().copied().collect();
        let place: Map<u32, usize> = ids.iter().enumerate().map(|(at, &id)| (id, at)).collect();
        let needs: Vec<Vec<usize>> = self
            .list
            .values()
            .map(|m| m.edges.needs.iter().chain(&m.edges.bound).filter_map(|id| place.get(id).copied()).collect())
            .collect();
        dependencies_first(needs.len(), |at| &needs[at])
            .into_iter()
            .rev()
            .map(|at| ids[at])
            .filter(|&id| chosen(id))
            .collect()
    }
}

fn host_by_id(host: &Host, id: u32) -> Option<Arc<Object>> {
    host.objects.iter().find(|o| o.tag.id == id).cloned()
}

fn host_by_soname(host: &Host, name: &str) -> Option<Arc<Object>> {
    host.objects.iter().find(|o| o.soname.as_deref() == Some(name)).cloned()
}

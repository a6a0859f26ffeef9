//! Stage 6, needed: the opened library and all its dependencies, breadth first, each once.
//!
//! gABI "Shared Object Dependencies"; glibc `_dl_map_object_deps` and `_dl_map_object`, musl `load_deps`. A
//! dependency is the same as an object that is already here if it has the same name, the same `DT_SONAME`, or
//! is the same file (device and inode). What the host has is adopted and never mapped a second time.

use std::ops::Deref;
use std::sync::Arc;

use crate::error::{ErrorKind, Result};
use crate::event::{Arrival, Kind, Probe, Report, Request, SameBy, Silent, Stage, Tag};
use crate::hash::Map;
use crate::host::Host;
use crate::link::search::{self, OpenFile, Search};
use crate::lock::Lock;
use crate::namespace::{Members, Policy};
use crate::object::{FileId, Object};

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

/// What to open.
#[derive(Clone, Copy)]
pub(crate) enum Target<'a> {
    /// A name to search, or a path.
    Name(&'a str),
    /// A library in memory, and a name for it.
    Bytes(&'a str, &'a [u8]),
}

impl Target<'_> {
    pub(crate) fn name(&self) -> &str {
        match self {
            Target::Name(name) | Target::Bytes(name, _) => name,
        }
    }
}

/// What a load needs to know about what is already here.
pub(crate) struct Around<'a> {
    pub members: &'a Members,
    pub host: &'a Host,
    pub policy: &'a Policy,
    pub probe: Option<&'a Arc<dyn Probe>>,
    pub lock: &'a Lock,
}

/// Finds, reads, plans and maps `target` and everything that it needs: stages 1 to 6. The first node is the
/// target; the order of the others is that of the local scope.
///
/// # Errors
/// The first thing that cannot be found, read or mapped. What was mapped so far is unmapped again.
#[inline(never)] // a stage: see docs/gdb.md
pub(crate) fn gather<P: Probe + ?Sized>(
    target: Target<'_>,
    caller: Option<&Object>,
    around: &Around<'_>,
    report: Report<'_, P>,
) -> Result<Vec<Node>> {
    let mut graph = Graph::new(around);
    match target {
        Target::Name(name) => graph.add(name, caller, None, report)?,
        Target::Bytes(name, bytes) => {
            let file = search::from_bytes(name, bytes, report.at(Stage::Find))?;
            let object = graph.load(file, caller, report)?;
            graph.push_new(name, object)
        }
    };
    let mut at = 0;
    while at < graph.nodes.len() {
        graph.add_needs_of(at, report)?;
        at += 1;
    }
    Ok(graph.nodes)
}

/// Whether `name`, searched on behalf of `caller`, means an object that is here already.
///
/// # Errors
/// As [`gather`], if no such file can be found.
pub(crate) fn is_here(name: &str, caller: Option<&Object>, around: &Around<'_>) -> Result<bool> {
    let graph = Graph::new(around);
    if graph.known_by_name(name).is_some() {
        return Ok(true);
    }
    let file = graph.search(name, caller, None, Request::current().report(&Silent, Stage::Find))?;
    Ok(graph.known_by_file(&file).is_some())
}

/// The order in which objects are asked for symbols: that of their discovery, but each behind what it filters.
pub(crate) fn search_order<N: AsRef<[usize]>>(count: usize, filtees: impl Fn(usize) -> N) -> Vec<usize> {
    let mut order = Vec::with_capacity(count);
    let mut placed = vec![false; count];
    for at in 0..count {
        for &next in filtees(at).as_ref().iter().chain([&at]) {
            if !std::mem::replace(&mut placed[next], true) {
                order.push(next);
            }
        }
    }
    order
}

struct Graph<'a> {
    around: &'a Around<'a>,
    nodes: Vec<Node>,
    /// Every name and soname that means one of the nodes.
    names: Map<Arc<str>, u32>,
    /// The new ones by their files.
    files: Map<FileId, u32>,
    /// Those that were here before, by tag.
    known: Map<u32, usize>,
    absent: search::Absent,
}

impl<'a> Graph<'a> {
    fn new(around: &'a Around<'a>) -> Graph<'a> {
        let (names, files, known) = (Map::default(), Map::default(), Map::default());
        Graph { around, nodes: Vec::new(), names, files, known, absent: Default::default() }
    }

    /// Settles each `DT_NEEDED` of node `at`.
    fn add_needs_of<P: Probe + ?Sized>(&mut self, at: usize, report: Report<'_, P>) -> Result<()> {
        let (object, is_new) = (self.nodes[at].object.shared(), self.nodes[at].is_new());
        let tag = &object.tag;
        for name in &object.wants().needed {
            let before = self.nodes.len();
            let index = if is_new {
                match self.add(name, None, Some(at), report) {
                    Ok(index) => index,
                    Err(error) => {
                        self.around.policy.fault(error, report.about(tag))?;
                        continue;
                    }
                }
            } else {
                // An object that is complete has its dependencies around; a host's may be gone again.
                match self.known_need(at, name) {
                    Some(known) => self.hold(known, name),
                    None => continue,
                }
            };
            self.nodes[at].needs.push(index);
            if is_new {
                let node = &self.nodes[index];
                let how = match &node.object {
                    Held::New(_) if index < before => Arrival::Shared,
                    Held::New(_) => Arrival::New,
                    Held::Known(object) if object.is_host() => Arrival::Adopted,
                    Held::Known(_) => Arrival::Loaded,
                };
                report.at(Stage::Needed).about(tag).tell_each(|| Kind::Needed {
                    name: name.to_string(),
                    object: node.object.tag.clone(),
                    how,
                });
            }
        }
        if is_new { self.add_filtees_of(at, report) } else { Ok(()) }
    }

    /// `DT_FILTER`: the object is only a list of names, and another one implements them. `DT_AUXILIARY`: another
    /// one implements some of them better, if it is there. gABI "Dynamic Section".
    fn add_filtees_of<P: Probe + ?Sized>(&mut self, at: usize, report: Report<'_, P>) -> Result<()> {
        for (name, must_be_there) in self.nodes[at].object.wants().filters.clone() {
            match self.add(&name, None, Some(at), report) {
                Ok(index) => {
                    self.nodes[at].needs.push(index);
                    self.nodes[at].filtees.push(index);
                }
                Err(error) if must_be_there => {
                    self.around.policy.fault(error, report.about(&self.nodes[at].object.tag))?;
                }
                Err(_) => {}
            }
        }
        Ok(())
    }

    /// What `name` means to the complete object at `at`.
    fn known_need(&self, at: usize, name: &str) -> Option<Arc<Object>> {
        let object = &self.nodes[at].object;
        if object.is_host() {
            return in_host(self.around.host, name).map(|(object, _)| object);
        }
        let members = self.around.members;
        let needs = &members.get(object.tag.id)?.edges.needs;
        let place = object.wants().needed.iter().position(|n| **n == *name)?;
        let id = *needs.get(place)?;
        members.object(id).or_else(|| self.around.host.objects.iter().find(|o| o.tag.id == id).cloned())
    }

    /// The node that `name` means: one of these, one of the namespace, one of the host, or a new one.
    fn add<P: Probe + ?Sized>(
        &mut self,
        name: &str,
        caller: Option<&Object>,
        needed_by: Option<usize>,
        report: Report<'_, P>,
    ) -> Result<usize> {
        let report = report.at(Stage::Find);
        if let Some(&index) = self.names.get(name) {
            return Ok(index as usize);
        }
        if let Some((object, by)) = self.known_by_name(name) {
            tell_known(name, by, &object.tag, report);
            return Ok(self.hold(object, name));
        }
        let file = self.search(name, caller, needed_by, report)?;
        if let Some(index) = file.id.and_then(|id| self.files.get(&id).copied()) {
            search::close(file.fd, report);
            self.names.insert(name.into(), index);
            self.nodes[index as usize].names.push(name.into());
            return Ok(index as usize);
        }
        if let Some(object) = self.known_by_file(&file) {
            tell_known(name, SameBy::Inode, &object.tag, report);
            search::close(file.fd, report);
            return Ok(self.hold(object, name));
        }
        let loaded_by = needed_by.map(|at| &*self.nodes[at].object).or(caller);
        let object = self.load(file, loaded_by, report)?;
        Ok(self.push_new(name, object))
    }

    fn search<P: Probe + ?Sized>(
        &self,
        name: &str,
        caller: Option<&Object>,
        needed_by: Option<usize>,
        report: Report<'_, P>,
    ) -> Result<OpenFile> {
        let requester = needed_by.map(|at| &*self.nodes[at].object).or(caller);
        let executable = self.around.host.startup().first().map(|o| &**o);
        report.tell(|| Kind::Search { name: name.into(), needed_by: needed_by.and(requester).map(|o| o.tag.clone()) });
        Search {
            name,
            dirs: &self.around.policy.dirs,
            of: requester,
            executable,
            needed_by: needed_by.map(|at| self.nodes[at].object.tag.short()),
            whose: requester.map_or("the program", |o| o.tag.short()),
            absent: &self.absent,
        }
        .run(self.around.lock, report)
    }

    fn known_by_name(&self, name: &str) -> Option<(Arc<Object>, SameBy)> {
        if let Some(object) = self.around.members.by_name(name) {
            let by = if object.soname.as_deref() == Some(name) { SameBy::Soname } else { SameBy::Name };
            return Some((object, by));
        }
        in_host(self.around.host, name)
    }

    fn known_by_file(&self, file: &OpenFile) -> Option<Arc<Object>> {
        let id = file.id?;
        let own = self.around.members.by_file(id);
        own.or_else(|| {
            // The same file has the same program headers, which are in memory: only then is a `stat` worth it.
            let alike = self.around.host.objects.iter().filter(|o| o.image.segments == file.image.segments);
            alike.into_iter().find(|o| file_id(o.path()) == Some(id)).cloned()
        })
    }

    /// Notes an object that is already here as a node.
    fn hold(&mut self, object: Arc<Object>, name: &str) -> usize {
        let index = match self.known.get(&object.tag.id) {
            Some(&index) => index,
            None => {
                self.known.insert(object.tag.id, self.nodes.len());
                self.push(Held::Known(object))
            }
        };
        self.names.insert(name.into(), index as u32);
        index
    }

    fn load<P: Probe + ?Sized>(
        &self,
        file: OpenFile,
        loaded_by: Option<&Object>,
        report: Report<'_, P>,
    ) -> Result<Object> {
        Object::load(file, loaded_by, self.around.probe.cloned(), report)
    }

    fn push_new(&mut self, name: &str, object: Object) -> usize {
        let (soname, path) = (object.soname.clone(), object.tag.name.clone());
        let name = match &soname {
            Some(soname) if **soname == *name => soname.clone(),
            _ if *path == *name => path.clone(),
            _ => name.into(),
        };
        if let Some(file) = object.file {
            self.files.insert(file, self.nodes.len() as u32);
        }
        let index = self.push(Held::New(Arc::new(object)));
        for alias in [Some(name), soname, Some(path)].into_iter().flatten() {
            if !self.nodes[index].names.contains(&alias) {
                self.nodes[index].names.push(alias.clone());
            }
            self.names.entry(alias).or_insert(index as u32);
        }
        index
    }

    fn push(&mut self, object: Held) -> usize {
        self.nodes.push(Node { object, names: Vec::with_capacity(2), needs: Vec::new(), filtees: Vec::new() });
        self.nodes.len() - 1
    }
}

fn tell_known<P: Probe + ?Sized>(name: &str, by: SameBy, tag: &Tag, report: Report<'_, P>) {
    report.about(tag).tell_each(|| Kind::Known { name: name.into(), by });
}

/// The host object that goes by `name`.
fn in_host(host: &Host, name: &str) -> Option<(Arc<Object>, SameBy)> {
    let by_soname = |o: &&Arc<Object>| o.soname.as_deref() == Some(name);
    let by_path = |o: &&Arc<Object>| *o.tag.name == *name;
    let found = host.objects.iter().find(by_soname).map(|o| (o, SameBy::Soname));
    found.or_else(|| host.objects.iter().find(by_path).map(|o| (o, SameBy::Name))).map(|(o, by)| (o.clone(), by))
}

fn file_id(path: &std::ffi::OsStr) -> Option<FileId> {
    let stat = nix::sys::stat::stat(path).ok()?;
    Some(FileId { device: stat.st_dev, inode: stat.st_ino })
}

/// `DF_1_NOOPEN`: a library that must not be opened by hand, only needed.
pub(crate) fn refuse_noopen(root: &Object) -> Result<()> {
    if root.is_host() || root.dynamic.flags_1 & crate::elf::dynamic::DF_1_NOOPEN == 0 {
        return Ok(());
    }
    let kind = ErrorKind::Policy {
        what: "DT_FLAGS_1".into(),
        found: "DF_1_NOOPEN".into(),
        reason: "the library says that it must not be opened at run time, only be needed by others (linked with -z nodlopen)".into(),
    };
    Err(kind.of(root.label(), Stage::Needed))
}

/// A program that is linked position-independent is `ET_DYN` too, but it is no library.
pub(crate) fn refuse_program(root: &Object) -> Result<()> {
    if root.is_host() || root.dynamic.flags_1 & crate::elf::image::DF_1_PIE == 0 {
        return Ok(());
    }
    let kind = ErrorKind::Unsuitable {
        field: "DT_FLAGS_1".into(),
        at: crate::error::Where::Memory(root.image.dynamic().map_or_else(Default::default, |s| s.vaddr)),
        found: "DF_1_PIE, a program".into(),
        expected: "a shared library".into(),
        reason: "a position-independent executable cannot be loaded as a library; run it instead".into(),
    };
    Err(kind.of(root.label(), Stage::Needed))
}

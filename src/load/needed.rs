//! Stage 6, needed: the opened library and all its dependencies, breadth first, each once.
//!
//! gABI "Shared Object Dependencies"; glibc `_dl_map_object_deps` and `_dl_map_object`, musl `load_deps`. A dependency
//! is the same as an object that is loaded already if it has the same name or the same `DT_SONAME`, or if it is the
//! same file (device and inode). An object that the host has is adopted, and never mapped a second time.

use std::collections::VecDeque;
use std::ffi::OsStr;
use std::sync::Arc;

use crate::elf::dynamic::DF_1_NOOPEN;
use crate::elf::image::DF_1_PIE;
use crate::error::{Error, Result};
use crate::event::{Arrival, Kind, Report, SameBy, Stage, Tag};
use crate::host::Host;
use crate::load::batch::{Held, Node};
use crate::load::find::{Absent, Read, Search};
use crate::load::read::{self, OpenFile, headers};
use crate::lock::Lock;
use crate::namespace::{Kept, Members, Namespace};
use crate::object::{FileId, Object};
use crate::policy::Policy;
use rustc_hash::FxHashMap as Map;

mod refusals;

/// The library that a load opens.
#[derive(Clone, Copy)]
pub(crate) enum Target<'a> {
    /// A name to search for, or a path.
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

/// Where a load takes place: its namespace, and the objects that are in the process already.
pub(crate) struct Here<'a> {
    pub namespace: &'a Arc<Namespace>,
    pub host: &'a Host,
    /// The object that asks for the load, on whose behalf files are searched for.
    pub caller: Option<Arc<Object>>,
    pub lock: &'a Lock,
}

impl Here<'_> {
    /// The namespace's members at this moment. Whoever keeps them makes the next change of the namespace copy them all.
    pub(crate) fn members(&self) -> Arc<Members> {
        self.namespace.members(self.lock)
    }

    pub(crate) fn policy(&self) -> &Policy {
        &self.namespace.policy
    }
}

/// A name that stands for one of the objects of a load.
pub(crate) struct Wanted<'a> {
    name: Arc<str>,
    /// The contents of a library that is given as bytes.
    bytes: Option<&'a [u8]>,
    why: Why,
}

/// Why a name is wanted, and by which node (its index).
#[derive(Clone, Copy)]
enum Why {
    /// The user opens the library of this name.
    Opened,
    /// It is a `DT_NEEDED` of the node.
    Needed(usize),
    /// It is the `DT_FILTER` of the node, which is only a list of symbols: the object of this name implements them.
    /// gABI "Dynamic Section".
    Filters(usize),
    /// It is the `DT_AUXILIARY` of the node: the object of this name, if it can be found, implements some symbols
    /// better.
    FiltersIfThere(usize),
}

impl Why {
    /// The node that wants the name; `None` for the user.
    fn node(self) -> Option<usize> {
        match self {
            Why::Opened => None,
            Why::Needed(at) | Why::Filters(at) | Why::FiltersIfThere(at) => Some(at),
        }
    }
}

/// The object that a wanted name turned out to mean.
pub(crate) enum Brought {
    /// A new object, and what the chapters of `runtime/` keep for it.
    New { object: Arc<Object>, kept: Kept },
    /// An object that was loaded before: the file that was found is its file.
    Known(Arc<Object>),
    /// The node with this index: the file that was found is its file.
    Node(usize),
}

/// The objects of a load as far as they are found, and the names that are still to be looked at.
pub(crate) struct Needed<'a> {
    pub here: &'a Here<'a>,
    /// In the order of their discovery: the opened library first, then breadth first.
    pub nodes: Vec<Node>,
    /// The names that nobody has looked at yet, breadth first.
    wanted: VecDeque<Wanted<'a>>,
    /// Every name and soname that means one of the nodes.
    names: Map<Arc<str>, u32>,
    /// The nodes of objects that were loaded before, by tag.
    known: Map<u32, usize>,
    absent: Absent,
}

impl<'a> Needed<'a> {
    pub(crate) fn new(target: Target<'a>, here: &'a Here<'a>) -> Needed<'a> {
        let (names, known, absent) = (Map::default(), Map::default(), Absent::default());
        let (Target::Name(name) | Target::Bytes(name, _)) = target;
        let bytes = if let Target::Bytes(_, bytes) = target { Some(bytes) } else { None };
        let wanted = VecDeque::from([Wanted { name: name.into(), bytes, why: Why::Opened }]);
        Needed { here, nodes: Vec::new(), wanted, names, known, absent }
    }

    /// The next name for which a file has to be found. A name that a loaded object goes by is settled on the way.
    /// `None`: every name of every object is settled.
    #[inline(never)] // a stage: see docs/gdb.md
    pub(crate) fn next(&mut self, report: Report<'_>) -> Option<Wanted<'a>> {
        while let Some(wanted) = self.wanted.pop_front() {
            if let Some(at) = wanted.why.node().filter(|&at| !self.nodes[at].is_new()) {
                // An object of the namespace has its dependencies in the process. The host may have closed one of its
                // own: then the scope goes without.
                if let Some(known) = self.need_of_known(at, &wanted.name) {
                    let index = self.hold(known, &wanted.name);
                    self.nodes[at].needs.push(index);
                }
                continue;
            }
            match self.here_by_name(&wanted, report) {
                Some(index) => self.settled(&wanted, index, false, report),
                None => return Some(wanted),
            }
        }
        None
    }

    /// Stage 1, and stage 2 by `read`: the file that is wanted.
    pub(crate) fn find(&self, wanted: &Wanted<'_>, read: Read, report: Report<'_>) -> Result<OpenFile> {
        let (report, name) = (report.at(Stage::Find), &*wanted.name);
        if let Some(bytes) = wanted.bytes {
            return read::from_bytes(name, bytes, report);
        }
        let needed_by = wanted.why.node().map(|at| &*self.nodes[at].object);
        let requester = needed_by.or(self.here.caller.as_deref());
        report.tell(|| Kind::Search { name: name.into(), needed_by: needed_by.map(|o| o.tag.clone()) });
        Search {
            name,
            dirs: &self.here.policy().dirs,
            of: requester,
            executable: self.here.host.startup().first().map(|o| &**o),
            needed_by: needed_by.map(|o| o.tag.short()),
            whose: requester.map_or("the program", |o| o.tag.short()),
            absent: &self.absent,
        }
        .run(read, self.here.lock, report)
    }

    /// The loaded object or the node that was mapped from this file, if there is one.
    pub(crate) fn known_by_file(&self, wanted: &Wanted<'_>, file: &OpenFile, report: Report<'_>) -> Option<Brought> {
        let id = file.headers.id?;
        if let Some(index) = self.nodes.iter().position(|node| node.is_new() && node.object.file == Some(id)) {
            return Some(Brought::Node(index));
        }
        let object = object_of_file(id, file, self.here)?;
        tell_known(&wanted.name, SameBy::Inode, &object.tag, report.at(Stage::Find));
        Some(Brought::Known(object))
    }

    /// The object whose search paths a new object inherits.
    pub(crate) fn loaded_by(&self, wanted: &Wanted<'_>) -> Option<&Object> {
        wanted.why.node().map(|at| &*self.nodes[at].object).or(self.here.caller.as_deref())
    }

    /// Notes the object that a wanted name means, or does without it.
    ///
    /// # Errors
    /// The error of a name that brought no object, unless it is a `DT_AUXILIARY`, which need not be there.
    pub(crate) fn settle(&mut self, wanted: Wanted<'_>, brought: Result<Brought>, report: Report<'_>) -> Result<()> {
        let (index, is_new) = match brought {
            Ok(Brought::New { object, kept }) => (self.push_new(&wanted.name, object, kept), true),
            Ok(Brought::Known(object)) => {
                let index = self.hold(object, &wanted.name);
                // The next load finds the object by this name, wherever the file is then.
                self.nodes[index].names.push(wanted.name.clone());
                (index, false)
            }
            Ok(Brought::Node(index)) => {
                self.names.insert(wanted.name.clone(), index as u32);
                self.nodes[index].names.push(wanted.name.clone());
                (index, false)
            }
            Err(error) => return self.without(&wanted, error, report),
        };
        self.settled(&wanted, index, is_new, report);
        Ok(())
    }

    fn without(&self, wanted: &Wanted<'_>, error: Error, report: Report<'_>) -> Result<()> {
        match wanted.why {
            Why::Opened => Err(error),
            Why::FiltersIfThere(_) => Ok(()),
            Why::Needed(at) | Why::Filters(at) => {
                self.here.policy().fault(error, report.about(&self.nodes[at].object.tag))
            }
        }
    }

    /// Notes that the wanted name means the node `index`. `is_new`: this name brought the node.
    fn settled(&mut self, wanted: &Wanted<'_>, index: usize, is_new: bool, report: Report<'_>) {
        let Some(at) = wanted.why.node() else { return };
        self.nodes[at].needs.push(index);
        if !matches!(wanted.why, Why::Needed(_)) {
            return self.nodes[at].filtees.push(index);
        }
        let node = &self.nodes[index];
        let how = match &node.object {
            Held::New(_) if is_new => Arrival::New,
            Held::New(_) => Arrival::Shared,
            Held::Known(object) if object.is_host() => Arrival::Adopted,
            Held::Known(_) => Arrival::Loaded,
        };
        report.at(Stage::Needed).about(&self.nodes[at].object.tag).tell_each(|| Kind::Needed {
            name: wanted.name.to_string(),
            object: node.object.tag.clone(),
            how,
        });
    }

    /// The node that a name means: one that is there already, or a new one for a loaded object that goes by the name.
    fn here_by_name(&mut self, wanted: &Wanted<'_>, report: Report<'_>) -> Option<usize> {
        if wanted.bytes.is_some() {
            return None;
        }
        if let Some(&index) = self.names.get(&wanted.name) {
            return Some(index as usize);
        }
        let (object, by) = object_of_name(&wanted.name, self.here)?;
        tell_known(&wanted.name, by, &object.tag, report.at(Stage::Find));
        Some(self.hold(object, &wanted.name))
    }

    /// The object that `name`, a `DT_NEEDED`, means to the object at `at`, which was loaded before.
    fn need_of_known(&self, at: usize, name: &str) -> Option<Arc<Object>> {
        let object = &self.nodes[at].object;
        if object.is_host() {
            return in_host(self.here.host, name).map(|(object, _)| object);
        }
        let members = self.here.members();
        let needs = &members.get(object.tag.id)?.edges.needs;
        let place = object.wants().needed.iter().position(|n| **n == *name)?;
        let id = *needs.get(place)?;
        members.object(id).or_else(|| self.here.host.objects.iter().find(|o| o.tag.id == id).cloned())
    }

    /// Makes a node of an object that was loaded before, unless there is one, and returns its index.
    fn hold(&mut self, object: Arc<Object>, name: &Arc<str>) -> usize {
        let index = match self.known.get(&object.tag.id) {
            Some(&index) => index,
            None => {
                self.known.insert(object.tag.id, self.nodes.len());
                self.push(Held::Known(object), Kept::new())
            }
        };
        self.names.insert(name.clone(), index as u32);
        index
    }

    fn push_new(&mut self, name: &Arc<str>, object: Arc<Object>, kept: Kept) -> usize {
        let (soname, path) = (object.soname.clone(), object.tag.name.clone());
        let name = match &soname {
            Some(soname) if **soname == **name => soname.clone(),
            _ if *path == **name => path.clone(),
            _ => name.clone(),
        };
        let index = self.push(Held::New(object), kept);
        for alias in [Some(name), soname, Some(path)].into_iter().flatten() {
            if !self.nodes[index].names.contains(&alias) {
                self.nodes[index].names.push(alias.clone());
            }
            self.names.entry(alias).or_insert(index as u32);
        }
        index
    }

    /// Adds a node, and puts what its object wants behind what the others want.
    fn push(&mut self, object: Held, kept: Kept) -> usize {
        let (at, wants) = (self.nodes.len(), object.wants());
        let want = |name: &Arc<str>, why| Wanted { name: name.clone(), bytes: None, why };
        self.wanted.extend(wants.needed.iter().map(|name| want(name, Why::Needed(at))));
        if let Held::New(_) = object {
            let why = |must_be_there| if must_be_there { Why::Filters(at) } else { Why::FiltersIfThere(at) };
            self.wanted.extend(wants.filters.iter().map(|(name, must_be_there)| want(name, why(*must_be_there))));
        }
        self.nodes.push(Node { kept, object, names: Vec::new(), needs: Vec::new(), filtees: Vec::new() });
        at
    }
}

/// Whether `name` means an object that is loaded already.
///
/// # Errors
/// If no loaded object goes by the name, and stage 1 finds no file for it.
pub(crate) fn is_here(name: &str, here: &Here<'_>) -> Result<bool> {
    if object_of_name(name, here).is_some() {
        return Ok(true);
    }
    let needed = Needed::new(Target::Name(name), here);
    let wanted = Wanted { name: name.into(), bytes: None, why: Why::Opened };
    let file = needed.find(&wanted, headers, Report::silent())?;
    let object = file.headers.id.and_then(|id| object_of_file(id, &file, here));
    Ok(object.is_some_and(|object| !is_program(&object)))
}

/// The object of the namespace or of the host that goes by `name`.
pub(crate) fn object_of_name(name: &str, here: &Here<'_>) -> Option<(Arc<Object>, SameBy)> {
    if let Some(object) = here.members().by_name(name) {
        let by = if object.soname.as_deref() == Some(name) { SameBy::Soname } else { SameBy::Name };
        return Some((object, by));
    }
    in_host(here.host, name)
}

/// The object of the namespace or of the host that was mapped from this file.
fn object_of_file(id: FileId, file: &OpenFile, here: &Here<'_>) -> Option<Arc<Object>> {
    let own = here.members().by_file(id);
    own.or_else(|| {
        // A `stat` of each host object would be slow. The program headers are in memory, and those of the same file are
        // equal.
        let alike = here.host.objects.iter().filter(|o| o.image.segments == file.headers.image.segments);
        alike.into_iter().find(|o| file_id(o.path()) == Some(id)).cloned()
    })
}

fn tell_known(name: &str, by: SameBy, tag: &Tag, report: Report<'_>) {
    report.about(tag).tell_each(|| Kind::Known { name: name.into(), by });
}

/// The host object that goes by `name`.
fn in_host(host: &Host, name: &str) -> Option<(Arc<Object>, SameBy)> {
    let by_soname = |o: &&Arc<Object>| o.soname.as_deref() == Some(name);
    // glibc does not know the program by the name of its file.
    let by_path = |o: &&Arc<Object>| *o.tag.name == *name && !is_program(o);
    let found = host.objects.iter().find(by_soname).map(|o| (o, SameBy::Soname));
    found.or_else(|| host.objects.iter().find(by_path).map(|o| (o, SameBy::Name))).map(|(o, by)| (o.clone(), by))
}

fn file_id(path: &OsStr) -> Option<FileId> {
    let stat = nix::sys::stat::stat(path).ok()?;
    Some(FileId { device: stat.st_dev, inode: stat.st_ino })
}

fn is_program(object: &Object) -> bool {
    object.host.as_ref().is_some_and(|host| host.program)
}

/// Refuses programs, and libraries that must be there when the program starts.
pub(crate) fn refuse_unfit(target: Target<'_>, nodes: &[Node]) -> Result<()> {
    if is_program(&nodes[0].object) {
        return Err(refusals::own_program(target, &nodes[0].object));
    }
    let mut new = nodes.iter().filter(|node| node.is_new());
    let unfit = new.find(|node| node.object.dynamic.flags_1 & (DF_1_NOOPEN | DF_1_PIE) != 0);
    unfit.map_or(Ok(()), |node| {
        let name = node.names.first().map_or(&node.object.tag.name, |name| name);
        let is_library = node.object.dynamic.flags_1 & DF_1_NOOPEN != 0;
        Err(if is_library { refusals::not_to_be_opened(name) } else { refusals::program(&node.object, name) })
    })
}

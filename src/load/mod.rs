//! The story: what `dlopen` does, from the first line to the last.
//!
//! A load has eleven stages. Three functions call them in their order:
//!
//! | function | calls the stages | how often |
//! |---|---|---|
//! | [`bring`] | 1 find, 2 read, 3 plan, 4 map, 5 dynamic | for each name that no loaded object has |
//! | [`gather`] | 6 needed, which calls `bring` for one name after the other | once a load |
//! | [`load`] | 7 versions, 8 relocate, 9 seal, 10 publish, 11 init | once a load, each for all new objects together |
//!
//! Each stage is a file of its name in this folder, a chapter in `docs/chapters/`, a group of events, and a breakpoint
//! (`docs/gdb.md`). The objects of one load are a [`Batch`], whose type says how far they have come. An error up to
//! stage 10 drops the batch, and that unmaps every new object: a failed load leaves nothing behind. Two stages run code
//! of a new library: pass 2 of stage 8 calls its IFUNC resolvers, and stage 11 its constructors.
//!
//! An *object* is one mapped ELF file with its tables. The *host's* objects are those that the system's loader mapped:
//! the program, libc, ld.so and others. A *namespace* has the objects that one [`Loader`](crate::Loader) has loaded. A
//! load happens [`Here`]: in a namespace, beside the host's objects, under the process-wide lock. Its [`Report`] tells
//! each step to a probe, if one listens.
//!
//! dlopen(3); glibc `_dl_open` and `dl_open_worker`, musl `dlopen`.

use std::sync::Arc;

use crate::elf::addr::Addr;
use crate::error::{Error, Result};
use crate::event::{Asked, Kind, Report, Request, Stage, Tag};
use crate::host::{self, Host};
use crate::lock::Lock;
use crate::memory;
use crate::namespace::{Namespace, namespaces};
use crate::object::Object;
use crate::policy::Mode;
use crate::text::escape_path;

pub(crate) mod batch;
pub(crate) mod close;
pub(crate) mod dynamic;
pub(crate) mod find;
pub(crate) mod init;
pub(crate) mod map;
pub(crate) mod needed;
pub(crate) mod plan;
pub(crate) mod publish;
pub(crate) mod read;
pub(crate) mod relocate;
pub(crate) mod seal;
pub(crate) mod versions;

use batch::{Batch, Bound, Mapped};
use needed::{Brought, Here, Needed, Target, Wanted};
use read::OpenFile;

/// What a load returns: the opened library `root`, and the `scope` of its handle. The scope is the library itself and
/// everything that it needs, in the order in which a lookup by name asks them.
pub(crate) struct Opened {
    pub root: Arc<Object>,
    pub scope: Arc<[Arc<Object>]>,
}

/// Opens a library and runs its constructors: glibc `_dl_open`, musl `dlopen`. Every way to open a library ends here.
///
/// `caller` is an address inside the code that asks for the library. The object that holds this address gives its
/// `DT_RPATH` or `DT_RUNPATH` to the search. `None` stands for the program or library that dlscope is linked into.
///
/// # Errors
/// The error of the stage that failed. Every new object is unmapped then, and nothing is left behind.
///
/// # Safety
/// Runs code of the library: its IFUNC resolvers and constructors now, its destructors later.
pub(crate) unsafe fn open(
    namespace: &Arc<Namespace>,
    target: Target<'_>,
    mode: Mode,
    caller: Option<Addr>,
) -> Result<Opened> {
    // SAFETY: the caller agreed to run the library's code.
    request(Asked::Open, namespace, target, caller, |here, report| unsafe { load(target, mode, here, report) })
}

/// One load, stage by stage. If the library and everything that it needs are loaded already, nothing is left to do
/// after stage 6 but to count the use.
///
/// # Safety
/// As [`open`].
unsafe fn load(target: Target<'_>, mode: Mode, here: &Here<'_>, report: Report<'_>) -> Result<Opened> {
    let batch = gather(target, here, report)?; // 1 to 6, for the library and for everything that it needs
    let scope = batch.scope();
    if batch.is_empty() {
        let (root, order) = publish::already_here(batch, mode, here);
        if !order.is_empty() {
            // SAFETY: the caller agreed to run the library's code. The load that is under way has relocated and published
            // these objects.
            unsafe { init::run(here.namespace, &order, here.lock, report) };
        }
        return Ok(Opened { root, scope });
    }
    versions::check(&batch, here, report)?; // 7 versions
    let bound = relocate::bind(batch, mode, here, report)?; // 8 relocate, pass 1
    // SAFETY: the caller agreed to run the library's code.
    let relocated = unsafe { relocate::resolve(bound, report) }?; // 8 relocate, pass 2
    let sealed = seal::seal(relocated, report)?; // 9 seal
    let (root, order) = publish::publish(sealed, mode, here, report)?; // 10 publish
    // SAFETY: the caller agreed to run the library's code. Every object is relocated and published, in the order of
    // dependencies, and no borrow of the namespace is held.
    unsafe { init::run(here.namespace, &order, here.lock, report) }; // 11 init
    Ok(Opened { root, scope })
}

/// Stages 1 to 6: maps the opened library and everything that it needs, breadth first. What is loaded already is part
/// of the batch, but is not mapped again.
fn gather(target: Target<'_>, here: &Here<'_>, report: Report<'_>) -> Result<Batch<Mapped>> {
    let mut needed = Needed::new(target, here);
    while let Some(wanted) = needed.next(report) {
        // 6 needed
        let brought = bring(&wanted, &needed, report); // 1 to 5
        needed.settle(wanted, brought, report)?;
    }
    let batch = Batch::new(needed.nodes);
    needed::refuse_unfit(target, &batch.nodes)?;
    Ok(batch)
}

/// Stages 1 to 5: from one name to an object in memory whose tables are checked. If the file that is found is that of a
/// loaded object, this object is the answer, and nothing is mapped.
fn bring(wanted: &Wanted<'_>, needed: &Needed<'_>, report: Report<'_>) -> Result<Brought> {
    let file = needed.find(wanted, read::headers, report)?; // 1 find; 2 read, of each file that is found
    if let Some(known) = needed.known_by_file(wanted, &file, report) {
        read::close(file.fd, report.at(Stage::Find));
        return Ok(known);
    }
    let tag = Tag::new(&escape_path(&file.headers.path));
    let report = report.about(&tag);
    let plan = plan::plan(&file.headers.image, &tag, report); // 3 plan
    let memory = plan.and_then(|plan| map::map(&plan, &file, &tag, needed.here.namespace, report)); // 4 map
    let OpenFile { fd, headers } = file;
    // 5 dynamic
    let object =
        memory.and_then(|memory| dynamic::object(headers, &fd, &tag, memory, needed.loaded_by(wanted), report));
    read::close(fd, report.at(Stage::Dynamic)); // the mappings keep the file alive
    object
}

/// As much of a load as runs no code of the library: stages 1 to 7, and pass 1 of stage 8. `Ok(None)`: the load was
/// only inspected, and it ended before there was an object to show.
///
/// # Errors
/// As [`open`]. A load that is only inspected returns `Ok` instead, and notes its errors in `Policy::faults`.
pub(crate) fn prepare(asked: Asked, namespace: &Arc<Namespace>, name: &str) -> Result<Option<Batch<Bound>>> {
    let target = Target::Name(name);
    request(asked, namespace, target, None, |here, report| {
        let bound = gather(target, here, report).and_then(|batch| {
            versions::check(&batch, here, report)?;
            relocate::bind(batch, Mode::default(), here, report)
        });
        // An inspection goes on after most errors. A missing file or a table that makes no sense ends it: that error comes
        // here.
        bound.map(Some).or_else(|error| namespace.policy.fault(error, report).map(|()| None))
    })
}

/// One request, from the lock to the answer. First it unmaps what the kernel refused to unmap before, looks at the objects
/// of the host, and finds the object that is asking; then it does what is asked.
fn request<R>(
    asked: Asked,
    namespace: &Arc<Namespace>,
    target: Target<'_>,
    caller: Option<Addr>,
    act: impl FnOnce(&Here<'_>, Report<'_>) -> Result<R>,
) -> Result<R> {
    let lock = &Lock::acquire();
    let request = Request::begin();
    let report = request.report(namespace.probe.as_deref(), Stage::Find);
    memory::retry_abandoned(report.at(Stage::Close));
    host::ask_for(target.name(), lock);
    let result = host::look(lock, report).and_then(|host| {
        let host = if namespace.policy.alone { Host::nobody() } else { host };
        let caller = object_at(caller, namespace, &host, lock);
        report.tell(|| Kind::Begin {
            request: asked,
            name: target.name().into(),
            caller: caller.as_ref().map(|o| o.tag.clone()),
        });
        act(&Here { namespace, host: &host, caller, lock }, report)
    });
    report.tell(|| {
        let noted = namespace.policy.faults.as_ref().and_then(|faults| faults.first());
        Kind::End { error: result.as_ref().err().or(noted.as_deref()).map(Error::first_line) }
    });
    result
}

/// Whether `name` means an object that is loaded already, by its name or by its file: the question of `RTLD_NOLOAD`.
///
/// # Errors
/// If no loaded object goes by the name, and stage 1 finds no file for it.
pub(crate) fn is_here(
    namespace: &Arc<Namespace>,
    name: &str,
    caller: Option<Addr>,
    host: &Host,
    lock: &Lock,
) -> Result<bool> {
    let caller = object_at(caller, namespace, host, lock);
    needed::is_here(name, &Here { namespace, host, caller, lock })
}

/// The object whose memory holds `address`, which lies in the calling code. Callers from Rust give no address: for them
/// it is the object that dlscope is linked into.
fn object_at(address: Option<Addr>, namespace: &Namespace, host: &Host, lock: &Lock) -> Option<Arc<Object>> {
    let here = Addr(open as *const () as u64);
    // Code that belongs to no object counts as the program's, as in glibc.
    let unknown = || host.startup().first().filter(|_| address.is_some()).cloned();
    let address = address.unwrap_or(here);
    // At most one object holds the address. The host's objects are few, so they are asked first.
    let of = |namespace: &Namespace| namespace.members(lock).objects().find(|o| o.memory.contains(address));
    let own = || of(namespace).or_else(|| namespaces(lock).iter().find_map(|other| of(other)));
    host.owner(address).cloned().or_else(own).or_else(unknown)
}

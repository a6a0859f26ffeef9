//! The story: what `dlopen` does, from the first line to the last.
//!
//! [`load`] and [`bring`] name the eleven stages in their order. Each stage is a file of its name in this folder, a
//! chapter in `docs/chapters/`, a group of events, and a breakpoint (`docs/gdb.md`).

use std::sync::Arc;

use crate::elf::addr::Addr;
use crate::error::{Error, Result};
use crate::event::{Asked, Kind, Report, Request, Stage, Tag};
use crate::host::{self, Host};
use crate::lock::Lock;
use crate::memory;
use crate::namespace::Namespace;
use crate::object::Object;
use crate::policy::Mode;

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

/// An opened library and the scope of its symbols: itself and what it needs, in the order in which they are asked.
pub(crate) struct Opened {
    pub root: Arc<Object>,
    pub scope: Arc<[Arc<Object>]>,
}

/// `dlopen`. Every way to open a library ends here. `caller` is an address in the code on whose behalf files are
/// searched; without one, it is the program or library that dlscope is linked into.
///
/// # Errors
/// Whatever is wrong; then nothing is left behind.
///
/// # Safety
/// Runs code of the library: its IFUNC resolvers and constructors now, its destructors later.
pub(crate) unsafe fn open(
    namespace: &Arc<Namespace>,
    target: Target<'_>,
    mode: Mode,
    caller: Option<Addr>,
) -> Result<Opened> {
    let lock = Lock::acquire();
    let request = Request::begin();
    let report = request.report(namespace.probe.as_deref(), Stage::Find);
    let result = begin(Asked::Open, namespace, target, caller, &lock, report).and_then(|(host, caller)| {
        let here = Here { namespace, members: &namespace.members(&lock), host: &host, lock: &lock };
        // SAFETY: the caller's.
        unsafe { load(target, mode, caller, &here, report) }
    });
    report.tell(|| Kind::End { error: result.as_ref().err().map(Error::first_line) });
    result
}

/// One load, stage by stage.
///
/// # Safety
/// As [`open`].
unsafe fn load(
    target: Target<'_>,
    mode: Mode,
    caller: Option<Arc<Object>>,
    here: &Here<'_>,
    report: Report<'_>,
) -> Result<Opened> {
    let batch = gather(target, caller, here, report)?; // 1 to 6, for the library and for everything that it needs
    let scope = batch.scope();
    if batch.is_empty() {
        let root = publish::already_here(batch, mode, here);
        // SAFETY: the caller agreed to run the library's code, and no borrow is held.
        unsafe { init::run(here.namespace, &root, Vec::new(), here.lock, report) };
        return Ok(Opened { root, scope });
    }
    versions::check(&batch, here.policy(), report)?; // 7 versions
    let bound = relocate::bind(batch, mode, here, report)?; // 8 relocate, pass 1
    // SAFETY: the caller agreed to run the library's code.
    let relocated = unsafe { relocate::resolve(bound, report) }?; // 8 relocate, pass 2
    let sealed = seal::seal(relocated, report)?; // 9 seal
    let (root, order) = publish::publish(sealed, mode, here, report)?; // 10 publish
    // SAFETY: as above; everything is relocated and published, and no borrow is held.
    unsafe { init::run(here.namespace, &root, order, here.lock, report) }; // 11 init
    Ok(Opened { root, scope })
}

/// Stages 1 to 6: the opened library and everything that it needs, breadth first.
fn gather(
    target: Target<'_>,
    caller: Option<Arc<Object>>,
    here: &Here<'_>,
    report: Report<'_>,
) -> Result<Batch<Mapped>> {
    let mut needed = Needed::new(target, caller, here);
    while let Some(wanted) = needed.next(report) {
        // 6 needed
        let brought = bring(&wanted, &needed, report); // 1 to 5
        needed.settle(wanted, brought, report)?;
    }
    let batch = Batch::new(needed.into_nodes());
    needed::refuse_noopen(batch.root())?;
    needed::refuse_program(batch.root())?;
    Ok(batch)
}

/// Stages 1 to 5: from one name to an object in memory whose tables are checked.
fn bring(wanted: &Wanted<'_>, needed: &Needed<'_>, report: Report<'_>) -> Result<Brought> {
    let file = needed.find(wanted, read::headers, report)?; // 1 find; 2 read, of each file that is found
    if let Some(known) = needed.known_by_file(wanted, &file, report) {
        read::close(file.fd, report.at(Stage::Find));
        return Ok(known);
    }
    let tag = Tag::new(&file.path.to_string_lossy());
    let report = report.about(&tag);
    let plan = plan::plan(&file.image, &tag, report); // 3 plan
    let memory = plan.and_then(|plan| map::map(&plan, &file, &tag, needed.probe(), report)); // 4 map
    let file = file.without_descriptor(report.at(Stage::Map));
    dynamic::object(file, &tag, memory?, needed.loaded_by(wanted), report) // 5 dynamic
}

/// [`load`] as far as it goes without running code of the library: up to pass 1 of stage 8. `None`: the load was only
/// inspected, and ended before there was anything to show.
///
/// # Errors
/// As [`open`], unless the load is only inspected.
pub(crate) fn prepare(asked: Asked, namespace: &Arc<Namespace>, name: &str) -> Result<Option<Batch<Bound>>> {
    let lock = Lock::acquire();
    let request = Request::begin();
    let report = request.report(namespace.probe.as_deref(), Stage::Find);
    let target = Target::Name(name);
    let result = begin(asked, namespace, target, None, &lock, report).and_then(|(host, caller)| {
        let here = Here { namespace, members: &namespace.members(&lock), host: &host, lock: &lock };
        let batch = gather(target, caller, &here, report)?;
        versions::check(&batch, here.policy(), report)?;
        relocate::bind(batch, Mode::default(), &here, report)
    });
    // Without a file, or with a table that makes no sense, even an inspection ends.
    let result = result.map(Some).or_else(|error| namespace.policy.fault(error, report).map(|()| None));
    report.tell(|| {
        let noted = namespace.policy.faults.as_ref().and_then(|faults| faults.first());
        let error = result.as_ref().err().or(noted.as_deref());
        Kind::End { error: error.map(Error::first_line) }
    });
    result
}

/// What every request does first: it looks at the host's objects, and at who is asking.
fn begin(
    asked: Asked,
    namespace: &Namespace,
    target: Target<'_>,
    caller: Option<Addr>,
    lock: &Lock,
    report: Report<'_>,
) -> Result<(Host, Option<Arc<Object>>)> {
    memory::retry_abandoned(report.at(Stage::Close));
    let host = host::look(lock, report)?;
    let caller = object_at(caller, namespace, &host, lock);
    report.tell(|| Kind::Begin {
        request: asked,
        name: target.name().into(),
        caller: caller.as_ref().map(|o| o.tag.clone()),
    });
    Ok((host, caller))
}

/// Whether `name` means an object that is here already: `RTLD_NOLOAD`.
///
/// # Errors
/// Where no such file can be found.
pub(crate) fn is_here(
    namespace: &Arc<Namespace>,
    name: &str,
    caller: Option<Addr>,
    host: &Host,
    lock: &Lock,
) -> Result<bool> {
    let here = Here { namespace, members: &namespace.members(lock), host, lock };
    needed::is_here(name, object_at(caller, namespace, host, lock), &here)
}

/// The object that holds the calling code; for Rust callers, the one that dlscope is linked into.
fn object_at(address: Option<Addr>, namespace: &Namespace, host: &Host, lock: &Lock) -> Option<Arc<Object>> {
    let here = Addr(open as *const () as u64);
    let address = address.unwrap_or(here);
    // It belongs to one of them; the host's are few.
    let own = || namespace.members(lock).objects().find(|o| o.memory.contains(address));
    host.owner(address).cloned().or_else(own)
}

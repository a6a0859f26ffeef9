//! What `dlsym` answers: from a name to an address in a scope.
//!
//! glibc `do_sym`. A definition is not always an address yet: a unique symbol has one for the whole namespace, a
//! thread-local variable one for each thread, and an indirect function is asked.

use std::sync::Arc;

use crate::elf::addr::Addr;
use crate::elf::symbol::{Class, Want, Wanted};
use crate::elf::sysv_hash;
use crate::elf::version::Name;
use crate::error::{Error, ErrorKind, Result};
use crate::event::{Asked, Kind, Report, Request, Stage};
use crate::host;
use crate::lock::Lock;
use crate::lookup::directory::Directory;
use crate::lookup::scope::{self, Definition};
use crate::memory::{NothingAround, Watch};
use crate::namespace::{Namespace, OneOfAKind};
use crate::object::Object;
use crate::runtime::{ifunc, tls};
use crate::text::escape;

/// The refusal for a name that no object of a scope defines.
pub(crate) fn no_such_symbol(
    symbol: &[u8],
    version: Option<&[u8]>,
    object: String,
    searched: Arc<[Arc<str>]>,
) -> Error {
    let text = |bytes: &[u8]| escape(bytes).into_owned();
    ErrorKind::NoSuchSymbol { symbol: text(symbol), version: version.map(text), searched }.of(object, Stage::Lookup)
}

/// Everybody's scope: the start-up objects, then what was opened with `RTLD_GLOBAL`.
pub(crate) fn everybodys(startup: &[Arc<Object>], namespace: &Namespace, lock: &Lock) -> Vec<Arc<Object>> {
    startup.iter().chain(namespace.members(lock).global()).cloned().collect()
}

/// The address of `symbol` in the first object of `scope` that defines it; `None` where no object does. `whose`: whose
/// scope it is, for an error.
#[inline(never)] // a stage: see docs/gdb.md
pub(crate) fn address(
    namespace: &Namespace,
    scope: &[Arc<Object>],
    directory: &Directory,
    symbol: &[u8],
    version: Option<&[u8]>,
    whose: &dyn Fn() -> String,
) -> Result<Option<Addr>> {
    let request = Request::begin();
    let report = request.report(namespace.probe.as_deref(), Stage::Lookup);
    report.tell(|| Kind::Begin { request: Asked::Lookup, name: escape(symbol).into_owned(), caller: None });
    let (wanted, mut candidates) = (wanted(symbol, version), None);
    // Who listens closely sees every object say "no" by itself.
    let found = match report.closely() {
        true => scope::ask_in_turn(scope, &wanted, candidates.insert(Vec::new())).1,
        false => directory.find(scope, &wanted),
    };
    report.tell_each(|| scope::lookup_event(&wanted, candidates.unwrap_or_default(), found));
    let result = found.map(|definition| meaning(definition, symbol, namespace, report)).transpose();
    report.tell(|| {
        let missing = || no_such_symbol(symbol, version, whose(), directory.names(scope)).first_line();
        let error = result.as_ref().map_or_else(|e| Some(e.first_line()), |found| found.is_none().then(missing));
        Kind::End { error }
    });
    result
}

/// What `dlsym` answers where this definition was found.
fn meaning(definition: Definition<'_>, name: &[u8], namespace: &Namespace, report: Report<'_>) -> Result<Addr> {
    if definition.symbol.is_where_it_seems() {
        Ok(definition.address)
    } else {
        special(definition, name, namespace, report)
    }
}

/// The address that a unique, thread-local or indirect symbol has here and now.
#[cold]
fn special(definition: Definition<'_>, name: &[u8], namespace: &Namespace, report: Report<'_>) -> Result<Addr> {
    let definition = if definition.symbol.is_unique() { unique(definition, name, namespace)? } else { definition };
    if let Some(object) = definition.object.filter(|_| definition.symbol.is_tls()) {
        let module = match object.tls_module {
            Some(module) => Some(module),
            None => host_tls_module(object)?,
        };
        let no_block = || {
            ErrorKind::malformed(
                "PT_TLS",
                definition.symbol.value(),
                "none",
                "one",
                "a thread-local variable lies in a block",
            )
        };
        let module = module.ok_or_else(|| no_block().of(object.label(), Stage::Lookup))?;
        return Ok(Addr(tls::variable(module, definition.symbol.value().0).expose_provenance() as u64));
    }
    if definition.symbol.is_ifunc() {
        // SAFETY: a library in a scope is complete; its resolvers may be called.
        return Ok(unsafe { ifunc::resolve(definition.address, &NothingAround, &mut Watch::default(), report) });
    }
    Ok(definition.address)
}

/// What `dlsym` wants that asks for `symbol`, or `dlvsym` with a version.
fn wanted<'n>(symbol: &'n [u8], version: Option<&'n [u8]>) -> Wanted<'n> {
    let want = match version {
        Some(text) => Want::Version(Name { text, hash: sysv_hash::hash(text), hidden: true }),
        None => Want::Newest,
    };
    Wanted::new(symbol, want, Class::Address)
}

/// The definition of a unique symbol that counts in this namespace: the first that anyone found or bound to.
fn unique<'o>(found: Definition<'o>, name: &[u8], namespace: &Namespace) -> Result<Definition<'o>> {
    let Some(object) = found.object.filter(|o| !o.is_host()) else { return Ok(found) };
    let lock = Lock::acquire();
    let host = host::look_silently(&lock)?;
    let members = namespace.members(&lock);
    let first = members.unique(name, &host).and_then(|(o, index)| Some(o.symbols().get(index)?.address(o.bias())));
    if let Some(address) = first {
        return Ok(Definition { address, ..found });
    }
    drop(members);
    namespace.change(&lock, |members| {
        members.add_unique(vec![OneOfAKind { name: name.into(), object: object.tag.id, index: found.index }])
    });
    Ok(found)
}

fn host_tls_module(object: &Object) -> Result<Option<u64>> {
    let lock = Lock::acquire();
    let host = host::look_silently(&lock)?;
    Ok(host.tls_module(object))
}

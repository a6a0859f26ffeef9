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
use crate::event::{Probe, Report, Stage};
use crate::host;
use crate::link::directory::Directory;
use crate::link::scope::{self, Definition};
use crate::lock::Lock;
use crate::memory::{NothingAround, Watch};
use crate::namespace::{Namespace, OneOfAKind};
use crate::object::Object;
use crate::runtime::{ifunc, tls};

/// The refusal for a name that no object of a scope defines.
pub(crate) fn no_such_symbol(
    symbol: &[u8],
    version: Option<&[u8]>,
    object: String,
    searched: Arc<[Arc<str>]>,
) -> Error {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    ErrorKind::NoSuchSymbol { symbol: text(symbol), version: version.map(text), searched }.of(object, Stage::Lookup)
}

/// The address of `symbol` in the first object of `scope` that defines it; `None` where no object does.
#[inline(never)] // a stage: see docs/gdb.md
pub(crate) fn address<P: Probe + ?Sized>(
    namespace: &Namespace,
    scope: &[Arc<Object>],
    directory: &Directory,
    symbol: &[u8],
    version: Option<&[u8]>,
    report: Report<'_, P>,
) -> Result<Option<Addr>> {
    let wanted = wanted(symbol, version);
    // Who listens closely sees every object say "no" by itself.
    let found = match report.closely() {
        true => scope::find_by_name(scope, &wanted, report),
        false => directory.find(scope, &wanted),
    };
    let Some(definition) = found else { return Ok(None) };
    meaning(&definition, symbol, namespace, report).map(Some)
}

/// What `dlsym` answers where this definition was found.
fn meaning<P: Probe + ?Sized>(
    definition: &Definition<'_>,
    name: &[u8],
    namespace: &Namespace,
    report: Report<'_, P>,
) -> Result<Addr> {
    if definition.symbol.is_where_it_seems() {
        Ok(definition.address)
    } else {
        special(*definition, name, namespace, report)
    }
}

/// The address that a unique, thread-local or indirect symbol has here and now.
#[cold]
fn special<P: Probe + ?Sized>(
    definition: Definition<'_>,
    name: &[u8],
    namespace: &Namespace,
    report: Report<'_, P>,
) -> Result<Addr> {
    let definition = if definition.symbol.is_unique() { unique(definition, name, namespace)? } else { definition };
    if let Some(object) = definition.object.filter(|_| definition.symbol.is_tls()) {
        let module = match &object.tls {
            Some(module) => Some(module.id),
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
    let first = namespace.members(&lock).unique(name, &host).map(|(o, index)| (o.bias(), o.symbols().get(index)));
    if let Some((bias, Some(symbol))) = first {
        return Ok(Definition { symbol, address: symbol.address(bias), ..found });
    }
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

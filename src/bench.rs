//! Inner parts, one at a time, for `benches/inner.rs`. Not for programs.

use crate::elf::symbol::{Class, Want, Wanted};
use crate::error::Result;
use crate::event::{Probe, Request, Stage};
use crate::library::Library;
use crate::link::relocate;
use crate::link::scope::{Scope, Unique, ask_in_turn};
use crate::loader::Prepared;
use crate::lock::Lock;
use crate::namespace::{Members, Policy};
use crate::{event, host};

/// Pass 1 of the relocations of a library that was through it before; what it stores, it stored already. The scope is
/// the library and what it needs.
///
/// # Errors
/// As it had then.
pub fn relocate<P: Probe + ?Sized>(library: &Prepared, probe: &P) -> Result<()> {
    let lock = Lock::acquire();
    let host = host::look_silently(&lock)?;
    let (members, defined) = (Members::default(), Default::default());
    let batch = library.batch();
    let scope = Scope::over(&defined, Vec::new(), batch.objects(), Unique::new(&members, &host));
    let report: event::Report<'_, P> = Request::current().report(probe, Stage::Relocate);
    relocate::first_pass(batch.root(), &scope, &Policy::default(), report).map(drop)
}

/// Whether a library or what it needs defines `name`: asked one after the other, without an index.
pub fn is_there(library: &Library, name: &[u8]) -> bool {
    ask_in_turn(library.scope(), &Wanted::new(name, Want::Newest, Class::Address), &mut ()).1.is_some()
}

//! Inner parts, one at a time, for `benches/inner.rs`. Not for programs.

use std::sync::Arc;

use crate::elf::symbol::{Class, Want, Wanted};
use crate::error::Result;
use crate::event::{Probe, Request, Stage};
use crate::host;
use crate::library::Library;
use crate::load::relocate;
use crate::loader::Prepared;
use crate::lock::Lock;
use crate::lookup::scope::{Scope, Unique, ask_in_turn};
use crate::namespace::{Members, Namespace};
use crate::policy::{Mode, Policy};

/// Runs pass 1 of stage 8 once more over a library that has been through it. Every store writes what is there already.
/// The scope is the library and what it needs.
///
/// # Errors
/// Those of pass 1, none of which came up when the library was prepared.
pub fn relocate(library: &Prepared, probe: Option<&dyn Probe>) -> Result<()> {
    let lock = Lock::acquire();
    let host = host::look_silently(&lock)?;
    let namespace = Arc::new(Namespace::new(Policy::default(), None));
    let (members, batch) = (Members::default(), library.batch());
    let unique = Unique::new(&members, &host);
    let mut scope = Scope::new(&namespace.policy, Vec::new(), batch.objects(), false, unique);
    scope.allow_short_cuts(batch.root().reference_count(), 0, &lock);
    let report = Request::current().report(probe, Stage::Relocate);
    relocate::first_pass(batch.root(), &scope, &namespace, Mode::default(), report).map(drop)
}

/// Whether a library or one of the objects that it needs defines `name`. They are asked one after the other, without an
/// index.
pub fn is_there(library: &Library, name: &[u8]) -> bool {
    ask_in_turn(library.scope(), &Wanted::new(name, Want::Newest, Class::Address), &mut ()).1.is_some()
}

//! What the user decided about the loads of one namespace.

use std::sync::{Arc, Mutex, PoisonError};

use crate::elf::addr::Addr;
use crate::error::{Error, Result};
use crate::event::{Kind, Report};
use rustc_hash::FxHashMap as Map;

/// What the user decided about a namespace.
#[derive(Clone, Default)]
pub(crate) struct Policy {
    /// `Loader::search_dir`: directories that are searched before all others.
    pub dirs: Vec<String>,
    /// `Loader::define`: symbols that come before the definitions of all objects.
    pub defined: Defined,
    /// `Loader::bind`: when calls into other libraries are bound.
    pub bind: Bind,
    /// `Loader::without_host`: an inspection does as if the process had no libraries.
    pub alone: bool,
    /// `Loader::inspect`: the list of all errors that would have ended the load. `None`: an error ends a load.
    pub faults: Option<Arc<Faults>>,
    /// Functions that loaded libraries get in place of the C library's own.
    pub stand_ins: &'static [StandIn],
}

/// Symbols that the user gave with `Loader::define`.
pub(crate) type Defined = Map<Box<[u8]>, Addr>;

/// A function of dlscope that a loaded library gets where it refers to one of the C library. libc's own `dlopen`, for
/// one, knows nothing of the objects that dlscope loaded.
pub(crate) struct StandIn {
    /// The symbol's name.
    pub name: &'static [u8],
    /// The GNU hash of the name.
    pub hash: u32,
    /// The host's objects whose definition it stands in for. A library's own function of the name stays its own.
    pub whose: Whose,
    /// Gives the address of the function; `None` if this process has no need of it.
    pub address: fn() -> Option<*const ()>,
}

impl StandIn {
    /// The address of the function, for a name that an object of the host defines. `None` if that definition is not
    /// replaced, or need not be.
    pub(crate) fn address_for(&self, is_c_library: impl FnOnce() -> bool) -> Option<Addr> {
        let replaces = self.whose == Whose::Host || is_c_library();
        let address = if replaces { (self.address)() } else { None };
        address.map(|address| Addr(address.expose_provenance() as u64))
    }
}

/// Whose definition of a name a [`StandIn`] replaces.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Whose {
    /// That of libc and ld.so.
    CLibrary,
    /// That of any object of the host.
    Host,
}

/// When calls into other libraries are bound to a definition. See `docs/lazy.md`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Bind {
    /// All of them at load time: `RTLD_NOW`. What is missing is an error of the load.
    #[default]
    Now,
    /// Each at the first call: `RTLD_LAZY`. A function that is missing then ends the process. Libraries that want
    /// to be bound at once (`-z now`) are, and so is everything with `LD_BIND_NOW` in the environment.
    Lazy,
}

/// The bits of `dlopen`'s second argument, for one load.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Mode {
    /// `RTLD_GLOBAL`: the library and all that it needs enter the global scope.
    pub global: bool,
    /// `RTLD_NODELETE`: the library is never unloaded.
    pub pinned: bool,
    /// `RTLD_DEEPBIND`: the references of the new objects ask the local scope before the global one.
    pub deep: bool,
    /// `RTLD_LAZY`: calls into other libraries are bound when they are made for the first time.
    pub lazy: bool,
}

/// The errors of a load that is only inspected, each of which would have ended it, in the order in which they were met.
#[derive(Default)]
pub(crate) struct Faults(Mutex<Vec<Arc<Error>>>);

impl Faults {
    fn note(&self, error: Error, report: Report<'_>) {
        let error = Arc::new(error);
        report.at(error.stage).tell(|| Kind::Fault { error: error.clone() });
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(error);
    }

    /// The first error, if there is one.
    pub(crate) fn first(&self) -> Option<Arc<Error>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).first().cloned()
    }

    /// Takes all errors out of the list.
    pub(crate) fn take(&self) -> Vec<Arc<Error>> {
        std::mem::take(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Policy {
    /// Ends a load with `error`. A load that is only inspected notes the error instead, and goes on without the thing
    /// that it could not have.
    ///
    /// # Errors
    /// `error`, unless the load is only inspected.
    #[cold]
    pub(crate) fn fault(&self, error: Error, report: Report<'_>) -> Result<()> {
        let Some(faults) = &self.faults else { return Err(error) };
        faults.note(error, report);
        Ok(())
    }
}

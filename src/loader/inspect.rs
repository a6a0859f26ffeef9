//! Loading in order to learn why it fails: what would end a load is noted, and the load goes on.
//!
//! The result is never published and none of its code runs, so nothing depends on what is missing. It is the loader's
//! policy that decides; the stages only say what they met.

use std::ffi::OsStr;
use std::path::Path;
use std::sync::Arc;

use super::{Loader, Prepared};
use crate::error::Error;
use crate::event::{Asked, Tag};
use crate::library::{Export, exports};
use crate::load;
use crate::object::Object;
use crate::policy::Faults;
use crate::text::escape_path;

impl Loader {
    /// Inspects libraries as if the process had none of its own: what they need is always looked for as a file, also the C
    /// library, and no symbol is found in the program. That is for libraries of another system. Only
    /// [`Loader::inspect`] and [`Loader::prepare`] take notice: a second C library cannot run in a process.
    ///
    /// ```
    /// let zlib = dlscope::Loader::new().without_host().inspect("libz.so.1");
    /// assert!(zlib.faults().is_empty());
    /// assert!(zlib.objects().iter().any(|object| object.path.ends_with("libc.so.6")));
    /// ```
    pub fn without_host(self) -> Loader {
        self.with(|policy, _| policy.alone = true)
    }

    /// Loads a library as [`Loader::prepare`] does, in an empty namespace, but to learn everything that is wrong: a
    /// dependency that is missing, a version or a symbol that nobody has, thread-local variables without room are
    /// noted, and it goes on without them. None of the library's code runs, and nothing can be called.
    ///
    /// ```
    /// let sqlite = dlscope::Loader::new().inspect("libsqlite3.so.0");
    /// assert!(sqlite.faults().is_empty(), "it would load");
    /// ```
    pub fn inspect(&self, name: impl AsRef<OsStr>) -> Inspection {
        let name = escape_path(name.as_ref());
        let faults = Arc::new(Faults::default());
        let lenient = self.clone().with(|policy, _| policy.faults = Some(faults.clone()));
        let prepared = load::prepare(Asked::Inspect, &lenient.namespace, &name).ok().flatten();
        Inspection { prepared: prepared.map(|batch| Prepared { batch }), faults: faults.take() }
    }
}

/// What a load would meet, and the objects as far as they could be mapped. Dropping it unmaps them.
pub struct Inspection {
    /// `None` if it ended before every object was mapped and relocated.
    prepared: Option<Prepared>,
    faults: Vec<Arc<Error>>,
}

impl Inspection {
    /// Everything that would end the load, in the order in which it was met; empty if it would succeed.
    pub fn faults(&self) -> &[Arc<Error>] {
        &self.faults
    }

    /// The library and everything that it needs, as far as it was found: in the order in which they are asked for
    /// symbols.
    pub fn objects(&self) -> impl Iterator<Item = Inspected<'_>> {
        let objects = self.prepared.iter().flat_map(|prepared| prepared.batch.objects());
        objects.map(|object| Inspected { object })
    }
}

impl std::fmt::Debug for Inspection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Inspection").field("faults", &self.faults).finish_non_exhaustive()
    }
}

/// One object of an [`Inspection`].
#[derive(Clone, Copy)]
pub struct Inspected<'i> {
    object: &'i Object,
}

impl<'i> Inspected<'i> {
    /// Its name in events.
    pub fn tag(&self) -> &'i Tag {
        &self.object.tag
    }

    /// Where it was found.
    pub fn path(&self) -> &'i Path {
        Path::new(self.object.path())
    }

    /// Whether it was in the process before.
    pub fn of_host(&self) -> bool {
        self.object.is_host()
    }

    /// Every symbol that it exports.
    pub fn symbols(&self) -> impl Iterator<Item = Export> + use<'i> {
        exports(self.object)
    }
}

impl std::fmt::Debug for Inspected<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Inspected").field("path", &self.path()).finish()
    }
}

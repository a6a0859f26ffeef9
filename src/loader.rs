//! [`Loader`]: a namespace with its policy, and the ways to load a library into it.

use std::borrow::Cow;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::capi;
use crate::elf::addr::{Addr, Bias};
use crate::event::{Asked, Probe};
use crate::library::{AsFilename, Export, Library, Result, exports, filename};
use crate::load::batch::{Batch, Bound};
use crate::load::needed::Target;
use crate::load::{self};
use crate::namespace::{self, Namespace};
use crate::policy::{Bind, Mode, Policy};
use crate::text::escape_path;

mod inspect;
pub use inspect::{Inspected, Inspection};

/// A namespace with its policy: where to search, which symbols to give, who watches.
///
/// Two loaders hold two separate copies of one library. What the process had before us is shared by all.
///
/// ```
/// let loader = dlscope::Loader::new().search_dir("/opt/mine/lib");
/// // SAFETY: zlib's constructors do nothing surprising.
/// let zlib = unsafe { loader.open("libz.so.1")? };
/// assert!(zlib.path().ends_with("libz.so.1"));
/// # Ok::<(), dlscope::Error>(())
/// ```
#[derive(Clone)]
pub struct Loader {
    pub(crate) namespace: Arc<Namespace>,
}

impl Default for Loader {
    fn default() -> Self {
        Loader::new()
    }
}

impl Loader {
    /// An empty namespace.
    pub fn new() -> Loader {
        let policy = Policy { stand_ins: capi::STAND_INS, ..Policy::default() };
        Loader { namespace: Arc::new(Namespace::new(policy, None)) }
    }

    /// Makes this the namespace of [`Library::open`] and of the C functions: with its policy and its probe. Too late
    /// (`false`) once one of them was used.
    pub fn make_process_wide(self) -> bool {
        namespace::make_process_wide(self.namespace)
    }

    /// The same policy and more, in a new, empty namespace.
    fn with(self, change: impl FnOnce(&mut Policy, &mut Option<Arc<dyn Probe>>)) -> Loader {
        let (mut policy, mut probe) = (self.namespace.policy.clone(), self.namespace.probe.clone());
        change(&mut policy, &mut probe);
        Loader { namespace: Arc::new(Namespace::new(policy, probe)) }
    }

    /// Searches `dir` before all other places for names without a `/`. Several are searched in order.
    pub fn search_dir(self, dir: impl AsRef<Path>) -> Loader {
        let dir = escape_path(dir.as_ref().as_os_str()).into_owned();
        self.with(|policy, _| policy.dirs.push(dir))
    }

    /// Gives the symbol `name` to the libraries loaded here, before every other definition, whatever version
    /// they ask for.
    ///
    /// ```no_run
    /// extern "C" fn no_time(_: *mut i64) -> i64 { 0 }
    /// let loader = dlscope::Loader::new().define("time", no_time as *const ());
    /// ```
    pub fn define(self, name: &str, address: *const ()) -> Loader {
        let address = Addr(address.expose_provenance() as u64);
        self.with(|policy, _| {
            policy.defined.insert(name.as_bytes().into(), address);
        })
    }

    /// When calls into other libraries are bound: at load time, as by default, or each at its first time.
    ///
    /// ```
    /// use dlscope::{Bind, Loader};
    /// // SAFETY: SQLite's constructors do nothing surprising, and the function has this type (sqlite3.h).
    /// unsafe {
    ///     let sqlite = Loader::new().bind(Bind::Lazy).open("libsqlite3.so.0")?;
    ///     let version = sqlite.get::<unsafe extern "C" fn() -> i32>("sqlite3_libversion_number")?;
    ///     assert!(version() > 3_000_000);
    /// }
    /// # Ok::<(), dlscope::Error>(())
    /// ```
    pub fn bind(self, bind: Bind) -> Loader {
        self.with(|policy, _| policy.bind = bind)
    }

    /// Tells every event of this namespace to `probe`.
    pub fn probe(self, probe: Arc<dyn Probe>) -> Loader {
        self.with(|_, slot| *slot = Some(probe))
    }

    /// Loads a library and everything that it needs, and runs their constructors, as `dlopen` with `RTLD_NOW`
    /// does. A name without a `/` is searched, a path with one is opened as it is.
    ///
    /// # Errors
    /// Whatever is wrong, as an [`Error`](crate::Error) that names it; then nothing is left behind.
    ///
    /// # Safety
    /// Runs code of the library: its constructors now, its destructors later.
    pub unsafe fn open(&self, name: impl AsRef<OsStr>) -> Result<Library> {
        // SAFETY: the caller keeps what this function's `# Safety` section asks for.
        unsafe { self.open_named(name.as_ref(), Mode::default()) }
    }

    /// The same, and the library with all that it needs becomes part of everybody's scope: libraries that are
    /// loaded later in this namespace find its symbols without needing it. `dlopen` with `RTLD_GLOBAL`.
    ///
    /// # Errors
    /// As [`Loader::open`].
    ///
    /// # Safety
    /// As [`Loader::open`].
    pub unsafe fn open_global(&self, name: impl AsRef<OsStr>) -> Result<Library> {
        let mode = Mode { global: true, ..Mode::default() };
        // SAFETY: the caller keeps what this function's `# Safety` section asks for.
        unsafe { self.open_named(name.as_ref(), mode) }
    }

    /// Loads a library from bytes; `name` stands for it in events and errors, and can be anything.
    ///
    /// # Errors
    /// As [`Loader::open`].
    ///
    /// # Safety
    /// As [`Loader::open`].
    pub unsafe fn open_bytes(&self, name: impl AsRef<OsStr>, bytes: &[u8]) -> Result<Library> {
        // SAFETY: the caller keeps what this function's `# Safety` section asks for.
        unsafe { self.open_target(Target::Bytes(&escape_path(name.as_ref()), bytes), Mode::default()) }
    }

    /// Loads a library as far as it goes without running any of its code: mapped, and relocated but for what
    /// its own IFUNC resolvers would decide. For files that one does not trust, and to look at them.
    ///
    /// ```
    /// let sqlite = dlscope::Loader::new().prepare("libsqlite3.so.0")?;
    /// assert!(sqlite.symbols().any(|symbol| symbol.name == "sqlite3_open"));
    /// # Ok::<(), dlscope::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`Loader::open`].
    pub fn prepare(&self, name: impl AsRef<OsStr>) -> Result<Prepared> {
        let name = text(name.as_ref())?;
        match load::prepare(Asked::Prepare, &self.namespace, &name)? {
            Some(batch) => Ok(Prepared { batch }),
            None => unreachable!("only a load that is inspected goes on after a fault"),
        }
    }

    /// # Safety
    /// As [`Loader::open`].
    pub(crate) unsafe fn open_named(&self, name: &OsStr, mode: Mode) -> Result<Library> {
        let name = text(name)?;
        // SAFETY: the caller keeps what this function's `# Safety` section asks for.
        unsafe { self.open_target(Target::Name(&name), mode) }
    }

    /// # Safety
    /// As [`Loader::open`].
    unsafe fn open_target(&self, target: Target<'_>, mode: Mode) -> Result<Library> {
        // SAFETY: the caller keeps what this function's `# Safety` section asks for.
        let opened = unsafe { load::open(&self.namespace, target, mode, None) }?;
        Ok(Library::of(self.namespace.clone(), opened))
    }

    /// The loader of the process-wide namespace.
    pub(crate) fn process_wide() -> Loader {
        Loader { namespace: namespace::process_wide(capi::STAND_INS).clone() }
    }
}

fn text(name: &OsStr) -> Result<Cow<'_, str>> {
    Ok(escape_path(filename(name)?))
}

impl Library {
    /// Loads a library into the process-wide namespace; see [`Loader::open`].
    ///
    /// # Errors
    /// See [`Loader::open`].
    ///
    /// # Safety
    /// Runs code of the library: its constructors now, its destructors later.
    pub unsafe fn open(name: impl AsFilename) -> Result<Library> {
        // SAFETY: the caller keeps what this function's `# Safety` section asks for.
        unsafe { Loader::process_wide().open(name) }
    }

    /// What `libloading` does under this name: as [`Library::open`], but functions are bound at their first call
    /// (`RTLD_LAZY`). So a library opens although it lacks a function, and only a call of that function ends the process.
    ///
    /// # Errors
    /// See [`Loader::open`].
    ///
    /// # Safety
    /// As [`Library::open`].
    pub unsafe fn new(name: impl AsFilename) -> Result<Library> {
        let mode = Mode { lazy: true, ..Mode::default() };
        // SAFETY: the caller keeps what this function's `# Safety` section asks for.
        unsafe { Loader::process_wide().open_named(name.as_ref(), mode) }
    }

    /// Loads a library from bytes into the process-wide namespace; see [`Loader::open_bytes`].
    ///
    /// ```
    /// # let path = dlscope::Loader::new().prepare("libz.so.1")?.path().to_owned();
    /// let bytes = std::fs::read(path).unwrap();
    /// // SAFETY: zlib's constructors do nothing surprising.
    /// let zlib = unsafe { dlscope::Library::from_bytes("my-zlib", &bytes)? };
    /// assert_eq!(zlib.path(), std::path::Path::new("my-zlib"));
    /// # Ok::<(), dlscope::Error>(())
    /// ```
    ///
    /// # Errors
    /// See [`Loader::open`].
    ///
    /// # Safety
    /// As [`Library::open`].
    pub unsafe fn from_bytes(name: impl AsRef<OsStr>, bytes: &[u8]) -> Result<Library> {
        // SAFETY: the caller keeps what this function's `# Safety` section asks for.
        unsafe { Loader::process_wide().open_bytes(name, bytes) }
    }
}

/// A library that is mapped and relocated, but of which no code has run. Dropping it unmaps it.
pub struct Prepared {
    batch: Batch<Bound>,
}

impl Prepared {
    pub(crate) fn batch(&self) -> &Batch<Bound> {
        &self.batch
    }

    /// Where the library was found.
    pub fn path(&self) -> &Path {
        Path::new(self.batch.root().path())
    }

    /// Its load bias: addresses minus `p_vaddr`s.
    pub fn load_bias(&self) -> Bias {
        self.batch.root().bias()
    }

    /// Every symbol that it exports.
    pub fn symbols(&self) -> impl Iterator<Item = Export> {
        exports(self.batch.root())
    }

    /// The library and everything that it needs, breadth first, by path.
    pub fn dependencies(&self) -> Vec<PathBuf> {
        self.batch.objects().map(|o| PathBuf::from(o.path())).collect()
    }
}

impl std::fmt::Debug for Prepared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Prepared").field("path", &self.path()).field("load_bias", &self.load_bias()).finish()
    }
}

impl std::fmt::Debug for Loader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Loader").field("search_dirs", &self.namespace.policy.dirs).finish_non_exhaustive()
    }
}

//! The story: what `dlopen` does, from the first line to the last.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use crate::batch::{Batch, Bound, Mapped, Published};
use crate::elf::addr::{Addr, Bias};
use crate::error::{Error, Result};
use crate::event::{Asked, Kind, Probe, Report, Request, Silent, Stage};
use crate::host::{self, Host};
use crate::library::{Export, Library, exports, first_line};
use crate::link::needed::{self, Around, Target};
use crate::lock::{Lock, made_once};
use crate::memory;
use crate::namespace::{Bind, Mode, Namespace, Policy};
use crate::object::Object;
use crate::runtime::init;

mod inspect;
pub(crate) use inspect::Faults;
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

static PROCESS_WIDE: OnceLock<Loader> = OnceLock::new();

impl Default for Loader {
    fn default() -> Self {
        Loader::new()
    }
}

impl Loader {
    /// An empty namespace.
    pub fn new() -> Loader {
        Loader { namespace: Arc::new(Namespace::new(Policy::default(), None)) }
    }

    /// The namespace of [`Library::open`] and of the C functions, one for the process.
    pub(crate) fn process_wide() -> &'static Loader {
        made_once(&PROCESS_WIDE, Loader::new)
    }

    /// Makes this the namespace of [`Library::open`] and of the C functions: with its policy and its probe. Too late
    /// (`false`) once one of them was used.
    pub fn make_process_wide(self) -> bool {
        PROCESS_WIDE.set(self).is_ok()
    }

    /// The same policy and probe, in a new, empty namespace.
    pub(crate) fn sibling(&self) -> Loader {
        self.clone().with(|_, _| {})
    }

    /// The same policy and more, in a new, empty namespace.
    fn with(self, change: impl FnOnce(&mut Policy, &mut Option<Arc<dyn Probe>>)) -> Loader {
        let (mut policy, mut probe) = (self.namespace.policy.clone(), self.namespace.probe.clone());
        change(&mut policy, &mut probe);
        Loader { namespace: Arc::new(Namespace::new(policy, probe)) }
    }

    /// Searches `dir` before all other places for names without a `/`. Several are searched in order.
    pub fn search_dir(self, dir: impl AsRef<Path>) -> Loader {
        let dir = dir.as_ref().to_string_lossy().into_owned();
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
    /// Whatever is wrong, as an [`Error`] that names it; then nothing is left behind.
    ///
    /// # Safety
    /// Runs code of the library: its constructors now, its destructors later.
    pub unsafe fn open(&self, name: impl AsRef<OsStr>) -> Result<Library> {
        let name = name.as_ref().to_string_lossy();
        // SAFETY: the caller's.
        unsafe { self.open_target(Target::Name(&name), Mode::default(), None) }
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
        let name = name.as_ref().to_string_lossy();
        let mode = Mode { global: true, ..Mode::default() };
        // SAFETY: the caller's.
        unsafe { self.open_target(Target::Name(&name), mode, None) }
    }

    /// Loads a library from bytes; `name` stands for it in events and errors.
    ///
    /// # Errors
    /// As [`Loader::open`].
    ///
    /// # Safety
    /// As [`Loader::open`].
    pub unsafe fn open_bytes(&self, name: &str, bytes: &[u8]) -> Result<Library> {
        // SAFETY: the caller's.
        unsafe { self.open_target(Target::Bytes(name, bytes), Mode::default(), None) }
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
        let name = name.as_ref().to_string_lossy();
        match &self.namespace.probe {
            None => self.run_prepare(&name, &Silent),
            Some(probe) => self.run_prepare(&name, &**probe),
        }
    }

    /// Every way to open ends here: the one place where it is decided whether anybody listens.
    ///
    /// # Safety
    /// As [`Loader::open`].
    pub(crate) unsafe fn open_target(&self, target: Target<'_>, mode: Mode, caller: Option<Addr>) -> Result<Library> {
        match &self.namespace.probe {
            // SAFETY: the caller's.
            None => unsafe { self.run_open(target, mode, caller, &Silent) },
            // SAFETY: the caller's.
            Some(probe) => unsafe { self.run_open(target, mode, caller, &**probe) },
        }
    }

    unsafe fn run_open<P: Probe + ?Sized>(
        &self,
        target: Target<'_>,
        mode: Mode,
        caller: Option<Addr>,
        probe: &P,
    ) -> Result<Library> {
        let lock = Lock::acquire();
        let request = Request::begin();
        let report = request.report(probe, Stage::Find);
        let result = (|| {
            let host = look_around(&lock, report)?;
            let caller = self.caller(caller, &host, &lock);
            tell_begin(Asked::Open, target.name(), caller.as_deref(), report);
            // SAFETY: the caller's.
            unsafe { self.load(target, mode, caller.as_deref(), &host, &lock, report) }
        })();
        tell_end(result.as_ref().err(), report);
        result
    }

    /// `dlopen`. Every line is a stage, every stage a file and a chapter.
    ///
    /// # Safety
    /// As [`Loader::open`].
    unsafe fn load<P: Probe + ?Sized>(
        &self,
        target: Target<'_>,
        mode: Mode,
        caller: Option<&Object>,
        host: &Host,
        lock: &Lock,
        report: Report<'_, P>,
    ) -> Result<Library> {
        let namespace = &*self.namespace;
        let batch = self.gather(target, caller, host, lock, report)?; // 1 find, 2 read, 3 plan, 4 map, 5 dynamic, 6 needed
        let scope = batch.scope();
        if batch.is_empty() {
            return Ok(Library::of(self.namespace.clone(), self.already_here(batch, mode, lock), scope));
        }
        batch.check_versions(&namespace.policy, report)?; // 7 versions
        let bound = batch.bind(&self.namespace, self.binding(mode), host, mode.deep, lock, report)?; // 8 relocate, pass 1
        // SAFETY: the caller agreed to run the library's code.
        let relocated = unsafe { bound.resolve(report) }?; // 8 relocate, pass 2
        let sealed = relocated.seal(report)?; // 9 seal
        sealed.install_tls(host, report)?;
        let Published { root, init_order } = sealed.publish(&self.namespace, mode, lock, report); // 10 publish
        // SAFETY: as above; everything is relocated and published, and no borrow is held.
        unsafe { init::run(namespace, &init_order, lock, report.at(Stage::Init)) }; // 11 init
        Ok(Library::of(self.namespace.clone(), root, scope))
    }

    fn run_prepare<P: Probe + ?Sized>(&self, name: &str, probe: &P) -> Result<Prepared> {
        let lock = Lock::acquire();
        let request = Request::begin();
        let report = request.report(probe, Stage::Find);
        let result = self.stop_before_code(Asked::Prepare, name, &lock, report);
        tell_end(result.as_ref().err(), report);
        result
    }

    /// [`Loader::load`] as far as it goes without running code of the library: up to pass 1 of stage 8.
    fn stop_before_code<P: Probe + ?Sized>(
        &self,
        asked: Asked,
        name: &str,
        lock: &Lock,
        report: Report<'_, P>,
    ) -> Result<Prepared> {
        let host = look_around(lock, report)?;
        let caller = self.caller(None, &host, lock);
        tell_begin(asked, name, caller.as_deref(), report);
        let batch = self.gather(Target::Name(name), caller.as_deref(), &host, lock, report)?;
        batch.check_versions(&self.namespace.policy, report)?;
        let bind = self.binding(Mode::default());
        Ok(Prepared { batch: batch.bind(&self.namespace, bind, &host, false, lock, report)? })
    }

    /// When the calls of what is loaded are bound: `RTLD_LAZY` or the loader's own policy.
    fn binding(&self, mode: Mode) -> Bind {
        if mode.lazy { Bind::Lazy } else { self.namespace.policy.bind }
    }

    fn gather<P: Probe + ?Sized>(
        &self,
        target: Target<'_>,
        caller: Option<&Object>,
        host: &Host,
        lock: &Lock,
        report: Report<'_, P>,
    ) -> Result<Batch<Mapped>> {
        let members = self.namespace.members(lock);
        let around = Around {
            members: &members,
            host,
            policy: &self.namespace.policy,
            probe: self.namespace.probe.as_ref(),
            lock,
        };
        let nodes = needed::gather(target, caller, &around, report)?;
        let batch = Batch::new(nodes);
        needed::refuse_noopen(batch.root())?;
        needed::refuse_program(batch.root())?;
        Ok(batch)
    }

    /// Whether `name` means an object that is here already: `RTLD_NOLOAD`.
    ///
    /// # Errors
    /// Where no such file can be found.
    pub(crate) fn has(&self, name: &str, caller: Option<Addr>, host: &Host, lock: &Lock) -> Result<bool> {
        let caller = self.caller(caller, host, lock);
        let members = self.namespace.members(lock);
        let around = Around { members: &members, host, policy: &self.namespace.policy, probe: None, lock };
        needed::is_here(name, caller.as_deref(), &around)
    }

    /// The library was loaded before: one more use of it.
    fn already_here(&self, batch: Batch<Mapped>, mode: Mode, lock: &Lock) -> Arc<Object> {
        let ids = batch.ids();
        let root = batch.into_root();
        self.namespace.change(lock, |members| members.opened(root.tag.id, &ids, mode));
        root
    }

    /// On whose behalf names are searched: the object that holds the calling code; for Rust callers, the one
    /// that dlscope is linked into.
    fn caller(&self, address: Option<Addr>, host: &Host, lock: &Lock) -> Option<Arc<Object>> {
        let here = Addr(Loader::process_wide as *const () as u64);
        let address = address.unwrap_or(here);
        // It belongs to one of them; the host's are few.
        let own = || self.namespace.members(lock).objects().find(|o| o.memory.contains(address));
        host.owner(address).cloned().or_else(own)
    }
}

/// What every request does first.
fn look_around<P: Probe + ?Sized>(lock: &Lock, report: Report<'_, P>) -> Result<Host> {
    memory::retry_abandoned(report.at(Stage::Close));
    host::look(lock, report)
}

fn tell_begin<P: Probe + ?Sized>(request: Asked, name: &str, caller: Option<&Object>, report: Report<'_, P>) {
    report.tell(|| Kind::Begin { request, name: name.into(), caller: caller.map(|o| o.tag.clone()) });
}

fn tell_end<P: Probe + ?Sized>(error: Option<&Error>, report: Report<'_, P>) {
    report.tell(|| Kind::End { error: error.map(first_line) });
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

//! A loaded library: find symbols in it, call them, close it.

use std::ffi::OsStr;
use std::fmt;
use std::marker::PhantomData;
use std::ops::Deref;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::elf::addr::{Addr, Bias};
use crate::elf::symbol::{Class, SymbolBinding, SymbolType, Want, Wanted};
use crate::elf::sysv_hash;
use crate::elf::version::Name;
use crate::error::{Error, ErrorKind, Result};
use crate::event::{Asked, Kind, Probe, Report, Request, Silent, Stage};
use crate::host;
use crate::link::needed::Target;
use crate::link::scope::{self, Definition};
use crate::loader::{Loader, no_such_symbol};
use crate::lock::Lock;
use crate::memory::{NothingAround, Watch};
use crate::namespace::{Mode, Namespace};
use crate::object::Object;
use crate::runtime::{ifunc, init, tls};

/// A library that stays loaded as long as this value lives (or another open of it does). Shaped like
/// `libloading::Library`.
///
/// ```
/// use std::ffi::{CStr, c_char};
/// // SAFETY: zlib's constructors do nothing surprising, and `zlibVersion` has this type (zlib.h).
/// unsafe {
///     let zlib = dlscope::Library::open("libz.so.1")?;
///     let version = zlib.get::<unsafe extern "C" fn() -> *const c_char>("zlibVersion")?;
///     assert!(CStr::from_ptr(version()).to_str().unwrap().starts_with("1."));
///     zlib.close()?;
/// }
/// # Ok::<(), dlscope::Error>(())
/// ```
pub struct Library {
    namespace: Arc<Namespace>,
    /// `None` once it is closed.
    root: Option<Arc<Object>>,
    /// The library and its dependencies, breadth first: where symbols are looked for. Held here, so that a
    /// lookup takes no lock.
    scope: Arc<[Arc<Object>]>,
}

impl Library {
    pub(crate) fn of(namespace: Arc<Namespace>, root: Arc<Object>, scope: Arc<[Arc<Object>]>) -> Library {
        Library { namespace, root: Some(root), scope }
    }

    /// Loads a library into the process-wide namespace; see [`Loader::open`].
    ///
    /// # Errors
    /// See [`Loader::open`].
    ///
    /// # Safety
    /// Runs code of the library: its constructors now, its destructors later.
    pub unsafe fn open(name: impl AsRef<OsStr>) -> Result<Library> {
        // SAFETY: the caller's.
        unsafe { Loader::process_wide().open(name) }
    }

    /// The same as [`Library::open`], under the name that `libloading` has for it.
    ///
    /// # Errors
    /// See [`Loader::open`].
    ///
    /// # Safety
    /// As [`Library::open`].
    pub unsafe fn new(name: impl AsRef<OsStr>) -> Result<Library> {
        // SAFETY: the caller's.
        unsafe { Library::open(name) }
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
    pub unsafe fn from_bytes(name: &str, bytes: &[u8]) -> Result<Library> {
        // SAFETY: the caller's.
        unsafe { Loader::process_wide().open_target(Target::Bytes(name, bytes), Mode::default(), None) }
    }

    /// Finds a function or variable by name, in the library and then in its dependencies, as `dlsym` does. A
    /// trailing NUL of the name is ignored. Of a thread-local variable it is the calling thread's.
    ///
    /// # Errors
    /// [`ErrorKind::NoSuchSymbol`].
    ///
    /// # Safety
    /// `T` is the symbol's type: a function pointer, or a pointer to its data.
    pub unsafe fn get<T>(&self, symbol: impl AsRef<[u8]>) -> Result<Symbol<'_, T>> {
        // SAFETY: the caller's.
        unsafe { self.get_wanted(symbol.as_ref(), None) }
    }

    /// Finds a symbol of a certain version, default or not, as `dlvsym` does.
    ///
    /// # Errors
    /// As [`Library::get`].
    ///
    /// # Safety
    /// As [`Library::get`].
    pub unsafe fn get_version<T>(&self, symbol: impl AsRef<[u8]>, version: impl AsRef<[u8]>) -> Result<Symbol<'_, T>> {
        // SAFETY: the caller's.
        unsafe { self.get_wanted(symbol.as_ref(), Some(version.as_ref())) }
    }

    unsafe fn get_wanted<T>(&self, symbol: &[u8], version: Option<&[u8]>) -> Result<Symbol<'_, T>> {
        const { assert!(size_of::<T>() == size_of::<*const ()>(), "a symbol is a function pointer or a data pointer") };
        let symbol = symbol.strip_suffix(b"\0").unwrap_or(symbol);
        let address = match &self.namespace.probe {
            None => self.find(symbol, version, &Silent)?,
            Some(probe) => self.find(symbol, version, &**probe)?,
        };
        Ok(Symbol { pointer: std::ptr::with_exposed_provenance_mut(address.0 as usize), _of: PhantomData })
    }

    fn find<P: Probe + ?Sized>(&self, symbol: &[u8], version: Option<&[u8]>, probe: &P) -> Result<Addr> {
        if !probe.listening() {
            return find_in_scope(
                &self.namespace,
                &self.scope,
                symbol,
                version,
                Request::current().report(probe, Stage::Lookup),
            );
        }
        let request = Request::begin();
        let report = request.report(probe, Stage::Lookup);
        report.tell(|| Kind::Begin {
            request: Asked::Lookup,
            name: String::from_utf8_lossy(symbol).into_owned(),
            caller: None,
        });
        let result = find_in_scope(&self.namespace, &self.scope, symbol, version, report);
        report.tell(|| Kind::End { error: result.as_ref().err().map(first_line) });
        result
    }

    /// Ends this use of the library. If nothing else uses it, its destructors run and it is unmapped, with
    /// every dependency that only it needed. Dropping does the same.
    ///
    /// # Errors
    /// None at present: what the kernel refuses to unmap is made inaccessible and tried again later.
    pub fn close(mut self) -> Result<()> {
        self.end()
    }

    fn end(&mut self) -> Result<()> {
        let Some(root) = self.root.take().map(|o| o.tag.id) else { return Ok(()) };
        // Before the lock: what is held here must not keep memory alive.
        self.scope = Arc::new([]);
        end(&self.namespace, root)
    }

    fn root(&self) -> &Object {
        match &self.root {
            Some(root) => root,
            // Only closing takes it, and that takes `self`.
            None => unreachable!("a closed library is used"),
        }
    }

    /// Where the library was found; the name given, for one from bytes.
    pub fn path(&self) -> &Path {
        Path::new(&self.root().path)
    }

    /// Its load bias: addresses minus `p_vaddr`s.
    pub fn load_bias(&self) -> Bias {
        self.root().bias()
    }

    /// Every symbol that it exports.
    pub fn symbols(&self) -> impl Iterator<Item = Export> {
        exports(self.root())
    }

    /// The library and everything that it needs, breadth first, by path.
    pub fn dependencies(&self) -> Vec<PathBuf> {
        self.scope.iter().map(|o| PathBuf::from(&o.path)).collect()
    }

    /// The same objects as [`Library::dependencies`], each with where it lies and whose it is.
    pub fn objects(&self) -> Vec<LoadedObject> {
        let loaded =
            |o: &Arc<Object>| LoadedObject { path: PathBuf::from(&o.path), load_bias: o.bias(), of_host: o.is_host() };
        self.scope.iter().map(loaded).collect()
    }

    /// The handle that C functions know this library by. It begins like a `link_map` (`<link.h>`).
    pub(crate) fn into_handle(mut self) -> *const crate::object::LinkMap {
        let handle = self.root().handle();
        // Given away: `dlclose` ends this use.
        self.root = None;
        handle
    }
}

/// Ends one use of the object `root`: what closing a library and `dlclose` have in common.
pub(crate) fn end(namespace: &Namespace, root: u32) -> Result<()> {
    match &namespace.probe {
        None => run_end(namespace, root, &Silent),
        Some(probe) => run_end(namespace, root, &**probe),
    }
}

fn run_end<P: Probe + ?Sized>(namespace: &Namespace, root: u32, probe: &P) -> Result<()> {
    let lock = Lock::acquire();
    let request = Request::begin();
    let report = request.report(probe, Stage::Close);
    report.tell(|| {
        let members = namespace.members(&lock);
        let name = members.get(root).map_or(String::new(), |m| m.object.label());
        Kind::Begin { request: Asked::Close, name, caller: None }
    });
    // SAFETY: whoever opened the library promised that its destructors may run; symbols of it cannot outlive
    // the `Library` (or, in C, must not be used after `dlclose`).
    let result = unsafe { init::close(namespace, root, &lock, report) };
    report.tell(|| Kind::End { error: None });
    result
}

/// The address of `symbol` in the first object of `scope` that defines it.
pub(crate) fn find_in_scope<P: Probe + ?Sized>(
    namespace: &Namespace,
    scope: &[Arc<Object>],
    symbol: &[u8],
    version: Option<&[u8]>,
    report: Report<'_, P>,
) -> Result<Addr> {
    let want = match version {
        Some(text) => Want::Version(Name { text, hash: sysv_hash::hash(text), hidden: true }),
        None => Want::Newest,
    };
    let wanted = Wanted::new(symbol, want, Class::Address);
    let found = scope::find_by_name(scope.iter().map(|o| &**o), &wanted, report);
    let found = match found {
        Some(definition) if definition.symbol.is_unique() => Some(unique(definition, symbol, namespace)?),
        found => found,
    };
    let Some(definition) = found else {
        return Err(no_such_symbol(symbol, version, scope));
    };
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

/// What `Kind::End` says of an error.
pub(crate) fn first_line(error: &Error) -> String {
    error.to_string().lines().next().unwrap_or_default().into()
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
        members.add_unique([(name.into(), (object.tag.id, found.index))].into_iter().collect())
    });
    Ok(found)
}

fn host_tls_module(object: &Object) -> Result<Option<u64>> {
    let lock = Lock::acquire();
    let host = host::look_silently(&lock)?;
    Ok(host.tls_module(object))
}

impl Drop for Library {
    fn drop(&mut self) {
        // What could fail was told to the probe.
        let _ = self.end();
    }
}

impl fmt::Debug for Library {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Library").field("path", &self.path()).field("load_bias", &self.load_bias()).finish()
    }
}

/// A symbol of a [`Library`], which it cannot outlive. It derefs to `T`: a function pointer that one calls, or
/// a data pointer.
#[derive(Clone, Copy)]
pub struct Symbol<'lib, T> {
    pointer: *mut (),
    _of: PhantomData<(&'lib Library, T)>,
}

// SAFETY: an address of the library, which the lifetime keeps loaded; what may be done with it is `T`'s affair.
unsafe impl<T: Send> Send for Symbol<'_, T> {}
// SAFETY: as above.
unsafe impl<T: Sync> Sync for Symbol<'_, T> {}

impl<T> Symbol<'_, T> {
    /// The bare address. It is good for as long as the library is loaded; nobody checks.
    pub fn as_raw_ptr(&self) -> *mut () {
        self.pointer
    }
}

impl<T> Deref for Symbol<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        // SAFETY: `T` has the size of a pointer (checked when the symbol was made) and is, by the promise of
        // the caller of `get`, a function or data pointer: the very thing that `pointer` holds.
        unsafe { &*(&raw const self.pointer).cast::<T>() }
    }
}

impl<T> fmt::Debug for Symbol<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Symbol({:p})", self.pointer)
    }
}

/// One object of a library's closure.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoadedObject {
    /// Where it was found.
    pub path: PathBuf,
    /// Its load bias: addresses minus `p_vaddr`s.
    pub load_bias: Bias,
    /// Whether it was in the process before: mapped by the system's loader, not by us.
    pub of_host: bool,
}

/// A symbol that a library offers to others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Export {
    /// Its name.
    pub name: String,
    /// Its version, if the library has versions.
    pub version: Option<String>,
    /// Whether it is what one gets who asks for no version (`foo@@V2`, not `foo@V1`).
    pub default: bool,
    /// Function, variable, …
    pub kind: SymbolType,
    /// Global, weak or unique.
    pub binding: SymbolBinding,
    /// Where it lies: `st_value` plus the load bias; for a thread-local variable the offset in its block, for
    /// an indirect function its resolver.
    pub address: Addr,
    /// Its size in bytes.
    pub size: u64,
}

pub(crate) fn exports(object: &Object) -> impl Iterator<Item = Export> {
    let symbols = object.symbols();
    symbols.exports().map(move |(index, symbol, default)| Export {
        name: String::from_utf8_lossy(symbols.name(&symbol)).into_owned(),
        version: symbols.version_text(index),
        default,
        kind: symbol.symbol_type(),
        binding: symbol.symbol_binding(),
        address: if symbol.is_tls() { Addr(symbol.value().0) } else { symbol.address(object.bias()) },
        size: symbol.size(),
    })
}

//! A loaded library: find symbols in it, call them, close it.

use std::fmt;
use std::marker::PhantomData;
use std::ops::Deref;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::elf::addr::{Addr, Bias};
use crate::elf::symbol::{SymbolBinding, SymbolType};
use crate::error::{Error, Result};
use crate::host;
use crate::load::{Opened, close};
use crate::lookup::directory::Directory;
use crate::lookup::index::Known;
use crate::namespace::Namespace;
use crate::object::Object;

mod lookup;
pub(crate) use lookup::{address, no_such_symbol};

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
    /// Makes lookups in the scope fast.
    directory: Directory,
}

impl Library {
    pub(crate) fn of(namespace: Arc<Namespace>, opened: Opened) -> Library {
        let Opened { root, scope } = opened;
        Library { namespace, root: Some(root), scope, directory: Directory::default() }
    }

    /// Finds a function or variable by name, in the library and then in its dependencies, as `dlsym` does. A
    /// trailing NUL of the name is ignored. Of a thread-local variable it is the calling thread's.
    ///
    /// # Errors
    /// [`ErrorKind::NoSuchSymbol`](crate::ErrorKind::NoSuchSymbol).
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

    /// Finds a symbol as [`Library::get`] does, for those to whom its absence is no error, only an answer: none is made
    /// that says where it was looked for, and nothing is allocated.
    ///
    /// ```
    /// // SAFETY: zlib's constructors do nothing surprising, and the symbols are not used.
    /// unsafe {
    ///     let zlib = dlscope::Library::open("libz.so.1")?;
    ///     assert!(zlib.find::<*const ()>("inflate").is_some());
    ///     assert!(zlib.find::<*const ()>("inflate_backwards").is_none());
    /// }
    /// # Ok::<(), dlscope::Error>(())
    /// ```
    ///
    /// # Safety
    /// As [`Library::get`].
    #[inline]
    pub unsafe fn find<T>(&self, symbol: impl AsRef<[u8]>) -> Option<Symbol<'_, T>> {
        let symbol = strip_nul(symbol.as_ref());
        match self.known(symbol) {
            Known::At(address, _) => Some(Symbol::at(address)),
            Known::Missing => None,
            Known::NotEnough => self.find_wanted(symbol, None).ok().flatten().map(Symbol::at),
        }
    }

    unsafe fn get_wanted<T>(&self, symbol: &[u8], version: Option<&[u8]>) -> Result<Symbol<'_, T>> {
        let symbol = strip_nul(symbol);
        match version.map_or_else(|| self.known(symbol), |_| Known::NotEnough) {
            Known::At(address, _) => return Ok(Symbol::at(address)),
            Known::Missing => return Err(self.no_such_symbol(symbol, None)),
            Known::NotEnough => {}
        }
        let found = self.find_wanted(symbol, version)?;
        found.map(Symbol::at).ok_or_else(|| self.no_such_symbol(symbol, version))
    }

    /// What can be said without asking the objects, if nobody listens.
    #[inline]
    fn known(&self, symbol: &[u8]) -> Known {
        match self.namespace.probe {
            None => self.directory.known(&self.scope, symbol),
            Some(_) => Known::NotEnough,
        }
    }

    #[inline(never)]
    fn find_wanted(&self, symbol: &[u8], version: Option<&[u8]>) -> Result<Option<Addr>> {
        address(&self.namespace, &self.scope, &self.directory, symbol, version, &|| self.root().label())
    }

    #[cold]
    fn no_such_symbol(&self, symbol: &[u8], version: Option<&[u8]>) -> Error {
        no_such_symbol(symbol, version, self.root().label(), self.directory.names(&self.scope))
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
        self.directory = Directory::default();
        // SAFETY: whoever opened the library promised that its destructors may run; symbols of it cannot outlive the
        // `Library`.
        unsafe { close::close(&self.namespace, root) };
        Ok(())
    }

    pub(crate) fn scope(&self) -> &[Arc<Object>] {
        &self.scope
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
        Path::new(self.root().path())
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
        self.scope.iter().map(|o| PathBuf::from(o.path())).collect()
    }

    /// The same objects as [`Library::dependencies`], each with where it lies and whose it is.
    pub fn objects(&self) -> Vec<LoadedObject> {
        let loaded =
            |o: &Arc<Object>| LoadedObject { path: PathBuf::from(o.path()), load_bias: o.bias(), of_host: o.is_host() };
        self.scope.iter().map(loaded).collect()
    }
}

#[inline]
fn strip_nul(symbol: &[u8]) -> &[u8] {
    symbol.strip_suffix(b"\0").unwrap_or(symbol)
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
    #[inline]
    fn at(address: Addr) -> Self {
        const { assert!(size_of::<T>() == size_of::<*const ()>(), "a symbol is a function pointer or a data pointer") };
        Symbol { pointer: std::ptr::with_exposed_provenance_mut(address.0 as usize), _of: PhantomData }
    }

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

/// What `object` offers; nothing if it is one that the host opened after start-up, and has closed again.
pub(crate) fn exports(object: &Object) -> impl Iterator<Item = Export> {
    // The host may unmap its own object at any moment: what it offers is copied while it cannot.
    let of_host = object.is_host().then(|| host::while_mapped(object, || read_exports(object).collect::<Vec<_>>()));
    let of_ours = (!object.is_host()).then(|| read_exports(object));
    of_host.flatten().into_iter().flatten().chain(of_ours.into_iter().flatten())
}

fn read_exports(object: &Object) -> impl Iterator<Item = Export> {
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

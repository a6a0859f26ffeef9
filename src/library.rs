//! A loaded library: find symbols in it, call them, close it.

use std::ffi::c_void;
use std::fmt;
use std::marker::PhantomData;
use std::ops::Deref;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::elf::addr::{Addr, Bias};
use crate::elf::symbol::{SymbolBinding, SymbolType};
use crate::host::{self, Host};
use crate::load::{Opened, close};
use crate::lock::Lock;
use crate::lookup::directory::Directory;
use crate::lookup::index::Known;
use crate::namespace::Namespace;
use crate::object::Object;
use crate::text::escape;

mod failure;
mod lookup;
mod names;
pub use failure::{Error, Result};
pub(crate) use lookup::{address, everybodys, no_such_symbol};
pub(crate) use names::filename;
use names::without_zeros;
pub use names::{AsFilename, AsSymbolName, library_filename};

/// A library that stays loaded as long as this value lives (or another open of it does). Shaped like
/// `libloading::Library`; [`os::unix::Library`](crate::os::unix::Library) has what that crate has there.
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
    /// Makes lookups in the scope fast. `None` for the program: its scope grows with each library that becomes part of
    /// everybody's, and is put together for each lookup.
    directory: Option<Directory>,
}

impl Library {
    pub(crate) fn of(namespace: Arc<Namespace>, opened: Opened) -> Library {
        let Opened { root, scope } = opened;
        Library { namespace, root: Some(root), scope, directory: Some(Directory::default()) }
    }

    /// The program, in which symbols are found that are in everybody's scope: `dlopen(NULL)`.
    pub(crate) fn program(namespace: Arc<Namespace>, host: &Host) -> Option<Library> {
        let scope: Arc<[Arc<Object>]> = host.startup().into();
        Some(Library { namespace, root: Some(scope.first()?.clone()), scope, directory: None })
    }

    /// Finds a function or variable by name, in the library and then in its dependencies, as `dlsym` does. A
    /// trailing NUL of the name is ignored. Of a thread-local variable it is the calling thread's.
    ///
    /// # Errors
    /// [`Error::DlSym`] if there is none; its kind is [`ErrorKind::NoSuchSymbol`](crate::ErrorKind::NoSuchSymbol).
    /// [`Error::InteriorZeroElements`] if the name has a zero byte before its end. [`Error::IncompatibleSize`] if `T`
    /// does not have the size of a pointer.
    ///
    /// # Safety
    /// `T` is the symbol's type: a function pointer, or a pointer to its data.
    pub unsafe fn get<T>(&self, symbol: impl AsSymbolName) -> Result<Symbol<'_, T>> {
        self.get_wanted(symbol.name(), None)
    }

    /// Finds a symbol of a certain version, default or not, as `dlvsym` does.
    ///
    /// # Errors
    /// As [`Library::get`].
    ///
    /// # Safety
    /// As [`Library::get`].
    pub unsafe fn get_version<T>(
        &self,
        symbol: impl AsSymbolName,
        version: impl AsSymbolName,
    ) -> Result<Symbol<'_, T>> {
        self.get_wanted(symbol.name(), Some(version.name()))
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
    pub unsafe fn find<T>(&self, symbol: impl AsSymbolName) -> Option<Symbol<'_, T>> {
        const { assert!(size_of::<T>() == size_of::<*const ()>(), "a symbol is a function pointer or a data pointer") };
        let symbol = symbol.name();
        match self.known(symbol) {
            Known::At(address, _) => Some(Symbol::at(address)),
            Known::Missing => None,
            Known::NotEnough => self.find_wanted(symbol, None).ok().flatten().map(Symbol::at),
        }
    }

    fn get_wanted<T>(&self, symbol: &[u8], version: Option<&[u8]>) -> Result<Symbol<'_, T>> {
        if size_of::<T>() != size_of::<*const ()>() {
            return Err(Error::IncompatibleSize);
        }
        let symbol = without_zeros(symbol)?;
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
        match (&self.namespace.probe, &self.directory) {
            (None, Some(directory)) => directory.known(&self.scope, symbol),
            _ => Known::NotEnough,
        }
    }

    /// What is searched now, and what makes that fast.
    fn searched<R>(&self, see: impl FnOnce(&[Arc<Object>], &Directory) -> R) -> R {
        match &self.directory {
            Some(directory) => see(&self.scope, directory),
            None => see(&everybodys(&self.scope, &self.namespace, &Lock::acquire()), &Directory::default()),
        }
    }

    #[inline(never)]
    fn find_wanted(&self, symbol: &[u8], version: Option<&[u8]>) -> Result<Option<Addr>> {
        let whose = || self.root().label();
        let found =
            self.searched(|scope, directory| address(&self.namespace, scope, directory, symbol, version, &whose));
        found.map_err(Error::from)
    }

    #[cold]
    fn no_such_symbol(&self, symbol: &[u8], version: Option<&[u8]>) -> Error {
        let searched = self.searched(|scope, directory| directory.names(scope));
        no_such_symbol(symbol, version, self.root().label(), searched).into()
    }

    /// Keeps the library loaded for good, also after it is closed: `RTLD_NODELETE`.
    ///
    /// # Errors
    /// None at present.
    pub fn pin(&self) -> Result<()> {
        let id = self.root().tag.id;
        self.namespace.change(&Lock::acquire(), |members| {
            // What the process had before is not ours to unload.
            if let Some(member) = members.get_mut(id) {
                member.pinned = true;
            }
        });
        Ok(())
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
        let Some(root) = self.let_go().map(|root| root.tag.id) else { return Ok(()) };
        // SAFETY: whoever opened the library promised that its destructors may run; symbols of it cannot outlive the
        // `Library`.
        unsafe { close::close(&self.namespace, root) };
        Ok(())
    }

    /// Gives up what is held here, so that it keeps no memory alive; but the library stays open.
    pub(crate) fn let_go(&mut self) -> Option<Arc<Object>> {
        self.scope = Arc::new([]);
        self.directory = None;
        self.root.take()
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
pub struct Symbol<'lib, T> {
    pointer: *mut (),
    _of: PhantomData<(&'lib Library, T)>,
}

impl<T> Clone for Symbol<'_, T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for Symbol<'_, T> {}

// SAFETY: an address of the library, which the lifetime keeps loaded; what may be done with it is `T`'s affair.
unsafe impl<T: Send> Send for Symbol<'_, T> {}
// SAFETY: as above.
unsafe impl<T: Sync> Sync for Symbol<'_, T> {}

impl<T> Symbol<'_, T> {
    /// `T` has the size of a pointer.
    #[inline]
    pub(crate) fn at(address: Addr) -> Self {
        Symbol { pointer: std::ptr::with_exposed_provenance_mut(address.0 as usize), _of: PhantomData }
    }

    /// The bare address. It is good for as long as the library is loaded; nobody checks.
    pub fn as_raw_ptr(&self) -> *mut () {
        self.pointer
    }

    /// The bare address, always: libloading's name for [`Symbol::as_raw_ptr`].
    ///
    /// # Safety
    /// None is asked for. The function is `unsafe` because libloading's is.
    pub unsafe fn try_as_raw_ptr(self) -> Option<*mut c_void> {
        Some(self.pointer.cast())
    }
}

impl<'lib, T> Symbol<'lib, Option<T>> {
    /// The symbol without the `Option`; `None` if its address is 0.
    pub fn lift_option(self) -> Option<Symbol<'lib, T>> {
        (!self.pointer.is_null()).then_some(Symbol { pointer: self.pointer, _of: PhantomData })
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
        name: escape(symbols.name(&symbol)).into_owned(),
        version: symbols.version_text(index),
        default,
        kind: symbol.symbol_type(),
        binding: symbol.symbol_binding(),
        address: if symbol.is_tls() { Addr(symbol.value().0) } else { symbol.address(object.bias()) },
        size: symbol.size(),
    })
}

//! `dlopen` with its flags, handles as pointers, and symbols that no lifetime ties to their library.
//!
//! ```
//! use dlscope::os::unix::{Library, RTLD_GLOBAL, RTLD_NOW};
//! // SAFETY: zlib's constructors do nothing surprising, and the symbols are not used.
//! unsafe {
//!     let zlib = Library::open(Some("libz.so.1"), RTLD_NOW | RTLD_GLOBAL)?;
//!     assert!(Library::this().get::<*const ()>(c"inflate").is_ok(), "it is in everybody's scope");
//!     # zlib.close()?;
//! }
//! # Ok::<(), dlscope::Error>(())
//! ```

use std::ffi::{OsStr, c_int, c_void};
use std::fmt;
use std::marker::PhantomData;
use std::ops::Deref;
use std::sync::Arc;

use nix::errno::Errno;
use nix::libc;

use crate::elf::addr::Addr;
use crate::error::{Error as Refusal, ErrorKind};
use crate::event::Stage;
use crate::host;
use crate::library::{AsFilename, AsSymbolName, Error, Library as Safe, Result, Symbol as SafeSymbol, filename};
use crate::load::{self, Opened};
use crate::loader::Loader;
use crate::lock::Lock;
use crate::namespace::namespaces;
use crate::policy::Mode;
use crate::text::escape_path;

/// Each function is bound at its first call.
pub const RTLD_LAZY: c_int = libc::RTLD_LAZY;
/// All functions are bound at load time.
pub const RTLD_NOW: c_int = libc::RTLD_NOW;
/// The library and all that it needs become part of everybody's scope.
pub const RTLD_GLOBAL: c_int = libc::RTLD_GLOBAL;
/// They do not; the default.
pub const RTLD_LOCAL: c_int = libc::RTLD_LOCAL;
/// The library stays loaded for good.
pub const RTLD_NODELETE: c_int = libc::RTLD_NODELETE;
/// Only a library that is loaded already is opened.
pub const RTLD_NOLOAD: c_int = libc::RTLD_NOLOAD;
/// The library looks for symbols in its own scope before everybody's.
pub const RTLD_DEEPBIND: c_int = libc::RTLD_DEEPBIND;

const ALL_FLAGS: c_int = RTLD_LAZY | RTLD_NOW | RTLD_GLOBAL | RTLD_NODELETE | RTLD_NOLOAD | RTLD_DEEPBIND;

/// A library of the process-wide namespace, or the program itself. It converts from and into a
/// [`dlscope::Library`](crate::Library).
pub struct Library(Safe);

impl Library {
    /// The same as [`dlscope::Library::new`](crate::Library::new): `RTLD_LAZY | RTLD_LOCAL`.
    ///
    /// # Errors
    /// As [`Library::open`].
    ///
    /// # Safety
    /// Runs code of the library: its constructors now, its destructors later.
    pub unsafe fn new(name: impl AsFilename) -> Result<Library> {
        // SAFETY: the caller keeps what this function's `# Safety` section asks for.
        unsafe { Library::open(Some(name), RTLD_LAZY | RTLD_LOCAL) }
    }

    /// The program, with everything that is in everybody's scope: `dlopen(NULL)`.
    ///
    /// # Panics
    /// If the objects of this process cannot be read.
    pub fn this() -> Library {
        program().unwrap_or_else(|error| panic!("the program cannot be opened: {error}"))
    }

    /// `dlopen`: a name without a `/` is searched, a path with one is opened as it is, no name or an empty one means the
    /// program.
    ///
    /// # Errors
    /// [`Error::DlOpen`] with what is wrong. [`Error::DlOpenUnknown`] if the library is not loaded and `flags` has
    /// `RTLD_NOLOAD`. [`Error::InteriorZeroElements`].
    ///
    /// # Safety
    /// As [`Library::new`].
    pub unsafe fn open<P: AsFilename>(name: Option<P>, flags: c_int) -> Result<Library> {
        let name = filename(name.as_ref().map_or(OsStr::new(""), |name| name.as_ref()))?;
        if flags & (RTLD_LAZY | RTLD_NOW) == 0 || flags & !ALL_FLAGS != 0 {
            let text = escape_path(name);
            let kind = ErrorKind::System { call: format!("dlopen({text:?}, {flags:#x})"), errno: Errno::EINVAL };
            return Err(kind.of(text, Stage::Find).into());
        }
        if name.is_empty() {
            return program();
        }
        let loader = Loader::process_wide();
        if flags & RTLD_NOLOAD != 0 {
            let lock = Lock::acquire();
            let host = host::look_silently(&lock)?;
            if !load::is_here(&loader.namespace, &escape_path(name), None, &host, &lock)? {
                return Err(Error::DlOpenUnknown);
            }
        }
        let mode = Mode {
            global: flags & RTLD_GLOBAL != 0,
            pinned: flags & RTLD_NODELETE != 0,
            deep: flags & RTLD_DEEPBIND != 0,
            lazy: flags & RTLD_NOW == 0,
        };
        // SAFETY: the caller keeps what this function's `# Safety` section asks for.
        unsafe { loader.open_named(name, mode) }.map(Library)
    }

    /// As [`dlscope::Library::get`](crate::Library::get), but nothing keeps the symbol from outliving the library.
    ///
    /// # Errors
    /// As there.
    ///
    /// # Safety
    /// As there; and the symbol is not used any more when the library is closed.
    pub unsafe fn get<T>(&self, symbol: impl AsSymbolName) -> Result<Symbol<T>> {
        // SAFETY: the caller keeps what this function's `# Safety` section asks for.
        unsafe { self.0.get::<T>(symbol).map(|symbol| symbol.into_raw()) }
    }

    /// The same as [`Library::get`]. A symbol whose address is 0 is found by either.
    ///
    /// # Errors
    /// As [`Library::get`].
    ///
    /// # Safety
    /// As [`Library::get`].
    pub unsafe fn get_singlethreaded<T>(&self, symbol: impl AsSymbolName) -> Result<Symbol<T>> {
        // SAFETY: the caller keeps what this function's `# Safety` section asks for.
        unsafe { self.get(symbol) }
    }

    /// The handle, which keeps the library open. It means something to dlscope only: to [`Library::from_raw`] and the
    /// functions of [`dlscope::capi`](crate::capi), not to libc's `dlsym` and `dlclose`.
    pub fn into_raw(mut self) -> *mut c_void {
        match self.0.let_go() {
            Some(root) => root.handle().cast_mut().cast(),
            // Only closing takes it, and that takes `self`.
            None => unreachable!("a closed library is used"),
        }
    }

    /// The library with this handle, which is closed when this value is.
    ///
    /// # Panics
    /// If `handle` is not that of a library that is loaded.
    ///
    /// # Safety
    /// The handle comes from [`Library::into_raw`] or dlscope's [`dlopen`](crate::capi::dlopen), and nobody else closes
    /// it.
    pub unsafe fn from_raw(handle: *mut c_void) -> Library {
        match of_handle(handle) {
            Ok(Some(library)) => library,
            Ok(None) => panic!("{handle:p} is no handle of a loaded library"),
            Err(error) => panic!("the library of the handle {handle:p} cannot be found: {error}"),
        }
    }

    /// Keeps the library loaded for good, also after it is closed: `RTLD_NODELETE`.
    ///
    /// # Errors
    /// None at present.
    pub fn pin(&self) -> Result<()> {
        self.0.pin()
    }

    /// Ends this use of the library, as [`dlscope::Library::close`](crate::Library::close).
    ///
    /// # Errors
    /// None at present.
    pub fn close(self) -> Result<()> {
        self.0.close()
    }
}

fn program() -> Result<Library> {
    let host = host::look_silently(&Lock::acquire())?;
    let program = Safe::program(Loader::process_wide().namespace, &host);
    let unknown = || Refusal::from(Error::DlOpenUnknown);
    Ok(Library(program.ok_or_else(unknown)?))
}

/// `None`: no object has this handle.
fn of_handle(handle: *mut c_void) -> Result<Option<Library>> {
    let lock = Lock::acquire();
    let host = host::look_silently(&lock)?;
    let handle = handle.cast_const().cast();
    if host.startup().first().is_some_and(|program| program.handle() == handle) {
        return program().map(Some);
    }
    let process_wide = Loader::process_wide().namespace;
    let all = namespaces(&lock);
    let own = all.iter().find_map(|namespace| {
        let members = namespace.members(&lock);
        let object = members.objects().find(|object| object.handle() == handle)?;
        Some((namespace, object))
    });
    let of_host = || Some((&process_wide, host.objects.iter().find(|object| object.handle() == handle)?.clone()));
    Ok(own.or_else(of_host).map(|(namespace, root)| {
        let scope = Arc::from(namespace.members(&lock).closure(&root, &host));
        Library(Safe::of(namespace.clone(), Opened { root, scope }))
    }))
}

impl From<Library> for Safe {
    fn from(library: Library) -> Safe {
        library.0
    }
}

impl From<Safe> for Library {
    fn from(library: Safe) -> Library {
        Library(library)
    }
}

impl fmt::Debug for Library {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A symbol that nothing ties to its library. It derefs to `T`: a function pointer that one calls, or a data pointer.
pub struct Symbol<T> {
    pointer: *mut c_void,
    _of: PhantomData<T>,
}

impl<T> Symbol<T> {
    /// The bare address.
    pub fn into_raw(self) -> *mut c_void {
        self.pointer
    }

    /// The same.
    pub fn as_raw_ptr(self) -> *mut c_void {
        self.pointer
    }
}

impl<T> Symbol<Option<T>> {
    /// The symbol without the `Option`; `None` if its address is 0.
    pub fn lift_option(self) -> Option<Symbol<T>> {
        (!self.pointer.is_null()).then_some(Symbol { pointer: self.pointer, _of: PhantomData })
    }
}

impl<'lib, T> SafeSymbol<'lib, T> {
    /// The symbol without its lifetime.
    ///
    /// # Safety
    /// It is not used any more when its library is closed.
    pub unsafe fn into_raw(self) -> Symbol<T> {
        Symbol { pointer: self.as_raw_ptr().cast(), _of: PhantomData }
    }

    /// The symbol with the lifetime of `library`.
    ///
    /// # Safety
    /// `symbol` is one of `library`, or of something that lives at least as long.
    pub unsafe fn from_raw<L>(symbol: Symbol<T>, library: &'lib L) -> SafeSymbol<'lib, T> {
        let _ = library;
        SafeSymbol::at(Addr(symbol.pointer.expose_provenance() as u64))
    }
}

// SAFETY: an address; what may be done with it is `T`'s affair, and whoever got the symbol keeps its library loaded.
unsafe impl<T: Send> Send for Symbol<T> {}
// SAFETY: as above.
unsafe impl<T: Sync> Sync for Symbol<T> {}

impl<T> Clone for Symbol<T> {
    fn clone(&self) -> Self {
        Symbol { pointer: self.pointer, _of: PhantomData }
    }
}

impl<T> Deref for Symbol<T> {
    type Target = T;

    fn deref(&self) -> &T {
        // SAFETY: `T` has the size of a pointer (`get` checks it) and is, by the promise of the caller of `get`, a
        // function or data pointer: the very thing that `pointer` holds.
        unsafe { &*(&raw const self.pointer).cast::<T>() }
    }
}

impl<T> fmt::Debug for Symbol<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Symbol@{:p}", self.pointer)
    }
}

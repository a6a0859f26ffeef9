//! The C functions, for what loaded libraries call themselves: `dlopen` and its kin over our namespaces.
//!
//! POSIX `<dlfcn.h>`; glibc `dlfcn/`. libcrypto opens its engines with these, glib its modules. libc's own
//! versions know nothing of our objects, so references to them are bound to these instead (and only those that
//! would have gone to libc: a library's own `dlsym` stays its own).
//!
//! Everything here is a plain function: no symbol of this name is exported, and programs that link this crate
//! keep their own `dlopen`.

use std::cell::RefCell;
use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::ptr;
use std::sync::Arc;

use nix::libc;

use crate::elf::addr::Addr;
use crate::error::Result;
use crate::event::{Request, Silent, Stage};
use crate::host::{self, Host};
use crate::library::{self, find_in_scope};
use crate::link::needed::Target;
use crate::link::scope::c_name;
use crate::loader::Loader;
use crate::lock::Lock;
use crate::namespace::Mode;
use crate::object::{LinkMap, Object};
use crate::runtime::{caller, init, tls};

/// dlscope's own function for a name that libc defines, if it has one.
///
/// Only for what would have gone to libc and ld.so; a library's own function of such a name stays its own. And
/// for one function of libstdc++: a host's copy has bound libc's `__cxa_thread_atexit_impl` long ago.
pub(crate) fn replacement(object: &Object, name: &[u8]) -> Option<Addr> {
    let function = match name {
        b"__cxa_thread_atexit" if object.is_host() => tls::thread_atexit as *const (),
        _ if !host::is_c_library(object) => return None,
        b"__tls_get_addr" => tls::get_addr as *const (),
        b"__cxa_thread_atexit_impl" => tls::thread_atexit_impl as *const (),
        b"dlopen" => caller::dlopen as *const (),
        b"dlsym" => caller::dlsym as *const (),
        b"dlvsym" => caller::dlvsym as *const (),
        b"dlclose" => dlclose as *const (),
        b"dlerror" => dlerror as *const (),
        b"dladdr" => dladdr as *const (),
        _ => return None,
    };
    Some(Addr(function.expose_provenance() as u64))
}

thread_local! {
    /// The last error of this thread, and the one that `dlerror` gave out: it stays valid until the next call.
    static ERROR: RefCell<(Option<CString>, Option<CString>)> = const { RefCell::new((None, None)) };
}

fn fail(message: impl std::fmt::Display) {
    let text = message.to_string().replace('\0', "");
    ERROR.with_borrow_mut(|(next, _)| *next = CString::new(text).ok());
}

/// `dlopen`, with the return address of the caller. It binds at once whatever `mode` says.
pub(crate) unsafe extern "C" fn dlopen_from(file: *const c_char, mode: c_int, from: *const c_void) -> *mut c_void {
    // SAFETY: the caller of `dlopen` passes null or a C string.
    let name = unsafe { c_name(file) }.map(String::from_utf8_lossy);
    let lock = Lock::acquire();
    match open(name.as_deref().unwrap_or_default(), mode, Addr(from as u64), &lock) {
        Ok(handle) => handle.cast_mut().cast(),
        Err(error) => {
            fail(error);
            ptr::null_mut()
        }
    }
}

fn open(name: &str, mode: c_int, from: Addr, lock: &Lock) -> Result<*const LinkMap, String> {
    if mode & libc::RTLD_DEEPBIND != 0 {
        return Err(format!("{name}: RTLD_DEEPBIND is not supported yet"));
    }
    let host = host::look_silently(lock).map_err(|e| e.to_string())?;
    if name.is_empty() {
        // `dlopen(NULL)`: the program, and so everybody's scope.
        return host.startup().first().map(|o| o.handle()).ok_or_else(|| "the program is not known".into());
    }
    let loader = loader_of(from, lock);
    if mode & libc::RTLD_NOLOAD != 0 {
        let here = loader.namespace.members(lock).by_name(name).is_some()
            || host.objects.iter().any(|o| o.soname.as_deref() == Some(name));
        if !here {
            return Err(format!("{name}: not loaded, and RTLD_NOLOAD was given"));
        }
    }
    let flags =
        Mode { global: mode & libc::RTLD_GLOBAL != 0, pinned: mode & libc::RTLD_NODELETE != 0, ..Mode::default() };
    // SAFETY: the library that calls `dlopen` answers for what it opens.
    let library = unsafe { loader.open_target(Target::Name(name), flags, Some(from)) }.map_err(|e| e.to_string())?;
    Ok(library.into_handle())
}

/// The namespace of the calling library; of anyone else, the process-wide one.
fn loader_of(from: Addr, lock: &Lock) -> Loader {
    let has_caller =
        |n: &Arc<crate::namespace::Namespace>| n.members(lock).iter().any(|m| m.object.memory.contains(from));
    match init::namespaces(lock).into_iter().find(has_caller) {
        Some(namespace) => Loader { namespace },
        None => Loader::process_wide().clone(),
    }
}

/// `dlclose`.
pub(crate) unsafe extern "C" fn dlclose(handle: *mut c_void) -> c_int {
    let lock = Lock::acquire();
    for namespace in init::namespaces(&lock) {
        let found = namespace.members(&lock).iter().find(|m| is(&m.object, handle)).map(|m| (m.object.tag.id, m.opens));
        if let Some((id, opens)) = found {
            if opens == 0 {
                fail("shared object not open");
                return -1;
            }
            return library::end(&namespace, id).map_or_else(
                |error| {
                    fail(error);
                    -1
                },
                |()| 0,
            );
        }
    }
    let host = host::look_silently(&lock);
    if host.is_ok_and(|host| host.objects.iter().any(|o| is(o, handle))) {
        return 0; // the host's: never closed by us
    }
    fail("invalid handle");
    -1
}

fn is(object: &Object, handle: *mut c_void) -> bool {
    object.handle().cast() == handle.cast_const()
}

/// `dlsym`, with the return address of the caller.
pub(crate) unsafe extern "C" fn dlsym_from(
    handle: *mut c_void,
    name: *const c_char,
    from: *const c_void,
) -> *mut c_void {
    // SAFETY: the caller of `dlsym` passes a C string.
    unsafe { dlvsym_from(handle, name, ptr::null(), from) }
}

/// `dlvsym`, with the return address of the caller.
pub(crate) unsafe extern "C" fn dlvsym_from(
    handle: *mut c_void,
    name: *const c_char,
    version: *const c_char,
    from: *const c_void,
) -> *mut c_void {
    // SAFETY: the caller passes C strings, or null for no version.
    let (name, version) = unsafe { (c_name(name).unwrap_or_default(), c_name(version)) };
    match symbol(handle, name, version, Addr(from as u64)) {
        Ok(address) => ptr::with_exposed_provenance_mut(address.0 as usize),
        Err(error) => {
            fail(error);
            ptr::null_mut()
        }
    }
}

fn symbol(handle: *mut c_void, name: &[u8], version: Option<&[u8]>, from: Addr) -> Result<Addr, String> {
    let (namespace, scope) = {
        let lock = Lock::acquire();
        (loader_of(from, &lock).namespace, scope_of(handle, from, &lock)?)
    };
    let request = Request::current();
    let found = find_in_scope(&namespace, &scope, name, version, request.report(&Silent, Stage::Lookup));
    let address = found.map_err(|e| e.to_string())?;
    // Whoever asks for `dlopen` by name gets the same as whoever is linked against it.
    let owner = scope.iter().find(|o| o.memory.contains(address));
    Ok(owner.and_then(|o| replacement(o, name)).unwrap_or(address))
}

/// The objects that `dlsym` searches for a handle.
fn scope_of(handle: *mut c_void, from: Addr, lock: &Lock) -> Result<Vec<Arc<Object>>, String> {
    let host = host::look_silently(lock).map_err(|e| e.to_string())?;
    let program = host.startup().first().is_some_and(|o| is(o, handle));
    if handle == libc::RTLD_DEFAULT || program {
        return Ok(default_scope(&host, from, lock));
    }
    if handle == libc::RTLD_NEXT {
        let all = default_scope(&host, from, lock);
        let at = all.iter().position(|o| o.memory.contains(from));
        return at
            .map(|at| all[at + 1..].to_vec())
            .ok_or_else(|| "RTLD_NEXT used in code not dynamically loaded".into());
    }
    for namespace in init::namespaces(lock) {
        let members = namespace.members(lock);
        if let Some(member) = members.iter().find(|m| is(&m.object, handle)) {
            return Ok(members.closure(&member.object, &host));
        }
    }
    let object = host.objects.iter().find(|o| is(o, handle)).ok_or("invalid handle")?;
    Ok(Loader::process_wide().namespace.members(lock).closure(object, &host))
}

/// Everybody's scope, then that of the caller.
fn default_scope(host: &Host, from: Addr, lock: &Lock) -> Vec<Arc<Object>> {
    let members = loader_of(from, lock).namespace.members(lock);
    let mut scope = host.startup().to_vec();
    scope.extend(members.iter().filter(|m| m.global).map(|m| m.object.clone()));
    if let Some(caller) = members.iter().find(|m| m.object.memory.contains(from)) {
        scope.extend(members.closure(&caller.object, host));
    }
    let mut seen = Vec::new();
    scope.retain(|o| {
        !seen.contains(&o.tag.id) && {
            seen.push(o.tag.id);
            true
        }
    });
    scope
}

/// `dlerror`: the last error of this thread, once.
pub(crate) extern "C" fn dlerror() -> *const c_char {
    ERROR.with_borrow_mut(|(next, given)| {
        *given = next.take();
        given.as_deref().map_or(ptr::null(), CStr::as_ptr)
    })
}

/// `dladdr`: which object an address lies in, and the symbol nearest below it.
pub(crate) unsafe extern "C" fn dladdr(address: *const c_void, info: *mut libc::Dl_info) -> c_int {
    let lock = Lock::acquire();
    let address = Addr(address as u64);
    let own = init::namespaces(&lock)
        .into_iter()
        .find_map(|n| n.members(&lock).objects().find(|o| o.memory.contains(address)));
    let host = || host::look_silently(&lock).ok()?.owner(address).cloned();
    let Some(object) = own.or_else(host) else { return 0 };
    let at = object.bias().vaddr(address);
    let symbols = object.symbols();
    let nearest = symbols
        .exports()
        .filter(|(_, s, _)| {
            !s.is_tls() && !s.is_absolute() && s.value() <= at && (s.size() == 0 || at.0 < s.value().0 + s.size())
        })
        .max_by_key(|(_, s, _)| s.value());
    let (name, value) = match &nearest {
        Some((_, symbol, _)) => (symbols.name(symbol).as_ptr().cast(), symbol.address(object.bias()).0),
        None => (ptr::null(), 0),
    };
    // SAFETY: the caller passes room for a `Dl_info`. The strings live as long as the object: its own memory.
    unsafe {
        info.write(libc::Dl_info {
            dli_fname: (*object.handle()).l_name,
            dli_fbase: ptr::with_exposed_provenance_mut((object.bias() + object.memory.span().start).0 as usize),
            dli_sname: name,
            dli_saddr: ptr::with_exposed_provenance_mut(value as usize),
        });
    }
    1
}

//! `dlopen`, `dlmopen`, `dlclose`: libraries come and go.

use std::collections::BTreeMap;
use std::ffi::{c_char, c_int, c_long, c_void};
use std::ptr;
use std::sync::{Arc, Weak};

use nix::errno::Errno;
use nix::libc;

use super::errors::{fail, forget, wording};
use super::{enough_memory, is, not_meanwhile, process_wide, symbol};
use crate::elf::addr::Addr;
use crate::host::{self, Host};
use crate::load;
use crate::load::needed::Target;
use crate::lock::{Guarded, Lock};
use crate::lookup::scope::c_name;
use crate::namespace::{Namespace, namespaces};
use crate::object::{LinkMap, Object};
use crate::policy::Mode;
use crate::text::escape;

/// `LM_ID_BASE` and `LM_ID_NEWLM` of `<dlfcn.h>`.
const BASE: c_long = 0;
const NEW: c_long = -1;

/// The bits that `dlopen` knows; the last is `__RTLD_SPROF` of glibc's `sprof`.
const MODES: c_int = libc::RTLD_LAZY
    | libc::RTLD_NOW
    | libc::RTLD_NOLOAD
    | libc::RTLD_DEEPBIND
    | libc::RTLD_GLOBAL
    | libc::RTLD_NODELETE
    | 0x4000_0000;

/// The namespaces that `dlmopen` made. The first has the number 1, because 0 is `LM_ID_BASE`. The number of one whose last
/// library is gone is free, and the next one gets it.
static MORE: Guarded<Vec<Option<Arc<Namespace>>>> = Guarded::new(Vec::new());

/// The handles that were given out: the namespaces and tags of their libraries. A close finds its library here. Handles of
/// libraries that are gone may still be here.
static HANDLES: Guarded<BTreeMap<usize, (Weak<Namespace>, u32)>> = Guarded::new(BTreeMap::new());

/// How often each of the host's objects was opened through dlscope and not closed, by handle.
static USES_OF_HOST: Guarded<BTreeMap<usize, usize>> = Guarded::new(BTreeMap::new());

/// `dlopen`. An exception that a constructor throws passes through. `from` is the return address of the call: it tells
/// which library is calling. Null is an error, with a message for `dlerror`. With `RTLD_NOLOAD`, null without a message
/// is a library that is not loaded.
///
/// # Safety
/// As `dlopen`: `file` is null or a C string, and the library's constructors may run.
pub unsafe extern "C-unwind" fn dlopen_from(file: *const c_char, mode: c_int, from: *const c_void) -> *mut c_void {
    let _apart = Apart::begin();
    // SAFETY: the caller passes null or a C string.
    let name = unsafe { c_name(file) }.map(escape);
    forget();
    if let Err(message) = not_meanwhile().and_then(|()| enough_memory()) {
        return answer(Err(Some(message.into())));
    }
    let lock = Lock::acquire();
    if mode & !MODES != 0 {
        return answer(Err(Some("invalid mode parameter".into())));
    }
    let namespace = namespace_of(Addr(from as u64), &lock);
    answer(open(&namespace, name.as_deref().unwrap_or_default(), mode, Addr(from as u64), &lock))
}

/// `dlmopen`. `from` is the return address of the call. A new namespace shares the host's objects with all others:
/// glibc would load a second libc into it, which dlscope never does.
///
/// # Safety
/// As [`dlopen_from`].
pub unsafe extern "C-unwind" fn dlmopen_from(
    space: c_long,
    file: *const c_char,
    mode: c_int,
    from: *const c_void,
) -> *mut c_void {
    let _apart = Apart::begin();
    // SAFETY: the caller passes null or a C string.
    let name = unsafe { c_name(file) }.map(escape);
    forget();
    if let Err(message) = not_meanwhile().and_then(|()| enough_memory()) {
        return answer(Err(Some(message.into())));
    }
    let lock = Lock::acquire();
    answer(open_in(space, name.as_deref().unwrap_or_default(), mode, Addr(from as u64), &lock))
}

/// While this lives, the thread is not cancelled: the loader's own system calls are cancellation points, and glibc's `dlopen`
/// has none. At its end `errno` is as it was. It ends, too, if a constructor throws an exception.
struct Apart {
    errno: i32,
    state: c_int,
}

unsafe extern "C" {
    /// pthread_setcancelstate(3).
    fn pthread_setcancelstate(state: c_int, before: *mut c_int) -> c_int;
}

impl Apart {
    fn begin() -> Apart {
        const DISABLE: c_int = 1;
        let mut apart = Apart { errno: Errno::last_raw(), state: 0 };
        // SAFETY: room for the state before.
        unsafe { pthread_setcancelstate(DISABLE, &mut apart.state) };
        apart
    }
}

impl Drop for Apart {
    fn drop(&mut self) {
        // SAFETY: the state that it had.
        unsafe { pthread_setcancelstate(self.state, ptr::null_mut()) };
        Errno::set_raw(self.errno);
    }
}

fn answer(opened: Result<*const LinkMap, Option<String>>) -> *mut c_void {
    opened.map_or_else(
        |message| {
            if let Some(message) = message {
                fail(message);
            }
            ptr::null_mut()
        },
        |handle| handle.cast_mut().cast(),
    )
}

fn open_in(space: c_long, name: &str, mode: c_int, from: Addr, lock: &Lock) -> Result<*const LinkMap, Option<String>> {
    if space == BASE {
        return open(process_wide(), name, mode, from, lock);
    }
    if name.is_empty() {
        return Err(Some("invalid namespace: Invalid argument".into()));
    }
    if mode & libc::RTLD_GLOBAL != 0 {
        return Err(Some(format!("{name}: invalid mode for dlopen(): Invalid argument")));
    }
    if space == NEW {
        let (policy, probe) = (process_wide().policy.clone(), process_wide().probe.clone());
        let namespace = Arc::new(Namespace::new(policy, probe));
        // The namespace is noted before constructors run, which may ask for its number.
        let mut more = MORE.borrow(lock);
        match more.iter_mut().find(|place| place.is_none()) {
            Some(free) => *free = Some(namespace.clone()),
            None => more.push(Some(namespace.clone())),
        }
        drop(more);
        return open(&namespace, name, mode, from, lock).inspect_err(|_| forget_if_empty(&namespace, lock));
    }
    let known = usize::try_from(space - 1).ok().and_then(|at| MORE.borrow(lock).get(at).cloned().flatten());
    let namespace = known.ok_or_else(|| format!("{name}: invalid target namespace in dlmopen(): Invalid argument"))?;
    open(&namespace, name, mode, from, lock)
}

/// The number of a namespace, as `RTLD_DI_LMID` gives it.
pub(super) fn number_of(namespace: &Arc<Namespace>, lock: &Lock) -> c_long {
    let is_it = |place: &Option<Arc<Namespace>>| place.as_ref().is_some_and(|n| Arc::ptr_eq(n, namespace));
    let at = MORE.borrow(lock).iter().position(is_it);
    at.map_or(BASE, |at| at as c_long + 1)
}

/// Gives up the number of a namespace of `dlmopen` in which no library is left.
fn forget_if_empty(namespace: &Arc<Namespace>, lock: &Lock) {
    let number = number_of(namespace, lock);
    if number != BASE && namespace.members(lock).is_empty() {
        let gone = MORE.borrow(lock)[number as usize - 1].take();
        drop(gone);
    }
}

/// `dlopen` into `namespace`. `Err(None)`: the library is not loaded, and with `RTLD_NOLOAD` that is no error.
fn open(
    namespace: &Arc<Namespace>,
    name: &str,
    mode: c_int,
    from: Addr,
    lock: &Lock,
) -> Result<*const LinkMap, Option<String>> {
    if mode & (libc::RTLD_NOW | libc::RTLD_LAZY) == 0 {
        let colon = if name.is_empty() { "" } else { ": " };
        return Err(Some(format!("{name}{colon}invalid mode for dlopen(): Invalid argument")));
    }
    host::ask_for(name, lock);
    let host = host::look_silently(lock).map_err(|e| wording(&e))?;
    if name.is_empty() {
        // `dlopen(NULL)` opens the program, whose scope is the global scope.
        let program = host.startup().first().ok_or_else(|| Some("the program is not known".into()))?;
        used(program, &host, lock);
        return Ok(program.handle());
    }
    if mode & libc::RTLD_NOLOAD != 0
        && !load::is_here(namespace, name, Some(from), &host, lock).map_err(|e| wording(&e))?
    {
        return Err(None);
    }
    let mode = Mode {
        global: mode & libc::RTLD_GLOBAL != 0,
        pinned: mode & libc::RTLD_NODELETE != 0,
        deep: mode & libc::RTLD_DEEPBIND != 0,
        lazy: mode & libc::RTLD_NOW == 0,
    };
    // SAFETY: whoever calls `dlopen` answers for what it opens.
    let opened = unsafe { load::open(namespace, Target::Name(name), mode, Some(from)) }.map_err(|e| wording(&e))?;
    let handle = opened.root.handle();
    HANDLES.borrow(lock).insert(handle.addr(), (Arc::downgrade(namespace), opened.root.tag.id));
    if let Some(object) = host.objects.iter().find(|o| is(o, handle.cast_mut().cast())) {
        used(object, &host, lock);
    }
    symbol::find_out(&opened.root, namespace, lock);
    Ok(handle)
}

/// The namespace of the calling library. For any other caller it is the process-wide one.
pub(super) fn namespace_of(from: Addr, lock: &Lock) -> Arc<Namespace> {
    let has_caller = |n: &Arc<Namespace>| n.members(lock).iter().any(|m| m.object.memory.contains(from));
    namespaces(lock).into_iter().find(has_caller).unwrap_or_else(|| process_wide().clone())
}

/// `dlclose`.
///
/// # Safety
/// As `dlclose`: nothing of the library is used any more by whoever opened it.
pub unsafe extern "C" fn dlclose(handle: *mut c_void) -> c_int {
    forget();
    let closed = not_meanwhile().map_err(String::from).and_then(|()| close(handle, &Lock::acquire()));
    closed.map_or_else(
        |message| {
            fail(message);
            -1
        },
        |()| 0,
    )
}

/// The member whose handle this is, if `dlopen` gave it.
fn opened(handle: *mut c_void, lock: &Lock) -> Option<(Arc<Namespace>, u32)> {
    let (namespace, id) = HANDLES.borrow(lock).get(&handle.addr())?.clone();
    let namespace = namespace.upgrade()?;
    let is_still = namespace.members(lock).get(id).is_some_and(|member| is(&member.object, handle));
    is_still.then_some((namespace, id))
}

/// The member whose handle this is, by asking each.
fn seek(handle: *mut c_void, lock: &Lock) -> Option<(Arc<Namespace>, u32)> {
    namespaces(lock).into_iter().find_map(|namespace| {
        let id = namespace.members(lock).iter().find(|m| is(&m.object, handle))?.object.tag.id;
        Some((namespace, id))
    })
}

fn close(handle: *mut c_void, lock: &Lock) -> Result<(), String> {
    let not_open = |object: &Object| format!("{}: shared object not open", object.label());
    if let Some((namespace, id)) = opened(handle, lock).or_else(|| seek(handle, lock)) {
        let members = namespace.members(lock);
        let Some(member) = members.get(id) else { return Err("shared object not open".into()) };
        return match member.opens {
            // The library is never unloaded (RTLD_NODELETE), so closing it once too often changes nothing.
            0 if member.pinned => Ok(()),
            0 => Err(not_open(&member.object)),
            _ => {
                drop(members);
                // SAFETY: whoever calls `dlclose` uses nothing of the library any more.
                unsafe { load::close::close(&namespace, id) };
                if namespace.members(lock).get(id).is_none() {
                    HANDLES.borrow(lock).remove(&handle.addr());
                    forget_if_empty(&namespace, lock);
                }
                Ok(())
            }
        };
    }
    let host = host::look_silently(lock).map_err(|error| wording(&error))?;
    let object = host.objects.iter().find(|o| is(o, handle)).ok_or("shared object not open")?;
    // dlscope never unloads an object of the host. But a use that did not begin here cannot be ended here.
    let mut uses = USES_OF_HOST.borrow(lock);
    let uses = uses.entry(handle.addr()).or_insert_with(|| begun_by_the_system(object, &host));
    *uses = uses.checked_sub(1).ok_or_else(|| not_open(object))?;
    Ok(())
}

/// Notes one more use of a host object, by its handle.
fn used(object: &Object, host: &Host, lock: &Lock) {
    let mut uses = USES_OF_HOST.borrow(lock);
    *uses.entry(object.handle().addr()).or_insert_with(|| begun_by_the_system(object, host)) += 1;
}

/// How often the system opened an object of the host: the program once. The libraries that came with it count as not
/// opened.
fn begun_by_the_system(object: &Object, host: &Host) -> usize {
    usize::from(host.startup().first().is_some_and(|program| program.tag == object.tag))
}

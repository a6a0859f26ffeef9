//! `dlsym` and `dlvsym`: addresses by name, in the scope that a handle means.

use std::ffi::{c_char, c_void};
use std::sync::Arc;
use std::{ptr, slice};

use nix::libc;

use super::errors::{fail, fail_with, forget, wording};
use super::handles::{self, Meaning};
use super::open::namespace_of;
use super::{is, not_meanwhile, process_wide, program_name, program_name_bytes, replacement, replacement_of};
use crate::elf::addr::Addr;
use crate::event::Report;
use crate::host::startup::{self, Answer};
use crate::host::{self, Host};
use crate::library::{address, everybodys, no_such_symbol};
use crate::lock::Lock;
use crate::lookup::scope::c_name;
use crate::memory::{NothingAround, Watch};
use crate::namespace::{Namespace, anyone_listens, namespaces, nothing_is_loaded};
use crate::object::Object;
use crate::runtime::present::{self, Present};
use crate::runtime::{ifunc, unwind};
use crate::thread::words;
use rustc_hash::FxHashSet as Set;

/// `dlsym`, with the return address of the caller.
///
/// # Safety
/// As `dlsym`: `name` is a C string.
pub unsafe extern "C" fn dlsym_from(handle: *mut c_void, name: *const c_char, from: *const c_void) -> *mut c_void {
    // SAFETY: the caller keeps what this function's `# Safety` section asks for.
    unsafe { dlvsym_from(handle, name, ptr::null(), from) }
}

/// `dlvsym`, with the return address of the caller.
///
/// # Safety
/// As `dlvsym`: `name` is a C string, `version` one or null.
pub unsafe extern "C" fn dlvsym_from(
    handle: *mut c_void,
    name: *const c_char,
    version: *const c_char,
    from: *const c_void,
) -> *mut c_void {
    // SAFETY: the caller keeps what this function's `# Safety` section asks for.
    let (name, version) = unsafe { (c_name(name).unwrap_or_default(), c_name(version)) };
    forget();
    if version.is_none()
        // SAFETY: as above; a handle that was closed is no handle.
        && let Some(answer) = unsafe { handles::find(handle, name) }
    {
        return answer;
    }
    if let Some(answer) = at_once(handle, name, version, Addr(from as u64)) {
        return answer;
    }
    let _asking = Asking::begin();
    match symbol(handle, name, version, Addr(from as u64)) {
        Ok(address) => handles::pointer(address),
        Err(message) => {
            fail(message);
            ptr::null_mut()
        }
    }
}

/// The answer, with its error noted, where the start-up objects suffice: for callers that ask for `RTLD_DEFAULT`,
/// `RTLD_NEXT`, the program or one of its libraries. glibc allocates nothing then, and allocators rely on it: whoever asks may
/// be one, called by ourselves or before its own constructors. Where somebody listens, only those are answered so.
fn at_once(handle: *mut c_void, name: &[u8], version: Option<&[u8]>, from: Addr) -> Option<*mut c_void> {
    let is_nested = handles::is_nested();
    if anyone_listens() && !is_nested {
        return None;
    }
    let all = startup::all();
    let program = all.first()?;
    let (scope, whose) = match handle {
        handle if ptr::eq(handle.cast(), program.map) => (all, program),
        // Those of start-up stand first in everybody's scope, and that first in the scope of most libraries.
        libc::RTLD_DEFAULT => (all, startup::owner(from).or_else(|| asks_everybody_first(from).then_some(program))?),
        libc::RTLD_NEXT => {
            let caller = startup::owner(from)?;
            let at = all.iter().position(|object| ptr::eq(object, caller))?;
            (&all[at + 1..], caller)
        }
        // What the library needs is asked after itself.
        _ => {
            let at = all.iter().position(|object| ptr::eq(object.map, handle.cast()))?;
            (&all[at..=at], &all[at])
        }
    };
    // A library that prefers its own definitions is the first that it asks (glibc: `l_symbolic_searchlist`).
    let own = if handle == libc::RTLD_DEFAULT && whose.is_symbolic { slice::from_ref(whose) } else { &[] };
    let is_whole = [libc::RTLD_DEFAULT, libc::RTLD_NEXT].contains(&handle) || ptr::eq(handle.cast(), program.map);
    let answer = match startup::find(name, version, own) {
        Answer::Missing => startup::find(name, version, scope),
        answer => answer,
    };
    match answer {
        Answer::At { address, is_ifunc, object } => {
            let ours = replacement_of(name, startup::is_c_library(object.map));
            let report = Report::silent();
            // SAFETY: glibc has relocated all start-up objects, so their resolvers may be called.
            let resolve = || unsafe { ifunc::resolve(address, &NothingAround, &mut Watch::default(), report) };
            Some(handles::pointer(ours.unwrap_or_else(|| if is_ifunc { resolve() } else { address })))
        }
        Answer::Missing if is_nested || is_whole && nothing_is_loaded() => {
            let whose = if ptr::eq(whose, program) { program_name_bytes() } else { startup::name(whose.map) };
            let (comma, version) = version.map_or((&b""[..], &b""[..]), |version| (b", version ", version));
            fail_with(&[whose, b": undefined symbol: ", name, comma, version]);
            Some(ptr::null_mut())
        }
        Answer::Missing | Answer::NotEnough => None,
    }
}

/// Whether `from` lies in a library that we loaded, without `RTLD_DEEPBIND`, and that does not ask itself first.
fn asks_everybody_first(from: Addr) -> bool {
    let own = |each: &&Present| each.object.memory.contains(from);
    present::now()
        .is_some_and(|now| now.iter().find(own).is_some_and(|each| !each.deep && !each.object.dynamic.symbolic))
}

/// A `dlsym` that takes the long way, while it lives.
struct Asking;

impl Asking {
    fn begin() -> Asking {
        words(|words| words.asking.set(words.asking.get() + 1));
        Asking
    }
}

impl Drop for Asking {
    fn drop(&mut self) {
        words(|words| words.asking.set(words.asking.get() - 1));
    }
}

fn symbol(handle: *mut c_void, name: &[u8], version: Option<&[u8]>, from: Addr) -> Result<Addr, String> {
    not_meanwhile()?;
    let (namespace, Asked { meaning, whose }) = {
        let lock = Lock::acquire();
        (namespace_of(from, &lock), scope_of(handle, from, &lock)?)
    };
    let Meaning { scope, directory } = &*meaning;
    let label = || scope.first().map_or(String::new(), |o| o.label());
    let found = address(&namespace, scope, directory, name, version, &label);
    let found =
        found.and_then(|found| found.ok_or_else(|| no_such_symbol(name, version, label(), directory.names(scope))));
    let address = found.map_err(|mut error| {
        error.object = whose;
        wording(&error)
    })?;
    // Whoever asks for `dlopen` by name gets the same as whoever is linked against it.
    let owner = meaning.scope.iter().find(|o| o.memory.contains(address));
    if let Some(owner) = owner.filter(|o| handle == libc::RTLD_DEFAULT && !o.is_host()) {
        keep(owner, &namespace, from);
    }
    Ok(owner.and_then(|o| replacement(o, name)).unwrap_or(address))
}

/// Who found a symbol in everybody's scope did not say how long it will use it: so its object stays as long as the
/// caller does, and for a caller of the host that is for good. glibc `add_dependency`.
fn keep(owner: &Object, namespace: &Namespace, from: Addr) {
    let lock = Lock::acquire();
    let (own, _) = caller(from, &lock);
    namespace.change(&lock, |members| match own {
        Some(own) => members.bind(own.tag.id, owner.tag.id),
        None => {
            if let Some(member) = members.get_mut(owner.tag.id) {
                member.pinned = true;
            }
        }
    });
}

/// The objects that are searched, and whose scope it is, for an error.
struct Asked {
    meaning: Arc<Meaning>,
    whose: String,
}

impl Asked {
    /// A scope of this one call.
    fn once(scope: Vec<Arc<Object>>, whose: String) -> Asked {
        Asked { meaning: Arc::new(Meaning { scope, ..Meaning::default() }), whose }
    }
}

fn scope_of(handle: *mut c_void, from: Addr, lock: &Lock) -> Result<Asked, String> {
    let host = host::look_silently(lock).map_err(|e| wording(&e))?;
    let whose = |object: Option<&Arc<Object>>| match object {
        Some(object) if host.startup().first().is_none_or(|p| p.tag.id != object.tag.id) => object.label(),
        _ => program_name(),
    };
    if handle == libc::RTLD_DEFAULT {
        let (own, _) = caller(from, lock);
        let whose = whose(own.as_ref().or_else(|| host.owner(from)));
        return Ok(Asked::once(default_scope(&host, from, lock), whose));
    }
    if host.startup().first().is_some_and(|o| is(o, handle)) {
        return Ok(Asked::once(everybodys(host.startup(), process_wide(), lock), program_name()));
    }
    if handle == libc::RTLD_NEXT {
        return next_scope(&host, from, lock)
            .map(|(scope, object)| Asked::once(scope, whose(Some(&object))))
            .ok_or_else(|| "RTLD_NEXT used in code not dynamically loaded".into());
    }
    for namespace in namespaces(lock) {
        let found = namespace.members(lock).iter().find(|m| is(&m.object, handle)).map(|m| m.object.clone());
        if let Some(object) = found {
            return Ok(Asked { meaning: meaning_of(&object, handle, &namespace, &host, lock), whose: object.label() });
        }
    }
    let object = host.find(|o| is(o, handle), lock).ok_or("invalid handle")?;
    let scope = process_wide().members(lock).closure(&object, &host);
    Ok(Asked::once(scope, whose(Some(&object))))
}

/// Finds out what the handle of a library that was just opened means, before a signal handler asks.
pub(super) fn find_out(object: &Arc<Object>, namespace: &Namespace, lock: &Lock) {
    // The load may have made the host open something.
    if !object.is_host()
        && unwind::is_interposed()
        && let Ok(host) = host::look_silently(lock)
    {
        meaning_of(object, object.handle().cast_mut().cast(), namespace, &host, lock);
    }
}

/// The meaning of a loaded library's handle, which never changes; found out once.
fn meaning_of(
    object: &Arc<Object>,
    handle: *mut c_void,
    namespace: &Namespace,
    host: &Host,
    lock: &Lock,
) -> Arc<Meaning> {
    let when = crate::namespace::changes();
    if let Some(known) = handles::meaning(object.tag.id) {
        handles::remember(handle, &known, when);
        handles::show_meaning(object, &known);
        return known;
    }
    let scope = namespace.members(lock).closure(object, host);
    let made = Arc::new(Meaning { scope, ..Meaning::default() });
    handles::note_meaning(object.tag.id, &made);
    handles::show_meaning(object, &made);
    namespace.change(lock, |members| {
        if let Some(member) = members.get_mut(object.tag.id) {
            member.kept.push(made.clone());
        }
    });
    made
}

/// The loaded library that holds the calling code, and its namespace; else the process-wide one.
fn caller(from: Addr, lock: &Lock) -> (Option<Arc<Object>>, Arc<Namespace>) {
    let namespace = namespace_of(from, lock);
    let own = namespace.members(lock).iter().find(|m| m.object.memory.contains(from)).map(|m| m.object.clone());
    (own, namespace)
}

/// `RTLD_DEFAULT`: everybody's scope, then that of the caller, or the other way round if the caller was opened with
/// `RTLD_DEEPBIND`. A caller that was linked with `-Bsymbolic` comes before both. glibc: `l_scope`.
fn default_scope(host: &Host, from: Addr, lock: &Lock) -> Vec<Arc<Object>> {
    let (own, namespace) = caller(from, lock);
    let mut scope = everybodys(host.startup(), &namespace, lock);
    if let Some(own) = &own {
        let members = namespace.members(lock);
        let local = members.local_scope(own, host);
        let deep = members.get(own.tag.id).is_some_and(|m| m.deep);
        scope = if deep { [local, scope].concat() } else { [scope, local].concat() };
    }
    let caller = own.as_ref().or_else(|| host.owner(from));
    scope.splice(0..0, caller.filter(|caller| caller.dynamic.symbolic).cloned());
    let mut seen = Set::default();
    scope.retain(|o| seen.insert(o.tag.id));
    scope
}

/// `RTLD_NEXT`: what comes behind the caller in its local scope; for start-up objects, everybody's. glibc:
/// `l_local_scope` of the outermost loader.
fn next_scope(host: &Host, from: Addr, lock: &Lock) -> Option<(Vec<Arc<Object>>, Arc<Object>)> {
    let (own, namespace) = caller(from, lock);
    let (all, object) = match own {
        Some(own) => (namespace.members(lock).local_scope(&own, host), own),
        None => (everybodys(host.startup(), &namespace, lock), host.owner(from)?.clone()),
    };
    let at = all.iter().position(|o| o.tag.id == object.tag.id)?;
    Some((all[at + 1..].to_vec(), object))
}

//! `dlsym` with a handle that was used before: without the loader's lock, and without asking what the handle means.
//!
//! Each thread remembers a few handles with the scopes that they mean. That holds as long as nothing was opened or
//! closed since, in any namespace. What it does not remember stands with the objects that are there
//! (`runtime/present.rs`). Where anybody listens, and for symbols that are more than an address, the long way is taken.
//!
//! An allocator or a signal handler may ask in the middle of another call of the same thread. It is answered from what is
//! complete: neither an index nor a symbol table is made then.

use std::ffi::c_void;
use std::ptr;
use std::sync::atomic::{Ordering, compiler_fence};
use std::sync::{Arc, Weak};

use super::{errors, replacement};
use crate::elf::addr::Addr;
use crate::elf::symbol::{Class, Want, Wanted};
use crate::event::Report;
use crate::host::startup;
use crate::lock::{Shared, is_borrowing};
use crate::lookup::directory::Directory;
use crate::lookup::index::Known;
use crate::memory::{NothingAround, Watch};
use crate::namespace;
use crate::object::Object;
use crate::runtime::{ifunc, present};
use crate::thread::words;

/// What the handles of loaded libraries mean, by the tag of the library. The library's member of its namespace owns each,
/// so that it ends with the library.
static MEANINGS: Shared<Vec<(u32, Weak<Meaning>)>> = Shared::new(Vec::new());

/// What the handle of the library with this tag means, if that was found out before.
pub(super) fn meaning(tag: u32) -> Option<Arc<Meaning>> {
    MEANINGS.with(|all| all.iter().find(|(of, _)| *of == tag)?.1.upgrade())
}

/// Notes what was found out.
pub(super) fn note_meaning(tag: u32, meaning: &Arc<Meaning>) {
    MEANINGS.with(|all| {
        all.retain(|(_, meaning)| meaning.strong_count() > 0);
        all.push((tag, Arc::downgrade(meaning)));
    });
}

/// What the handle of a loaded library means.
#[derive(Default)]
pub(crate) struct Meaning {
    /// The library and its dependencies, breadth first.
    pub scope: Vec<Arc<Object>>,
    /// Makes lookups there fast.
    pub directory: Directory,
}

const NONE: (*mut c_void, *const c_void) = (ptr::null_mut(), ptr::null());

/// Remembers what a handle means, by some bits of the handle. `when`: [`namespace::changes`] from before it was found
/// out. What was remembered at another time is forgotten.
///
/// A signal handler may look in between, so no handle ever stands beside what another one means.
pub(super) fn remember(handle: *mut c_void, meaning: &Arc<Meaning>, when: u64) {
    let meaning = Arc::as_ptr(meaning).cast();
    words(|words| {
        if words.recent_when.get() != when {
            words.recent.iter().for_each(|recent| recent.set(NONE));
            compiler_fence(Ordering::SeqCst);
            words.recent_when.set(when);
        }
        for half in [NONE, (ptr::null_mut(), meaning), (handle, meaning)] {
            compiler_fence(Ordering::SeqCst);
            words.recent[slot(handle)].set(half);
        }
    });
}

/// Notes what the handle of `object` means for whoever may not wait, if that is kept.
pub(super) fn show_meaning(object: &Object, meaning: &Arc<Meaning>) {
    let Some(now) = present::now() else { return };
    if let Some(each) = now.iter().find(|each| each.object.tag.id == object.tag.id) {
        let _ = each.meaning.set(meaning.clone());
    }
}

/// What it means, if that was remembered and is still true.
fn remembered(handle: *mut c_void) -> Option<*const Meaning> {
    let (of, meaning) = words(|words| {
        let is_true = words.recent_when.get() == namespace::changes();
        if is_true { words.recent[slot(handle)].get() } else { NONE }
    });
    (of == handle && !meaning.is_null()).then(|| meaning.cast())
}

fn slot(handle: *mut c_void) -> usize {
    // An allocator gives multiples of 16, and the next one is often a few hundred bytes on.
    (handle.addr() >> 4 ^ handle.addr() >> 9) % 8
}

/// The answer of `dlsym`, with its error noted, where it can be given at once.
///
/// # Safety
/// `handle` is one that `dlopen` gave and that is not closed yet, or it is none at all.
pub(super) unsafe fn find(handle: *mut c_void, name: &[u8]) -> Option<*mut c_void> {
    let is_nested = is_nested();
    if namespace::anyone_listens() && !is_nested {
        return None;
    }
    if let Some(meaning) = remembered(handle) {
        // SAFETY: nothing was closed since its member owned it; and nothing will be that the caller holds open.
        return unsafe { &*meaning }.find(name, is_nested);
    }
    let now = present::now()?;
    let owner = now.iter().find(|each| ptr::eq(each.object.handle().cast(), handle))?;
    owner.meaning.get()?.downcast_ref::<Meaning>()?.find(name, is_nested)
}

impl Meaning {
    fn find(&self, name: &[u8], is_nested: bool) -> Option<*mut c_void> {
        let Meaning { scope, directory } = self;
        let wanted = || Wanted::new(name, Want::Newest, Class::Address);
        let found = match directory.known(scope, name) {
            Known::At(address, owner) => Some((address, &**scope.get(owner)?)),
            Known::Missing => None,
            Known::NotEnough if is_nested => find_in_turn(scope, &wanted())?,
            Known::NotEnough => match directory.find(scope, &wanted()) {
                Some(definition) if definition.symbol.is_where_it_seems() => {
                    Some((definition.address, definition.object?))
                }
                // What that means takes more than its scope.
                Some(_) => return None,
                None => None,
            },
        };
        match found {
            Some((address, owner)) => {
                // Whoever asks for `dlopen` by name gets the same as whoever is linked against it.
                let ours = if owner.is_host() { replacement(owner, name) } else { None };
                Some(pointer(ours.unwrap_or(address)))
            }
            None if name.is_ascii() => {
                let label = scope.first().map_or("", |object| &object.tag.name);
                errors::fail_with(&[label.as_bytes(), b": undefined symbol: ", name]);
                Some(ptr::null_mut())
            }
            None => None,
        }
    }
}

/// The first definition in `scope`, found with what is complete already. `None`: that does not suffice.
fn find_in_turn<'s>(scope: &'s [Arc<Object>], wanted: &Wanted<'_>) -> Option<Option<(Addr, &'s Object)>> {
    for object in scope {
        let symbol = if object.is_host() {
            let startup = startup::all().iter().find(|startup| ptr::eq(startup.map, object.handle()))?;
            startup.find(wanted, None)
        } else {
            object.symbols().find(wanted, &mut ()).map(|(_, symbol)| symbol)
        };
        match symbol {
            None => {}
            Some(symbol) if symbol.is_tls() || symbol.is_unique() => return None,
            Some(symbol) => {
                let mut address = symbol.address(object.bias());
                if symbol.is_ifunc() {
                    let report = Report::silent();
                    // SAFETY: a library in a handle's scope is complete; its resolvers may be called.
                    address = unsafe { ifunc::resolve(address, &NothingAround, &mut Watch::default(), report) };
                }
                return Some(Some((address, object)));
            }
        }
    }
    Some(None)
}

/// Whether this thread is in the middle of another call of the loader: an allocator asks, or a signal handler.
pub(super) fn is_nested() -> bool {
    is_borrowing() || words(|words| words.asking.get() > 0)
}

pub(super) fn pointer(address: Addr) -> *mut c_void {
    ptr::with_exposed_provenance_mut(address.0 as usize)
}

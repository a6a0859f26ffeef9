//! The objects as they are at this moment, for whoever may not wait: signal handlers, allocators, unwinders.
//!
//! A list never changes once it is published; a change publishes another one. A reader takes no lock and allocates
//! nothing. What it has seen stays mapped until it is done, so an object that left the list is given up when nobody reads
//! an older list any more: by the next change if need be. Kept where the unwinder's questions come to us
//! (`runtime/unwind.rs`).
//!
//! A list is copied at each load, so it has numbers and addresses alone: nothing of a thousand objects is touched for it.

use std::any::Any;
use std::ptr::{self, null_mut};
use std::sync::atomic::{AtomicPtr, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

use crate::lock::{self, Guarded, Lock};
use crate::namespace::namespaces;
use crate::object::Object;
use crate::runtime::tls;
use crate::thread::words;

/// One object.
pub(crate) struct Present {
    pub object: Arc<Object>,
    /// `RTLD_DEEPBIND`.
    pub deep: bool,
    pub tls: Option<Arc<tls::Module>>,
    /// What its handle means, once somebody has opened it: of `capi/handles.rs`.
    pub meaning: OnceLock<Arc<dyn Any + Send + Sync>>,
}

/// The tag of an object, and what is known of it: made by `Box::into_raw`.
#[derive(Clone, Copy)]
struct Entry {
    id: u32,
    present: *const Present,
}

// SAFETY: it leads to what any thread may look at, and only the lock's holder frees it.
unsafe impl Send for Entry {}

type List = Vec<Entry>;

/// What left the current list, while an older list may still be read.
static GONE: Guarded<List> = Guarded::new(Vec::new());

/// A place for a list. There are as many as lists that were read at a time, and one more; they stay for good.
struct Place {
    readers: AtomicUsize,
    list: AtomicPtr<List>,
}

static CURRENT: AtomicPtr<Place> = AtomicPtr::new(null_mut());
static PLACES: Guarded<Vec<&'static Place>> = Guarded::new(Vec::new());

/// The list, while it is read.
pub(crate) struct Reading(&'static Place);

/// The objects as they are now; `None` if that is not kept.
pub(crate) fn now() -> Option<Reading> {
    loop {
        // SAFETY: null or a place, which stays for good.
        let place = unsafe { CURRENT.load(Ordering::SeqCst).as_ref() }?;
        // Counted first, looked at then: a writer changes the current place first, and looks at the count then. So one of
        // the two sees the other.
        place.readers.fetch_add(1, Ordering::SeqCst);
        if ptr::eq(CURRENT.load(Ordering::SeqCst), place) {
            words(|words| words.reading.set(words.reading.get() + 1));
            return Some(Reading(place));
        }
        place.readers.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Reading {
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Present> {
        // SAFETY: the place was current while it was counted that this reads it, so it has a list, which stays until
        // nobody reads it.
        let list = unsafe { &*self.0.list.load(Ordering::SeqCst) };
        // SAFETY: what is in a list that is read stays (`unread`).
        list.iter().map(|entry| unsafe { &*entry.present })
    }
}

impl Drop for Reading {
    fn drop(&mut self) {
        self.0.readers.fetch_sub(1, Ordering::SeqCst);
        let outer = words(|words| words.reading.replace(words.reading.get() - 1)) - 1;
        // This thread has closed a library while it read: a callback did.
        if outer == 0 && words(|words| words.left_behind.replace(false)) {
            drop(unread(&Lock::acquire()));
        }
    }
}

/// Publishes what came, and leaves out the objects `gone`.
pub(super) fn publish(gone: &[u32], lock: &Lock) {
    let place = {
        let mut places = PLACES.borrow(lock);
        let current = CURRENT.load(Ordering::SeqCst);
        let is_free = |place: &&&'static Place| !ptr::eq(**place, current) && place.readers.load(Ordering::SeqCst) == 0;
        match places.iter().find(is_free) {
            Some(free) => *free,
            None => {
                let new: &'static Place =
                    Box::leak(Box::new(Place { readers: AtomicUsize::new(0), list: AtomicPtr::new(null_mut()) }));
                if places.is_empty() {
                    lock::in_child(forked);
                }
                places.push(new);
                new
            }
        }
    };
    let list = Box::into_raw(Box::new(changed(gone, lock)));
    let old = place.list.swap(list, Ordering::SeqCst);
    CURRENT.store(ptr::from_ref(place).cast_mut(), Ordering::SeqCst);
    if !old.is_null() {
        // SAFETY: the list of a place that nobody read and that was not current, so nobody does.
        drop(unsafe { Box::from_raw(old) });
    }
    if words(|words| words.reading.get()) > 0 {
        words(|words| words.left_behind.set(true));
        return;
    }
    // What is about to be unmapped is unmapped at once, if nobody else looks at it for long.
    for _ in 0..if gone.is_empty() { 0 } else { 20 } {
        if PLACES.borrow(lock).iter().all(|other| ptr::eq(*other, place) || other.readers.load(Ordering::SeqCst) == 0) {
            break;
        }
        std::thread::yield_now();
    }
    drop(unread(lock));
}

/// The current list without the objects `gone`, and with those that came.
fn changed(gone: &[u32], lock: &Lock) -> List {
    let place = CURRENT.load(Ordering::SeqCst);
    // SAFETY: null or a place; its list stays while it is current, and only the lock's holder changes that.
    let current = unsafe { place.as_ref().and_then(|place| place.list.load(Ordering::SeqCst).as_ref()) };
    let current = current.map_or(&[][..], |list| list);
    let (left, mut list): (List, List) = current.iter().partition(|entry| gone.contains(&entry.id));
    GONE.borrow(lock).extend(left);
    // Tags ascend.
    let last = current.iter().map(|entry| entry.id).max();
    for namespace in namespaces(lock) {
        let members = namespace.members(lock);
        list.extend(members.since(last).filter(|member| !gone.contains(&member.object.tag.id)).map(|member| {
            let object = member.object.clone();
            let tls = object.tls_module.and_then(tls::Module::find);
            let present = Present { object, deep: member.deep, tls, meaning: OnceLock::new() };
            Entry { id: member.object.tag.id, present: Box::into_raw(Box::new(present)) }
        }));
    }
    list
}

/// Takes the lists that are not current and that nobody reads, and what is in no other list. To be dropped when nothing is
/// borrowed.
fn unread(lock: &Lock) -> (Vec<List>, Vec<Present>) {
    let current = CURRENT.load(Ordering::SeqCst);
    let places = PLACES.borrow(lock);
    let old = || places.iter().filter(|place| !ptr::eq(**place, current));
    let is_unread = |place: &&&'static Place| place.readers.load(Ordering::SeqCst) == 0;
    // SAFETY: as in `publish`. The pointer is taken out, so the list is freed once.
    let take = |place: &&'static Place| unsafe {
        place.list.swap(null_mut(), Ordering::SeqCst).as_mut().map(|list| *Box::from_raw(list))
    };
    let lists = old().filter(is_unread).filter_map(take).collect();
    // A reader that comes now finds the current list, or looks again.
    let gone = if old().all(|place| is_unread(&place)) { std::mem::take(&mut *GONE.borrow(lock)) } else { Vec::new() };
    // SAFETY: made by `Box::into_raw`, once in `GONE`, and in no list that anybody reads.
    let gone = gone.into_iter().map(|entry| unsafe { *Box::from_raw(entry.present.cast_mut()) });
    (lists, gone.collect())
}

/// In the child of a fork only one thread is left to read.
fn forked() {
    if lock::is_borrowing() || words(|words| words.reading.get()) > 0 {
        return;
    }
    let lock = Lock::acquire();
    PLACES.borrow(&lock).iter().for_each(|place| place.readers.store(0, Ordering::SeqCst));
}

//! New threads and new static blocks never at once: where `pthread_create` is ours.
//!
//! `pthread_create` copies the template into the new thread's block before the kernel knows the thread. A library
//! whose variables are installed in between would be missed by both. Where a program's `pthread_create` is ours (the
//! preload), the two exclude each other, and the window is shut.

use std::sync::Once;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use crate::lock;
use crate::thread::words;

/// Threads that are in `pthread_create`.
static CREATING: AtomicU32 = AtomicU32::new(0);
/// Somebody installs: no new call begins.
static INSTALLING: AtomicBool = AtomicBool::new(false);

/// How deep this thread is in `pthread_create` or in an installation: an allocator in there may make a thread of its own,
/// which must not wait.
fn depth() -> u32 {
    words(|words| words.creating.get())
}

fn set_depth(depth: u32) {
    words(|words| words.creating.set(depth));
}

pub(crate) struct Creating;

/// A call of `pthread_create` lives as long as the answer does.
pub(crate) fn creating() -> Creating {
    static WATCHED: Once = Once::new();
    if !WATCHED.is_completed() {
        // A child forked in between would wait for the end of this for ever.
        lock::without_fork(|| WATCHED.call_once(|| lock::in_child(forked)));
    }
    set_depth(depth() + 1);
    if depth() == 1 {
        loop {
            CREATING.fetch_add(1, Ordering::SeqCst);
            if !INSTALLING.load(Ordering::SeqCst) {
                break;
            }
            CREATING.fetch_sub(1, Ordering::SeqCst);
            std::thread::yield_now();
        }
    }
    Creating
}

impl Drop for Creating {
    fn drop(&mut self) {
        set_depth(depth() - 1);
        if depth() == 0 {
            CREATING.fetch_sub(1, Ordering::SeqCst);
        }
    }
}

pub(super) struct Installing;

/// No thread is being created while the answer lives, but by this thread itself: an allocator may make one. The
/// loader's lock is held, so only one thread is here.
pub(super) fn installing() -> Installing {
    INSTALLING.store(true, Ordering::SeqCst);
    let own = u32::from(depth() > 0);
    set_depth(depth() + 1);
    while CREATING.load(Ordering::SeqCst) > own {
        std::thread::yield_now();
    }
    Installing
}

impl Drop for Installing {
    fn drop(&mut self) {
        set_depth(depth() - 1);
        INSTALLING.store(false, Ordering::SeqCst);
    }
}

/// In the child of a fork only this thread is left.
fn forked() {
    CREATING.store(u32::from(depth() > 0), Ordering::SeqCst);
    INSTALLING.store(false, Ordering::SeqCst);
}

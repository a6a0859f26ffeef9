//! The words of threads in a process without an arena: in tables, by thread pointer.
//!
//! Found and made without a lock, and outside of every allocator: whoever asks may be a signal handler. An entry is never
//! given back. A later thread with the same thread pointer takes it over, with what the former one left when it ended:
//! the tables and buffers were taken back by the destructors of their keys, and what else is there does no harm.

use std::mem::MaybeUninit;
use std::ptr::{self, null_mut};
use std::sync::atomic::{AtomicPtr, AtomicUsize, Ordering};

use super::{Buffer, Words, pointer};

/// Threads in one table: it takes a few pages.
const ENTRIES: usize = 128;

#[repr(C)]
struct Entry {
    /// Its thread pointer; 0: the entry is free.
    thread: AtomicUsize,
    /// Zeros at first, which are valid.
    words: MaybeUninit<Words>,
}

#[repr(C)]
struct Table {
    entries: [Entry; ENTRIES],
    /// The next table, if this one is full.
    more: AtomicPtr<Table>,
}

// SAFETY: words are only reached by the thread that the entry names; all else is atomic.
unsafe impl Sync for Table {}

// SAFETY: zeros are valid for atomics, and words are `MaybeUninit`.
static FIRST: Table = unsafe { MaybeUninit::zeroed().assume_init() };

/// The address of the calling thread's words.
#[cold]
pub(super) fn words() -> u64 {
    let me = pointer() as usize;
    let mut table = &FIRST;
    loop {
        // A thread pointer is a multiple of 64, and most stacks are a power of two.
        let from = (me >> 6 ^ me >> 13 ^ me >> 23) % ENTRIES;
        let (before, behind) = table.entries.split_at(from);
        let free_or_mine = |entry: &&Entry| {
            let owner = entry.thread.compare_exchange(0, me, Ordering::Relaxed, Ordering::Relaxed);
            owner.is_ok() || owner == Err(me)
        };
        if let Some(entry) = behind.iter().chain(before).find(free_or_mine) {
            return entry.words.as_ptr().expose_provenance() as u64;
        }
        table = table.more();
    }
}

impl Table {
    fn more(&self) -> &'static Table {
        let mut more = self.more.load(Ordering::Acquire);
        if more.is_null() {
            let pages = Buffer::map(size_of::<Table>());
            if pages.at.is_null() {
                eprintln!("dlscope: there is no memory for a thread");
                std::process::abort();
            }
            more = pages.at.cast();
            if let Err(other) = self.more.compare_exchange(null_mut(), more, Ordering::AcqRel, Ordering::Acquire) {
                pages.unmap();
                more = other;
            }
        }
        // SAFETY: whole pages, so aligned, and zeros at first, see `FIRST`; they stay for good.
        unsafe { &*more }
    }
}

/// In a forked child only the calling thread lives on: others that come get the same thread pointers, but nothing else.
pub(crate) fn forget_others() {
    let (me, mut table) = (pointer() as usize, &raw const FIRST);
    // SAFETY: null or a table, which stays for good.
    while let Some(each) = unsafe { table.as_ref() } {
        for entry in each.entries.iter().filter(|entry| ![0, me].contains(&entry.thread.load(Ordering::Relaxed))) {
            // SAFETY: the thread of this entry is not in this process, and no other one is there yet.
            unsafe { ptr::write_bytes(entry.words.as_ptr().cast_mut(), 0, 1) };
        }
        table = each.more.load(Ordering::Acquire);
    }
}

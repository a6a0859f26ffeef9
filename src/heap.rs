//! Memory for the loader alone, from the kernel: a program's allocator is never asked.
//!
//! An allocator may be who calls the loader: it asks `dlsym` for the real one, and must not be called back for that. It
//! may be in the middle of its work when a signal handler calls the loader. And a program that brings `malloc` and `free`
//! alone gets no other function of its family by accident. ld.so had an allocator of its own for the same reasons (glibc
//! `elf/dl-minimal-malloc.c`), until the program's was there.
//!
//! A library with the C ABI makes this its `#[global_allocator]`, as `examples/dlscope_preload.rs` does. Rust programs that
//! use dlscope as a crate keep the allocator that they have.
//!
//! | size | comes from | goes to |
//! |---|---|---|
//! | up to 64 KiB | the list of free blocks of its class, or the end of a chunk | the list of its class |
//! | more, or aligned to more than 16 | pages of its own | the kernel |
//! | any, where the kernel has nothing left | the reserve | the reserve |
//!
//! Blocks have no header: Rust tells the size of what it frees.

use std::alloc::{GlobalAlloc, Layout};
use std::cell::UnsafeCell;
use std::ptr::{self, null_mut};
use std::sync::atomic::{AtomicPtr, AtomicU64, AtomicUsize, Ordering};

use nix::libc;

use crate::elf::addr::PAGE;
use crate::thread::{Buffer, pointer};

/// The alignment of every block.
const ALIGN: usize = 16;
/// The largest block that is cut out of a chunk.
const LARGEST: usize = 64 << 10;
/// What the kernel is asked for at a time.
const CHUNK: usize = 256 << 10;
/// Sizes up to 128 are multiples of 16: classes 0 to 7. Above, there are four classes between two powers of two.
const CLASSES: usize = 8 + 4 * (LARGEST.ilog2() - 7) as usize;

/// The class of a size, and the size of its blocks.
const fn class(size: usize) -> (usize, usize) {
    if size <= 128 {
        let blocks = if size == 0 { 1 } else { size.div_ceil(ALIGN) };
        return (blocks - 1, blocks * ALIGN);
    }
    let power = (size - 1).ilog2();
    let (start, step) = (1 << power, 1 << (power - 2));
    let steps = (size - 1 - start) / step;
    (8 + 4 * (power as usize - 7) + steps, start + (steps + 1) * step)
}

/// Whether a layout gets pages of its own.
const fn is_large(layout: Layout) -> bool {
    layout.size() > LARGEST || layout.align() > ALIGN
}

/// The loader's own allocator. All values are the same one.
///
/// ```
/// #[global_allocator]
/// static HEAP: dlscope::capi::Heap = dlscope::capi::Heap;
/// # let numbers = (0..100_000).collect::<Vec<u64>>();
/// # assert_eq!(numbers.iter().sum::<u64>(), 4_999_950_000);
/// ```
#[derive(Debug, Clone, Copy)]
pub struct Heap;

/// A free block. It lies at the block's beginning.
struct Free {
    next: *mut Free,
    /// Only in [`LATER`], where blocks of all classes are.
    class: usize,
}

/// What is free. Only the thread that [`OWNER`] names touches it.
struct Blocks {
    lists: [*mut Free; CLASSES],
    /// The part of the chunk that was never used.
    next: *mut u8,
    left: usize,
}

struct Owned(UnsafeCell<Blocks>);

// SAFETY: the content is only reached by the thread that has set `OWNER`.
unsafe impl Sync for Owned {}

static BLOCKS: Owned = Owned(UnsafeCell::new(Blocks { lists: [null_mut(); CLASSES], next: null_mut(), left: 0 }));
/// The thread that is at work on [`BLOCKS`], by its thread pointer; 0: none.
static OWNER: AtomicUsize = AtomicUsize::new(0);
/// Blocks that signal handlers freed which had interrupted the owner.
static LATER: AtomicPtr<Free> = AtomicPtr::new(null_mut());

/// Shows what is free. `None`: this thread is at it already, and a signal handler has interrupted it.
fn with_blocks<R>(act: impl FnOnce(&mut Blocks) -> R) -> Option<R> {
    let me = pointer() as usize;
    let mut attempts = 0_u32;
    while let Err(owner) = OWNER.compare_exchange(0, me, Ordering::Acquire, Ordering::Relaxed) {
        if owner == me {
            return None;
        }
        // It is a matter of a few instructions, but their thread may not be running; and it may be one that yields to no
        // thread as important as this one.
        attempts += 1;
        let pause = libc::timespec { tv_sec: 0, tv_nsec: 50_000 };
        // SAFETY: both calls only let time pass.
        unsafe {
            match attempts {
                0..100 => libc::syscall(libc::SYS_sched_yield),
                _ => libc::syscall(libc::SYS_nanosleep, &raw const pause, 0),
            }
        };
    }
    // SAFETY: `OWNER` is this thread, and was nobody before: there is no other reference.
    let result = act(unsafe { &mut *BLOCKS.0.get() });
    OWNER.store(0, Ordering::Release);
    Some(result)
}

impl Blocks {
    fn take(&mut self, class: usize, size: usize) -> *mut u8 {
        if !LATER.load(Ordering::Relaxed).is_null() {
            self.take_back();
        }
        let first = self.lists[class];
        if !first.is_null() {
            // SAFETY: a block of the list, which nobody else uses.
            self.lists[class] = unsafe { (*first).next };
            return first.cast();
        }
        if self.left < size {
            // Less, if there is not so much.
            let chunk = Some(Buffer::map(CHUNK)).filter(|chunk| !chunk.at.is_null());
            let chunk = chunk.unwrap_or_else(|| Buffer::map(size));
            if chunk.at.is_null() {
                return null_mut();
            }
            (self.next, self.left) = (chunk.at, chunk.room);
        }
        let block = self.next;
        self.next = block.wrapping_add(size);
        self.left -= size;
        block
    }

    /// # Safety
    /// `block` is of this class, and nobody uses it.
    unsafe fn give_back(&mut self, block: *mut u8, class: usize) {
        let free = block.cast::<Free>();
        // SAFETY: every block has room for that, and is aligned to 16.
        unsafe { free.write(Free { next: self.lists[class], class }) };
        self.lists[class] = free;
    }

    fn take_back(&mut self) {
        let mut free = LATER.swap(null_mut(), Ordering::Acquire);
        while !free.is_null() {
            // SAFETY: freed by a handler, with its class; the list is this thread's alone since the exchange.
            unsafe {
                let Free { next, class } = free.read();
                self.give_back(free.cast(), class);
                free = next;
            }
        }
    }
}

/// Leaves a block to the next one who is at work.
///
/// # Safety
/// `block` is of this class, and nobody uses it.
unsafe fn free_later(block: *mut u8, class: usize) {
    let free = block.cast::<Free>();
    let mut next = LATER.load(Ordering::Relaxed);
    loop {
        // SAFETY: every block has room for that, and nobody else has this one yet.
        unsafe { free.write(Free { next, class }) };
        match LATER.compare_exchange(next, free, Ordering::Release, Ordering::Relaxed) {
            Ok(_) => return,
            Err(now) => next = now,
        }
    }
}

// ── the reserve ──────────────────────────────────────────────────────────────────────────────────────────

const RESERVE: usize = 2 << 20;

#[repr(C, align(4096))]
struct Reserve(UnsafeCell<[u8; RESERVE]>);

// SAFETY: `used` gives each part to one caller.
unsafe impl Sync for Reserve {}

/// For a process that has no memory left: what is under way can come to an end. Pages that are not used take no memory.
static LAST: Reserve = Reserve(UnsafeCell::new([0; RESERVE]));
/// How many blocks of the reserve are in use (upper half), and up to where it is used (lower half). It is whole again when
/// none is in use.
static USED: AtomicU64 = AtomicU64::new(0);

const fn halves(used: u64) -> (u64, usize) {
    (used >> 32, used as u32 as usize)
}

/// Whether the reserve is at hand for what begins now: what began before has not used up more than half of it.
pub(crate) fn has_reserve() -> bool {
    reserve_left() > RESERVE / 2
}

/// How many bytes of the reserve are left.
fn reserve_left() -> usize {
    RESERVE - halves(USED.load(Ordering::Relaxed)).1
}

fn take_of_reserve(size: usize, align: usize) -> *mut u8 {
    let mut start = 0;
    let took = USED.fetch_update(Ordering::Acquire, Ordering::Relaxed, |used| {
        let (blocks, end) = halves(used);
        start = end.next_multiple_of(align.max(ALIGN));
        let end = start.checked_add(size)?.checked_next_multiple_of(ALIGN)?;
        (end <= RESERVE).then_some((blocks + 1) << 32 | end as u64)
    });
    if took.is_ok() { LAST.0.get().cast::<u8>().wrapping_add(start) } else { null_mut() }
}

/// Gives a block back, if it is of the reserve.
fn give_to_reserve(block: *mut u8, size: usize) -> bool {
    let start = block.addr().wrapping_sub(LAST.0.get().addr());
    if start >= RESERVE {
        return false;
    }
    let _ = USED.fetch_update(Ordering::Release, Ordering::Relaxed, |used| {
        let (blocks, end) = halves(used);
        let is_last = start + size.next_multiple_of(ALIGN) == end;
        let end = if blocks == 1 {
            0
        } else if is_last {
            start
        } else {
            end
        };
        Some((blocks - 1) << 32 | end as u64)
    });
    true
}

// ── the interface ────────────────────────────────────────────────────────────────────────────────────────

/// Pages for a block.
fn pages(size: usize) -> *mut u8 {
    // What is longer than every address space is refused by the kernel.
    if size > isize::MAX as usize - PAGE as usize { null_mut() } else { Buffer::map(size).at }
}

// SAFETY: blocks are aligned to 16, pages to 4096, and no two that are in use overlap: each is taken off its list, or cut
// off the chunk, by the thread that has set `OWNER`; or the kernel gives it; or `USED` does. Nothing here unwinds.
unsafe impl GlobalAlloc for Heap {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        if layout.align() > PAGE as usize {
            return null_mut();
        }
        let (block, size) = if is_large(layout) {
            (pages(layout.size()), layout.size())
        } else {
            let (class, size) = class(layout.size());
            // A handler gets a page for it. It is a block as any other when it is freed.
            (with_blocks(|blocks| blocks.take(class, size)).unwrap_or_else(|| pages(size)), size)
        };
        if block.is_null() { take_of_reserve(size, layout.align()) } else { block }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        if is_large(layout) {
            if !give_to_reserve(block, layout.size()) {
                Buffer { at: block, room: layout.size().next_multiple_of(PAGE as usize) }.unmap();
            }
            return;
        }
        let (class, size) = class(layout.size());
        if give_to_reserve(block, size) {
            return;
        }
        // SAFETY: the caller has the block from `alloc`, with this layout, and uses it no more.
        unsafe {
            if with_blocks(|blocks| blocks.give_back(block, class)).is_none() {
                free_later(block, class);
            }
        }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller keeps what this function's `# Safety` section asks for.
        let block = unsafe { self.alloc(layout) };
        let is_new = is_large(layout) && !is_of_reserve(block);
        if !block.is_null() && !is_new {
            // SAFETY: `alloc` gave so many bytes.
            unsafe { block.write_bytes(0, layout.size()) };
        }
        block
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // SAFETY: the caller says that the size is possible for this alignment.
        let new = unsafe { Layout::from_size_align_unchecked(size, layout.align()) };
        if !is_large(layout) && !is_large(new) && class(layout.size()).0 == class(size).0 {
            return block;
        }
        if is_large(layout) && is_large(new) && !is_of_reserve(block) {
            let [old_room, room] = [layout.size(), size].map(|size| size.next_multiple_of(PAGE as usize));
            // SAFETY: pages that `alloc` mapped for this block alone.
            let moved = unsafe { libc::syscall(libc::SYS_mremap, block, old_room, room, libc::MREMAP_MAYMOVE) };
            if moved != -1 {
                return ptr::with_exposed_provenance_mut(moved as usize);
            }
        }
        // SAFETY: a new block, which is as long as it must be; the old one is the caller's.
        unsafe {
            let moved = self.alloc(new);
            if !moved.is_null() {
                moved.copy_from_nonoverlapping(block, layout.size().min(size));
                self.dealloc(block, layout);
            }
            moved
        }
    }
}

fn is_of_reserve(block: *mut u8) -> bool {
    block.addr().wrapping_sub(LAST.0.get().addr()) < RESERVE
}

// ── fork ─────────────────────────────────────────────────────────────────────────────────────────────────

/// Waits until nobody is at work: a forked child would find it half done, and wait for a thread that it does not have.
/// `false`: this thread itself is at work, and forks in a signal handler. Otherwise [`after_fork`] must follow, in the parent
/// and in the child.
pub(crate) fn before_fork() -> bool {
    let me = pointer() as usize;
    let mut owner = OWNER.compare_exchange(0, me, Ordering::Acquire, Ordering::Relaxed);
    while owner.is_err_and(|owner| owner != me) {
        std::thread::yield_now();
        owner = OWNER.compare_exchange(0, me, Ordering::Acquire, Ordering::Relaxed);
    }
    owner.is_ok()
}

/// Lets others go to work again.
pub(crate) fn after_fork() {
    OWNER.store(0, Ordering::Release);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_size_has_a_class_that_it_fits_into_closely() {
        let mut last = 0;
        for size in 1..=LARGEST {
            let (class, block) = class(size);
            assert!(class < CLASSES && block >= size && block % ALIGN == 0, "{size}: {class}, {block}");
            assert!(block - size < size / 4 + ALIGN, "{size} takes {block}");
            assert!(class == last || class == last + 1, "{size}");
            last = class;
        }
        assert_eq!((class(0), last), ((0, 16), CLASSES - 1));
    }

    #[test]
    fn blocks_hold_what_was_written_while_threads_take_and_free_them() {
        let layout = |size| Layout::from_size_align(size, 8).unwrap();
        let work = |seed: usize| {
            let mut held: Vec<(*mut u8, usize, u8)> = Vec::new();
            let mut random = seed;
            for step in 0..20_000 {
                random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                let size = (random >> 33) % [40, 600, 9_000, 100_000][step % 4] + 1;
                let mark = (random >> 25) as u8;
                // SAFETY: blocks of this test, with the layouts that they were made with.
                unsafe {
                    let block = Heap.alloc_zeroed(layout(size));
                    assert!(
                        block.addr() % ALIGN == 0 && std::slice::from_raw_parts(block, size).iter().all(|&b| b == 0)
                    );
                    block.write_bytes(mark, size);
                    held.push((block, size, mark));
                    if held.len() > 50 {
                        let (block, size, mark) = held.swap_remove((random >> 40) % held.len());
                        let bytes = std::slice::from_raw_parts(block, size);
                        assert!(bytes.iter().all(|&byte| byte == mark), "{size} bytes were written to by another");
                        let block = Heap.realloc(block, layout(size), size * 2);
                        assert!(std::slice::from_raw_parts(block, size).iter().all(|&byte| byte == mark));
                        Heap.dealloc(block, layout(size * 2));
                    }
                }
            }
            // SAFETY: as above.
            held.into_iter().for_each(|(block, size, _)| unsafe { Heap.dealloc(block, layout(size)) });
        };
        std::thread::scope(|scope| (1..=4).for_each(|seed| drop(scope.spawn(move || work(seed)))));
    }

    #[test]
    fn a_handler_that_interrupted_it_gets_memory_and_may_free() {
        let layout = Layout::from_size_align(24, 8).unwrap();
        // SAFETY: blocks of this test.
        unsafe {
            let before = Heap.alloc(layout);
            let inside = with_blocks(|_| {
                Heap.dealloc(before, layout);
                assert!(!LATER.load(Ordering::Relaxed).is_null());
                Heap.alloc(layout)
            });
            let inside = inside.unwrap();
            assert!(!inside.is_null() && inside != before);
            inside.write_bytes(1, 24);
            Heap.dealloc(inside, layout);
        }
    }

    #[test]
    fn the_reserve_is_whole_again_when_all_is_given_back() {
        let [a, b, c] = [100, 5_000, 64].map(|size| take_of_reserve(size, 8));
        assert_eq!(reserve_left(), RESERVE - 112 - 5_008 - 64);
        assert!(take_of_reserve(RESERVE, 8).is_null());
        assert!(give_to_reserve(c, 64) && give_to_reserve(a, 100));
        assert_eq!(reserve_left(), RESERVE - 112 - 5_008);
        assert!(give_to_reserve(b, 5_000));
        assert_eq!(reserve_left(), RESERVE);
        assert!(!give_to_reserve((&raw mut *Box::new(1_u8)), 1));
    }
}

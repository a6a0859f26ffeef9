//! One lock for the whole process, which its owner may take again.
//!
//! glibc `_dl_load_lock`. It is held over constructors and destructors, which may open and close libraries
//! themselves; so it must be reentrant, and the state behind it must not be *borrowed* while foreign code
//! runs. [`Guarded`] checks the latter: a borrow that is still held when foreign code comes back in is a panic
//! here, not a corrupted list.

use std::cell::{RefCell, RefMut};
use std::marker::PhantomData;
use std::ops::{Deref, DerefMut};
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use std::sync::{Mutex, Once, OnceLock, PoisonError};

use crate::heap;
use crate::thread::{self, words};

// 0 becomes a thread by an exchange, which only one thread wins; a thread becomes 0 by the hand that made it so, and not
// by that thread's later takings. So it does not matter where a signal handler takes it, too. In a forked child an owner
// that is not there becomes 0 (`after_fork_in_child`).

/// The owner, by its thread pointer, which is unique to each living thread and unchanged in the child of a fork. 0:
/// nobody.
static OWNER: AtomicUsize = AtomicUsize::new(0);
/// What waiting threads sleep on; changes with every release.
static RELEASES: AtomicU32 = AtomicU32::new(0);
/// How many threads wait, so that a release without waiters makes no system call.
static WAITERS: AtomicU32 = AtomicU32::new(0);

fn me() -> usize {
    thread::pointer() as usize
}

/// Proof that this thread holds the lock.
pub(crate) struct Lock {
    /// This taking made the thread the owner, so its end is the last release.
    outermost: bool,
    _stays_on_its_thread: PhantomData<*const ()>,
}

impl Lock {
    /// Waits for the lock, unless this thread has it already.
    pub(crate) fn acquire() -> Lock {
        watch_forks();
        let me = me();
        let outermost = OWNER.load(Ordering::Relaxed) != me;
        if outermost {
            loop {
                let releases = RELEASES.load(Ordering::SeqCst);
                if OWNER.compare_exchange(0, me, Ordering::Acquire, Ordering::Relaxed).is_ok() {
                    break;
                }
                WAITERS.fetch_add(1, Ordering::SeqCst);
                // The owner may have left between the two looks; then RELEASES has moved and this returns.
                if OWNER.load(Ordering::SeqCst) != 0 {
                    futex(nix::libc::FUTEX_WAIT, releases);
                }
                WAITERS.fetch_sub(1, Ordering::SeqCst);
            }
        }
        Lock { outermost, _stays_on_its_thread: PhantomData }
    }
}

impl Lock {
    /// Which hold of the lock this is: the same from its first taking to its last release, and another one for whoever
    /// has it next, also in a forked child.
    pub(crate) fn hold(&self) -> u32 {
        // Only the owner changes it.
        RELEASES.load(Ordering::Relaxed)
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        if self.outermost {
            OWNER.store(0, Ordering::SeqCst);
            RELEASES.fetch_add(1, Ordering::SeqCst);
            if WAITERS.load(Ordering::SeqCst) > 0 {
                futex(nix::libc::FUTEX_WAKE, 1);
            }
        }
    }
}

fn futex(operation: i32, value: u32) {
    let operation = operation | nix::libc::FUTEX_PRIVATE_FLAG;
    let no_timeout = std::ptr::null::<nix::libc::timespec>();
    // SAFETY: the word is a static, and both operations only read it.
    unsafe { nix::libc::syscall(nix::libc::SYS_futex, RELEASES.as_ptr(), operation, value, no_timeout) };
}

// ── fork ─────────────────────────────────────────────────────────────────────────────────────────────────
//
// In the child only the forking thread lives on. If another one held the lock, nobody would ever release it, so
// the child resets it; and what that thread was just changing must be whole. So a fork waits for the borrows of
// guarded state, which are short: none is held while foreign code runs.
//
// | `FORKING` | a thread's outermost borrow | a borrow inside another one | a fork |
// |---|---|---|---|
// | 0 | begins | begins | begins |
// | another thread | waits for 0 | begins: the fork waits for its end | waits for 0 |
// | this thread | begins: only its own handlers run | begins | goes on when no other thread has a borrow; so does one that a signal handler makes meanwhile |
//
// New borrows of other threads wait, so the ones that a fork has to wait for only become fewer. A thread that begins
// one counts itself in `BORROWS` first and looks at `FORKING` then; a fork sets `FORKING` first and looks at `BORROWS`
// then: at least one of the two sees the other. The child counts its own thread alone: a vanished thread may have been
// between the count and the look.

/// Once, and best before there is a second thread, which could fork meanwhile.
pub(crate) fn watch_forks() {
    static WATCHED: Once = Once::new();
    WATCHED.call_once(|| {
        // SAFETY: plain functions of the right type.
        unsafe { nix::libc::pthread_atfork(Some(before_fork), Some(after_fork_in_parent), Some(after_fork_in_child)) };
    });
}

/// Does something short during which no other thread forks: the child would find it half done, or wait for ever for a
/// thread that it does not have. It calls no foreign code.
pub(crate) fn without_fork<R>(act: impl FnOnce() -> R) -> R {
    let _counted = Counted::new();
    act()
}

/// The content of `cell`, made by `make` the first time.
#[inline]
pub(crate) fn made_once<T>(cell: &OnceLock<T>, make: impl FnOnce() -> T) -> &T {
    cell.get().unwrap_or_else(|| without_fork(|| cell.get_or_init(make)))
}

/// The thread that forks, or 0: meanwhile no other one begins a new borrow.
static FORKING: AtomicUsize = AtomicUsize::new(0);
/// Threads that have a borrow, or are about to.
static BORROWS: AtomicU32 = AtomicU32::new(0);

/// How much this thread counts in [`BORROWS`].
fn own_share() -> u32 {
    u32::from(is_borrowing())
}

/// Puts something right in a forked child.
type Mend = fn();

/// What other files have to put right there.
static IN_CHILD: Shared<[Option<Mend>; 4]> = Shared::new([None; 4]);

/// Has `mend` called in every forked child, where only the forking thread lives on.
///
/// # Panics
/// If more than a few files need this.
pub(crate) fn in_child(mend: Mend) {
    IN_CHILD.with(|all| match all.iter_mut().find(|one| one.is_none()) {
        Some(free) => *free = Some(mend),
        None => panic!("no place is left for another one"),
    });
}

/// A signal handler may fork in the middle of a fork of the same thread. So each fork notes whether it is the one that took
/// `FORKING`, and the heap: that one gives it back.
extern "C" fn before_fork() {
    let taken = FORKING.load(Ordering::SeqCst) != me();
    while taken && FORKING.compare_exchange(0, me(), Ordering::SeqCst, Ordering::SeqCst).is_err() {
        std::thread::yield_now();
    }
    // This thread has one itself if it forks in a signal handler.
    while BORROWS.load(Ordering::SeqCst) > own_share() {
        std::thread::yield_now();
    }
    let heap_taken = heap::before_fork();
    words(|words| words.forks.set(words.forks.get() << 2 | u64::from(heap_taken) << 1 | u64::from(taken)));
}

extern "C" fn after_fork_in_parent() {
    after_fork(|| {});
}

/// What the innermost fork of this thread took is given back, after `mend`.
fn after_fork(mend: impl FnOnce()) {
    let forks = words(|words| words.forks.replace(words.forks.get() >> 2));
    if forks & 2 != 0 {
        heap::after_fork();
    }
    mend();
    if forks & 1 != 0 {
        FORKING.store(0, Ordering::SeqCst);
    }
}

extern "C" fn after_fork_in_child() {
    after_fork(mend_child);
}

fn mend_child() {
    thread::forget_others();
    WAITERS.store(0, Ordering::SeqCst);
    BORROWS.store(own_share(), Ordering::SeqCst);
    if OWNER.load(Ordering::SeqCst) != me() {
        OWNER.store(0, Ordering::SeqCst);
        RELEASES.fetch_add(1, Ordering::SeqCst);
    }
    let mend = IN_CHILD.with(|all| *all);
    mend.into_iter().flatten().for_each(|mend| mend());
}

/// State that only the holder of the lock can reach.
pub(crate) struct Guarded<T>(RefCell<T>);

// SAFETY: the content is only reached with a `&Lock`, so by one thread at a time.
unsafe impl<T: Send> Sync for Guarded<T> {}

impl<T> Guarded<T> {
    pub(crate) const fn new(value: T) -> Guarded<T> {
        Guarded(RefCell::new(value))
    }

    /// The content. To be given back before any foreign code runs.
    #[track_caller]
    pub(crate) fn borrow<'a>(&'a self, _: &'a Lock) -> Borrowed<'a, T> {
        let counted = Counted::new();
        Borrowed { content: self.0.borrow_mut(), _counted: counted }
    }
}

/// State that any thread may look at for a moment, also while another one holds the lock over foreign code: the
/// first call of a lazily bound function can come from anywhere.
pub(crate) struct Shared<T>(Mutex<T>);

impl<T> Shared<T> {
    pub(crate) const fn new(value: T) -> Shared<T> {
        Shared(Mutex::new(value))
    }

    /// The content, for a moment: `see` calls no foreign code and no probe.
    pub(crate) fn with<R>(&self, see: impl FnOnce(&mut T) -> R) -> R {
        let _counted = Counted::new();
        see(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// A borrow of guarded state.
pub(crate) struct Borrowed<'a, T> {
    content: RefMut<'a, T>,
    /// Dropped last.
    _counted: Counted,
}

struct Counted;

impl Counted {
    /// One more borrow of this thread. Its outermost one waits while another thread forks; one inside it must not, for
    /// that fork waits for the outer one.
    fn new() -> Counted {
        if !is_borrowing() {
            let another_forks = || ![0, me()].contains(&FORKING.load(Ordering::SeqCst));
            BORROWS.fetch_add(1, Ordering::SeqCst);
            while another_forks() {
                BORROWS.fetch_sub(1, Ordering::SeqCst);
                while another_forks() {
                    std::thread::yield_now();
                }
                BORROWS.fetch_add(1, Ordering::SeqCst);
            }
        }
        words(|words| words.borrows.set(words.borrows.get() + 1));
        Counted
    }
}

/// Whether this thread has borrowed guarded state. Whoever asks is an allocator that was called meanwhile, or a signal
/// handler: it must not borrow anything.
pub(crate) fn is_borrowing() -> bool {
    words(|words| words.borrows.get() > 0)
}

impl Drop for Counted {
    fn drop(&mut self) {
        let held = words(|words| words.borrows.replace(words.borrows.get() - 1)) - 1;
        if held == 0 {
            BORROWS.fetch_sub(1, Ordering::SeqCst);
        }
    }
}

impl<T> Deref for Borrowed<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.content
    }
}

impl<T> DerefMut for Borrowed<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        &mut self.content
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_owner_may_take_it_again_and_others_wait() {
        static COUNT: Guarded<u64> = Guarded::new(0);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..1000 {
                        let outer = Lock::acquire();
                        let before = *COUNT.borrow(&outer);
                        {
                            let inner = Lock::acquire();
                            *COUNT.borrow(&inner) += 1;
                        }
                        assert_eq!(*COUNT.borrow(&outer), before + 1, "someone else was inside");
                    }
                });
            }
        });
        assert_eq!(*COUNT.borrow(&Lock::acquire()), 4000);
    }
}

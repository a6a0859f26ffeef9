//! A few words for each thread, reached without a call.
//!
//! Rust's `thread_local!` in a shared library calls `__tls_get_addr`, and that function may be a sanitizer's, which is
//! not ready when it looks up the real ones with our `dlsym`. These words lie at a constant distance from the thread
//! pointer: they are the header of the arena (`runtime/tls/arena.rs`). Nothing has to be called to reach them, so they are
//! for all that `dlsym`, `dladdr`, `dlerror` and `dl_iterate_phdr` need, in any constructor, in an allocator and in a
//! signal handler. All are zero when a thread begins; nothing is done with them when it ends.
//!
//! The distance stands in the second word of a TLS descriptor, where glibc has static room for the arena. Where it has
//! none (beside `LD_AUDIT`, or for a plugin that comes late), initial exec would keep the whole program from starting. A
//! descriptor asks for nothing: then its second word is the address of what glibc needs itself, which is positive, and
//! the words lie elsewhere (`thread/elsewhere.rs`). In a program the linker makes the distance a constant.

use std::arch::asm;
use std::cell::Cell;
use std::ffi::c_void;
use std::ptr;

use nix::libc;

use crate::elf::addr::PAGE;

mod elsewhere;
pub(crate) use elsewhere::forget_others;

/// The words of one thread. Each belongs to the file named with it.
#[repr(C)]
pub(crate) struct Words {
    /// `runtime/tls/dynamic.rs`: the table of this thread's dynamic blocks. Assembly finds it at the very beginning.
    pub blocks: Cell<*mut c_void>,
    /// `event.rs`: the request that this thread is in and the one around it, by number; 0 is none.
    pub request: Cell<(u64, u64)>,
    /// `capi/errors.rs`: the text of the last error, and what `dlerror` gave out last.
    pub errors: [Cell<Buffer>; 2],
    /// `capi/handles.rs`: handles with what they mean, and [`changes`](crate::namespace) when that was true.
    pub recent: [Cell<(*mut c_void, *const c_void)>; 8],
    pub recent_when: Cell<u64>,
    /// `lock.rs`: how many borrows of guarded state this thread has. Meanwhile nobody else runs on it but an allocator and
    /// signal handlers.
    pub borrows: Cell<u32>,
    /// `runtime/present.rs`: how many lists of objects this thread reads, and whether it has left one behind meanwhile.
    pub reading: Cell<u32>,
    pub left_behind: Cell<bool>,
    /// `capi/symbol.rs`: how deep this thread is in `dlsym`.
    pub asking: Cell<u32>,
    /// `runtime/tls/creating.rs`: how deep this thread is in `pthread_create`.
    pub creating: Cell<u32>,
    /// `lock.rs`: two bits for each fork that this thread is in the middle of, the innermost lowest.
    pub forks: Cell<u64>,
    /// `event.rs`: a probe is handling an event.
    pub in_probe: Cell<bool>,
    /// `capi/errors.rs`: there is an error that `dlerror` did not give out yet.
    pub error_is_new: Cell<bool>,
}

/// Bytes outside of every allocator.
#[derive(Clone, Copy)]
#[repr(C)]
pub(crate) struct Buffer {
    pub at: *mut u8,
    pub room: usize,
}

/// What the words take at the beginning of the arena, whose alignment is 64.
pub(crate) const HEADER: usize = size_of::<Words>().next_multiple_of(64);

const _: () = assert!(std::mem::offset_of!(Words, blocks) == 0, "assembly reads the table in the first word");

/// Assembly that puts the distance from the thread pointer to the arena into a register. It is negative; anything else
/// means that there is no arena.
macro_rules! distance_to_arena {
    ($register:literal) => {
        concat!(
            "lea ",
            $register,
            ", [rip + __dlscope_tls_arena@TLSDESC]\n", // a program's linker makes it the distance
            "test ",
            $register,
            ", ",
            $register,
            "\n",
            "js 4f\n",
            "mov ",
            $register,
            ", [",
            $register,
            " + 8]\n",
            "4:\n",
        )
    };
}
pub(crate) use distance_to_arena;

/// Shows the words of the calling thread.
#[inline(always)]
pub(crate) fn words<R>(see: impl FnOnce(&Words) -> R) -> R {
    let distance: i64;
    // SAFETY: computes an address, and reads a descriptor, which is constant since before any code of ours ran.
    unsafe { asm!(distance_to_arena!("{0}"), out(reg) distance, options(pure, nomem, nostack)) };
    let at = if distance < 0 { pointer().wrapping_add_signed(distance) } else { elsewhere::words() };
    // SAFETY: the header of this thread's arena: aligned to 64, as long as `Words`, and zeros, which are valid for all
    // its fields, when the thread began. Or words elsewhere that are this thread's alone. They outlive `see`, which runs
    // on this thread.
    see(unsafe { &*std::ptr::with_exposed_provenance(at as usize) })
}

/// The thread pointer: `%fs:0` holds its own address (psABI, "Thread-Local Storage"). It is another one for each living
/// thread, and unchanged in the child of a fork; a later thread may get the one of a thread that has ended.
pub(crate) fn pointer() -> u64 {
    let tp;
    // SAFETY: reads the first word of the thread control block, which every glibc thread has.
    unsafe { asm!("mov {}, fs:0", out(reg) tp, options(nostack, readonly, preserves_flags)) };
    tp
}

impl Buffer {
    pub(crate) const NONE: Buffer = Buffer { at: ptr::null_mut(), room: 0 };

    /// So many bytes, or a few more; `NONE` if there is no memory. By the system call itself: `mmap` may be a function of
    /// the program that is asking for the real one.
    pub(crate) fn map(room: usize) -> Buffer {
        let room = room.next_multiple_of(PAGE as usize);
        let (protection, flags) = (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS);
        // SAFETY: new memory, at an address that the kernel chooses.
        let at = unsafe { libc::syscall(libc::SYS_mmap, 0, room, protection, flags, -1, 0) };
        if at == -1 { Buffer::NONE } else { Buffer { at: ptr::with_exposed_provenance_mut(at as usize), room } }
    }

    /// Gives them back. Nobody uses them any more.
    pub(crate) fn unmap(self) {
        if !self.at.is_null() {
            // SAFETY: made by `map`; the caller has the only copy.
            unsafe { libc::syscall(libc::SYS_munmap, self.at, self.room) };
        }
    }
}

//! Dynamic blocks: made for a thread when it first asks, found in two memory accesses from then on.
//!
//! glibc `__tls_get_addr` and `tls_get_addr_tail`, musl `__tls_get_addr`. Each thread has a table of its blocks
//! by slot; its address stands in the first word of the thread's arena (`thread.rs`). The fast path takes no lock and
//! allocates nothing.

use std::alloc::{Layout, alloc, dealloc};
use std::arch::naked_asm;
use std::ffi::c_void;
use std::ptr;
use std::sync::atomic::{AtomicPtr, Ordering};
use std::sync::{Arc, OnceLock};

use nix::libc;

use super::{DECIDING, Module, OURS, SLOT_MASK, TlsIndex, Use, thread_pointer};
use crate::host::real::Real;
use crate::lock::made_once;
use crate::thread::{distance_to_arena, words};

type GetAddr = unsafe extern "C" fn(*const TlsIndex) -> *mut u8;

/// ld.so's own function, for its own modules. In a program whose C ABI is ours, the name means [`get_addr`].
static OF_HOST: Real = Real::named(b"__tls_get_addr");
/// The same for assembly; null before it is first needed.
static HOSTS: AtomicPtr<()> = AtomicPtr::new(ptr::null_mut());

/// ld.so's own `__tls_get_addr`.
fn hosts() -> GetAddr {
    let found = OF_HOST.must_be_there();
    HOSTS.store(found, Ordering::Relaxed);
    // SAFETY: a function of this name and so of this type, found in ld.so.
    unsafe { std::mem::transmute::<*mut (), GetAddr>(found) }
}

/// A thread's blocks. The assembly below knows this layout.
#[repr(C)]
pub(super) struct Blocks {
    entries: *mut Block,
    /// How many entries there are.
    length: u64,
    /// In which round of key destructors the thread is.
    round: u32,
    /// What stays as long as code of libraries may run in this thread.
    kept: Vec<Arc<dyn Send + Sync>>,
}

/// One block. 32 bytes, so that an index is a shift.
#[repr(C)]
#[derive(Clone, Copy)]
struct Block {
    /// The module's whole id: an old block in a slot that was used again does not match.
    id: u64,
    block: *mut u8,
    /// What to free, and its size; null for a block in the arena.
    allocation: *mut u8,
    size: usize,
}

const EMPTY: Block = Block { id: 0, block: ptr::null_mut(), allocation: ptr::null_mut(), size: 0 };

/// What every allocator aligns to. Blocks are aligned by hand beyond that, as glibc does: Rust's usual allocator asks
/// `posix_memalign` for more, and a program's own allocator may consist of `malloc` and `free` alone.
const ALIGN: usize = 16;

/// `__tls_get_addr` for loaded libraries: `rdi` points to module and offset, the answer goes to `rax`. It knows the modules
/// of the host, too.
///
/// Some compilers call it with a misaligned stack, so the way to Rust code realigns it.
#[unsafe(naked)]
pub(crate) unsafe extern "C" fn get_addr(index: *const TlsIndex) -> *mut u8 {
    naked_asm!(
        ".cfi_startproc",
        "mov rax, [rdi]",                                             // the module's id
        "test rax, rax",
        "jns 3f",                                                     // without our bit: glibc's own
        distance_to_arena!("rdx"),
        "test rdx, rdx",
        "jns 2f",
        "mov rdx, fs:[rdx]",                                          // this thread's table
        "test rdx, rdx",
        "jz 2f",
        "mov ecx, eax",
        "and ecx, {slot_mask}",
        "cmp rcx, [rdx + 8]",                                         // inside the table?
        "jae 2f",
        "shl rcx, 5",
        "add rcx, [rdx]",
        "cmp [rcx], rax",                                             // this very module?
        "jne 2f",
        "mov rax, [rcx + 8]",
        "add rax, [rdi + 8]",
        "ret",
        "3:",
        "mov rax, [rip + {hosts}]",
        "test rax, rax",
        "jz 2f",                                                      // not found yet
        "jmp rax",
        "2:",
        "push rbp",
        ".cfi_def_cfa_offset 16",
        ".cfi_offset rbp, -16",
        "mov rbp, rsp",
        ".cfi_def_cfa_register rbp",
        "and rsp, -16",
        "call {slow}",
        "leave",
        ".cfi_def_cfa rsp, 8",
        "ret",
        ".cfi_endproc",
        hosts = sym HOSTS,
        slot_mask = const SLOT_MASK,
        slow = sym slow,
    )
}

/// Finds or makes the block. Also for ids of the host, which TLS descriptors bring here.
pub(super) unsafe extern "C" fn slow(index: *const TlsIndex) -> *mut u8 {
    // SAFETY: the caller passes a `tls_index`.
    let TlsIndex { module, offset } = unsafe { index.read() };
    if module & OURS == 0 {
        // SAFETY: glibc's own function for glibc's own module.
        return unsafe { hosts()(index) };
    }
    block(module).wrapping_add(offset as usize)
}

/// The calling thread's variable at `offset` of the module `id`, ours or the host's: what `dlsym` answers.
pub(crate) fn variable(id: u64, offset: u64) -> *mut u8 {
    // SAFETY: a `tls_index`; the caller has the id from a module that is there.
    unsafe { slow(&TlsIndex { module: id, offset }) }
}

/// This thread's block of a module, if it has one already; null if not. glibc `_dl_tls_get_addr_soft`.
pub(crate) fn existing(module: u64) -> *mut u8 {
    Module::find(module).map_or(ptr::null_mut(), |module| module.existing())
}

impl Module {
    /// As [`existing`], without a lock.
    pub(crate) fn existing(&self) -> *mut u8 {
        match self.static_offset.load(Ordering::Relaxed) {
            0 => {}
            offset => return ptr::with_exposed_provenance_mut(thread_pointer().wrapping_add_signed(offset) as usize),
        }
        // SAFETY: the table is this thread's own; entries up to its length are there.
        unsafe {
            let table = *table_word();
            let slot = (self.id & SLOT_MASK) as usize;
            match table.as_ref() {
                Some(table) if (slot as u64) < table.length && (*table.entries.add(slot)).id == self.id => {
                    (*table.entries.add(slot)).block
                }
                _ => ptr::null_mut(),
            }
        }
    }
}

/// This thread's block of the module `id`.
pub(super) fn block(id: u64) -> *mut u8 {
    let slot = (id & SLOT_MASK) as usize;
    let table = table();
    // SAFETY: the table is this thread's own, and nobody else has a reference to it.
    let table = unsafe { &mut *table };
    table.reach(slot);
    // SAFETY: `reach` made the table that long.
    let entry = unsafe { &mut *table.entries.add(slot) };
    if entry.id != id {
        entry.free();
        let Some(module) = Module::find(id) else {
            // Only code of the library itself has its id.
            eprintln!("dlscope: a thread-local variable of a library that is not loaded any more was used");
            std::process::abort();
        };
        *entry = module.make_block();
    }
    entry.block
}

impl Module {
    fn make_block(&self) -> Block {
        let in_arena = DECIDING.with(|()| {
            if self.state() == Use::Undecided {
                self.state.store(Use::Dynamic as u8, Ordering::Relaxed);
            }
            self.state() == Use::Arena
        });
        if in_arena {
            let at = thread_pointer().wrapping_add_signed(self.static_offset.load(Ordering::Relaxed));
            return Block { id: self.id, block: ptr::with_exposed_provenance_mut(at as usize), ..EMPTY };
        }
        let image = self.initial();
        // The block begins `skew` bytes behind an aligned address.
        let (align, skew) = (self.align.max(ALIGN as u64) as usize, self.skew as usize);
        let size = (align - ALIGN) + skew + image.len().max(1);
        let Ok(layout) = Layout::from_size_align(size, ALIGN) else {
            panic!("a TLS block of {size} bytes, aligned to {align}");
        };
        // SAFETY: the size is not 0.
        let allocation = unsafe { alloc(layout) };
        if allocation.is_null() {
            std::alloc::handle_alloc_error(layout);
        }
        let block = allocation.map_addr(|at| at.next_multiple_of(align) + skew);
        // SAFETY: the allocation has room for the way to an aligned address, the skew and the whole image.
        unsafe { block.copy_from_nonoverlapping(image.as_ptr(), image.len()) };
        Block { id: self.id, block, allocation, size }
    }
}

impl Block {
    fn free(&mut self) {
        if !self.allocation.is_null() {
            // SAFETY: allocated by `make_block` with this size and alignment.
            unsafe { dealloc(self.allocation, Layout::from_size_align_unchecked(self.size, ALIGN)) };
        }
        *self = EMPTY;
    }
}

impl Blocks {
    /// Makes the table long enough for `slot`.
    fn reach(&mut self, slot: usize) {
        if (slot as u64) < self.length {
            return;
        }
        let mut entries = self.take_entries();
        entries.resize((slot + 1).next_power_of_two().max(8), EMPTY);
        let entries = entries.into_boxed_slice();
        self.length = entries.len() as u64;
        self.entries = Box::into_raw(entries).cast();
    }

    fn take_entries(&mut self) -> Vec<Block> {
        if self.entries.is_null() {
            return Vec::new();
        }
        let slice = ptr::slice_from_raw_parts_mut(self.entries, self.length as usize);
        (self.entries, self.length) = (ptr::null_mut(), 0);
        // SAFETY: made by `reach` from a box of this length.
        unsafe { Box::from_raw(slice) }.into_vec()
    }
}

/// Keeps something until the last round of key destructors of this thread.
pub(crate) fn keep_for_thread(kept: Arc<dyn Send + Sync>) {
    // SAFETY: the table is this thread's own, and nobody else has a reference to it.
    unsafe { (*table()).kept.push(kept) };
}

/// The word that holds this thread's table.
fn table_word() -> *mut *mut Blocks {
    words(|words| words.blocks.as_ptr().cast())
}

/// This thread's table, made if there is none.
fn table() -> *mut Blocks {
    // SAFETY: the first word of this thread's own arena, which only this thread reads and writes.
    unsafe {
        if (*table_word()).is_null() {
            let blocks = Blocks { entries: ptr::null_mut(), length: 0, round: 0, kept: Vec::new() };
            let table = Box::into_raw(Box::new(blocks));
            *table_word() = table;
            libc::pthread_setspecific(key(), table.cast());
        }
        *table_word()
    }
}

/// The key whose destructor frees a thread's blocks.
fn key() -> libc::pthread_key_t {
    static KEY: OnceLock<libc::pthread_key_t> = OnceLock::new();
    *made_once(&KEY, || {
        let mut key = 0;
        // SAFETY: room for a key, and a function of the right type.
        let result = unsafe { libc::pthread_key_create(&mut key, Some(thread_ends)) };
        assert!(result == 0, "no pthread key is left");
        key
    })
}

/// Makes the key before any library can make one: the key made first is destroyed first, and in the last round
/// that is late enough for all others.
pub(super) fn prepare() {
    key();
}

/// Other keys' destructors may still use thread-local variables: so this waits until the last of the four
/// rounds that POSIX grants (`PTHREAD_DESTRUCTOR_ITERATIONS`).
unsafe extern "C" fn thread_ends(table: *mut c_void) {
    let table = table.cast::<Blocks>();
    // SAFETY: what `table` stored; this thread's own.
    unsafe {
        (*table).round += 1;
        if (*table).round < 4 {
            libc::pthread_setspecific(key(), table.cast());
            return;
        }
        *table_word() = ptr::null_mut();
        let mut table = Box::from_raw(table);
        for mut entry in table.take_entries() {
            entry.free();
        }
    }
}

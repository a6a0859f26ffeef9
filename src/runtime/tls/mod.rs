//! Thread-local storage of loaded libraries.
//!
//! psABI and "ELF Handling For Thread-Local Storage"; glibc `dl-tls.c`; musl `__tls_get_new`. A library's
//! thread-local variables are one block in every thread. There are three ways to reach it, chosen by the
//! compiler:
//!
//! | model | code does | relocations | here |
//! |---|---|---|---|
//! | general and local dynamic | calls `__tls_get_addr(&{module, offset})` | `DTPMOD64`, `DTPOFF64` | `dynamic.rs`: blocks made when a thread first asks |
//! | TLS descriptors | calls the function in the descriptor | `TLSDESC` | `descriptor.rs`: the same, or a constant |
//! | initial exec | adds a constant to the thread pointer | `TPOFF64` | `arena.rs`: room set aside in every thread before anything is loaded |
//!
//! The last one is the hard one: glibc lays out the static blocks of all threads at start-up, and has only a
//! small surplus for libraries that come later. dlscope brings its own surplus: the arena.

mod arena;
mod creating;
mod descriptor;
mod destructors;
mod dynamic;

use std::sync::atomic::{AtomicI64, AtomicU8, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::elf::addr::Addr;
use crate::elf::image::Segment;
use crate::error::ErrorKind;
use crate::event::{Kind, Probe, Report};

pub(crate) use arena::install;
pub(crate) use creating::{creating, forked};
pub(crate) use descriptor::{Argument, descriptor, host_descriptor, undefined_descriptor};
pub use destructors::{thread_atexit, thread_atexit_impl};
pub(crate) use dynamic::{existing, get_addr, variable};

/// The highest bit of a module id: this one is ours. glibc counts its own from 1.
const OURS: u64 = 1 << 63;
/// The lowest bits: the place in every thread's table of blocks. Places are used again.
const SLOT_BITS: u32 = 24;
const SLOT_MASK: u64 = (1 << SLOT_BITS) - 1;

/// `tls_index` of the ABI: what `__tls_get_addr` is called with.
#[repr(C)]
pub(crate) struct Index {
    pub module: u64,
    pub offset: u64,
}

/// The thread-local variables of one loaded library: their initial image, and where their blocks are.
pub(crate) struct Module {
    /// `OURS | generation | slot`. Slots are used again, ids never are.
    pub id: u64,
    /// The image in the library's memory: `p_filesz` bytes, then zeros up to `p_memsz`.
    image: Addr,
    filesz: u64,
    memsz: u64,
    align: u64,
    /// `p_vaddr` modulo `p_align`: how far behind an aligned address the block begins.
    skew: u64,
    /// Bytes from the thread pointer to the block, for a library in the arena; 0: its blocks are dynamic.
    static_offset: AtomicI64,
    /// What was decided between arena and dynamic blocks. Changes under [`DECIDING`].
    state: AtomicU8,
}

#[derive(Clone, Copy, PartialEq)]
#[repr(u8)]
enum Use {
    /// Nobody has a block yet.
    None,
    /// In the arena.
    Arena,
    /// Some thread has a block of its own.
    Dynamic,
}

/// Held while a module decides. One for all of them: it is a matter of a moment, once a module.
static DECIDING: Mutex<()> = Mutex::new(());

/// All modules by slot. A lock of its own: threads come here without the loader's.
struct Slots {
    modules: Vec<Option<Arc<Module>>>,
    generation: u64,
}

static SLOTS: Mutex<Slots> = Mutex::new(Slots { modules: Vec::new(), generation: 0 });

/// Held while the process forks, so that the child finds these lists whole.
pub(crate) fn hold() -> impl Sized {
    (deciding(), slots(), arena::hold())
}

fn deciding() -> MutexGuard<'static, ()> {
    DECIDING.lock().unwrap_or_else(PoisonError::into_inner)
}

fn slots() -> MutexGuard<'static, Slots> {
    SLOTS.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A module as its object holds it: dropping this ends the module.
pub(crate) struct Owned(Arc<Module>);

impl std::ops::Deref for Owned {
    type Target = Module;

    fn deref(&self) -> &Module {
        &self.0
    }
}

impl Drop for Owned {
    fn drop(&mut self) {
        slots().modules[(self.0.id & SLOT_MASK) as usize] = None;
        let offset = self.0.static_offset.load(Ordering::Relaxed);
        if offset != 0 {
            arena::give_back(offset);
        }
    }
}

impl Module {
    /// Takes note of the `PT_TLS` segment of a library whose image lies at `image`.
    pub(crate) fn register(segment: &Segment, image: Addr) -> Owned {
        dynamic::prepare();
        let align = segment.align.max(1);
        let mut slots = slots();
        slots.generation += 1;
        let slot = slots.modules.iter().position(Option::is_none).unwrap_or(slots.modules.len());
        let module = Arc::new(Module {
            id: OURS | (slots.generation << SLOT_BITS) & !OURS | slot as u64,
            image,
            filesz: segment.filesz,
            memsz: segment.memsz,
            align,
            skew: segment.vaddr.0 % align,
            static_offset: AtomicI64::new(0),
            state: AtomicU8::new(Use::None as u8),
        });
        match slots.modules.get_mut(slot) {
            Some(free) => *free = Some(module.clone()),
            None => slots.modules.push(Some(module.clone())),
        }
        Owned(module)
    }

    /// The module with this id, if it is still there.
    fn find(id: u64) -> Option<Arc<Module>> {
        slots().modules.get((id & SLOT_MASK) as usize)?.clone().filter(|m| m.id == id)
    }

    /// What was decided, and the right to decide.
    fn decide(&self) -> (Use, MutexGuard<'static, ()>) {
        let deciding = deciding();
        let state = match self.state.load(Ordering::Relaxed) {
            state if state == Use::Arena as u8 => Use::Arena,
            state if state == Use::Dynamic as u8 => Use::Dynamic,
            _ => Use::None,
        };
        (state, deciding)
    }

    /// How far from the thread pointer the block lies in every thread: takes room in the arena if it has none.
    ///
    /// # Errors
    /// [`ErrorKind::StaticTls`] where there is no room, or it is too late because threads have dynamic blocks.
    pub(crate) fn require_static<P: Probe + ?Sized>(&self, report: Report<'_, P>) -> Result<i64, ErrorKind> {
        let (state, _deciding) = self.decide();
        if state == Use::Arena {
            return Ok(self.static_offset.load(Ordering::Relaxed));
        }
        if state == Use::Dynamic {
            let why = "threads have dynamic blocks of it already, and those cannot move";
            return Err(self.no_room(why));
        }
        let offset =
            arena::take(self.memsz, self.align, self.skew, arena::Share::Whole).map_err(|why| self.no_room(&why))?;
        self.settle(offset, report);
        Ok(offset)
    }

    /// The same for code that can do without: only from a part of the arena, and only if that has room.
    fn prefer_static<P: Probe + ?Sized>(&self, report: Report<'_, P>) -> Option<i64> {
        let (state, _deciding) = self.decide();
        match state {
            Use::Arena => Some(self.static_offset.load(Ordering::Relaxed)),
            Use::Dynamic => None,
            Use::None => {
                let offset = arena::take(self.memsz, self.align, self.skew, arena::Share::Part).ok()?;
                self.settle(offset, report);
                Some(offset)
            }
        }
    }

    fn settle<P: Probe + ?Sized>(&self, offset: i64, report: Report<'_, P>) {
        self.static_offset.store(offset, Ordering::Relaxed);
        self.state.store(Use::Arena as u8, Ordering::Relaxed);
        report.tell(|| Kind::StaticTls { offset, length: self.memsz, align: self.align, left: arena::left() });
    }

    fn no_room(&self, why: &str) -> ErrorKind {
        ErrorKind::StaticTls {
            asked: self.memsz,
            align: self.align,
            left: arena::left(),
            size: arena::SIZE as u64,
            why: why.into(),
        }
    }

    /// Whether its image must be written into the threads' arenas.
    pub(crate) fn is_static(&self) -> bool {
        self.static_offset.load(Ordering::Relaxed) != 0
    }

    /// The block's initial content.
    fn initial(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(self.memsz as usize);
        let image = std::ptr::with_exposed_provenance::<u8>(self.image.0 as usize);
        // SAFETY: the image is `p_filesz` bytes of the library, which is mapped as long as its module is
        // listed; `Object::build` saw that they lie in a readable segment.
        unsafe {
            std::ptr::copy_nonoverlapping(image, bytes.as_mut_ptr(), self.filesz as usize);
            bytes.set_len(self.filesz as usize);
        }
        bytes.resize(self.memsz as usize, 0);
        bytes
    }
}

/// The address so many bytes below the thread pointer: where glibc keeps the static blocks of this thread.
pub(crate) fn below_thread_pointer(offset: u64) -> *mut u8 {
    std::ptr::with_exposed_provenance_mut(thread_pointer().wrapping_sub(offset) as usize)
}

/// The thread pointer: `%fs:0` holds its own address (psABI, "Thread-Local Storage").
fn thread_pointer() -> u64 {
    let tp;
    // SAFETY: reads the first word of the thread control block, which every glibc thread has.
    unsafe { std::arch::asm!("mov {}, fs:0", out(reg) tp, options(nostack, readonly, preserves_flags)) };
    tp
}

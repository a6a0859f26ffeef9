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
mod dynamic;
mod threads;

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU8, Ordering};

use crate::elf::addr::Addr;
use crate::elf::image::Segment;
use crate::error::ErrorKind;
use crate::event::{Kind, Report};
use crate::lock::Shared;
use crate::thread::pointer as thread_pointer;

pub(crate) use arena::{ROOM, install};
pub(crate) use creating::creating;
pub(crate) use descriptor::{descriptor, host_descriptor, undefined_descriptor};
pub(crate) use dynamic::{existing, get_addr, keep_for_thread, variable};

/// The highest bit of a module id: this one is ours. glibc counts its own from 1.
const OURS: u64 = 1 << 63;
/// The lowest bits: the place in every thread's table of blocks. Places are used again.
const SLOT_BITS: u32 = 24;
const SLOT_MASK: u64 = (1 << SLOT_BITS) - 1;

/// `tls_index` of the ABI: what `__tls_get_addr` is called with.
#[repr(C)]
pub(crate) struct TlsIndex {
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
    /// What was decided between arena and dynamic blocks, a [`Use`]. Changes under [`DECIDING`].
    state: AtomicU8,
}

/// Where the blocks of a module are.
///
/// | from | to | when |
/// |---|---|---|
/// | `Undecided` | `Arena` | a `TPOFF64` or `TLSDESC` relocation takes room in the arena |
/// | `Undecided` | `Dynamic` | a thread asks for its block first |
///
/// Nothing leads back: a block that code has seen cannot move.
#[derive(Clone, Copy, PartialEq)]
#[repr(u8)]
enum Use {
    /// Nobody has a block yet.
    Undecided,
    /// In the arena.
    Arena,
    /// Some thread has a block of its own.
    Dynamic,
}

/// Held while a module decides. One for all of them: it is a matter of a moment, once a module.
static DECIDING: Shared<()> = Shared::new(());

/// All modules by slot. A lock of its own: threads come here without the loader's.
struct Slots {
    modules: Vec<Option<Arc<Module>>>,
    generation: u64,
}

static SLOTS: Shared<Slots> = Shared::new(Slots { modules: Vec::new(), generation: 0 });

/// A module's place in the list: dropping this ends the module.
pub(crate) struct Listed(Arc<Module>);

impl Listed {
    /// What `DTPMOD64` relocations store.
    pub(crate) fn id(&self) -> u64 {
        self.0.id
    }
}

impl Drop for Listed {
    fn drop(&mut self) {
        SLOTS.with(|slots| slots.modules[(self.0.id & SLOT_MASK) as usize] = None);
        let offset = self.0.static_offset.load(Ordering::Relaxed);
        if offset != 0 {
            arena::give_back(offset);
        }
    }
}

/// Takes note of the `PT_TLS` segment of a library whose image lies at `image`.
pub(crate) fn register(segment: &Segment, image: Addr) -> Listed {
    dynamic::prepare();
    let align = segment.align.max(1);
    SLOTS.with(|slots| {
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
            state: AtomicU8::new(Use::Undecided as u8),
        });
        match slots.modules.get_mut(slot) {
            Some(free) => *free = Some(module.clone()),
            None => slots.modules.push(Some(module.clone())),
        }
        Listed(module)
    })
}

/// How far from the thread pointer the block of module `id` lies in every thread: takes room in the arena if it has
/// none.
///
/// # Errors
/// [`ErrorKind::StaticTls`] where there is no room, or it is too late because threads have dynamic blocks.
pub(crate) fn require_static(id: u64, report: Report<'_>) -> Result<i64, ErrorKind> {
    let Some(module) = Module::find(id) else {
        return Err(ErrorKind::StaticTls {
            asked: 0,
            align: 1,
            left: arena::left(),
            size: arena::size(),
            why: "its library is gone".into(),
        });
    };
    let taken = DECIDING.with(|()| match module.state() {
        Use::Arena => Ok((module.static_offset.load(Ordering::Relaxed), false)),
        Use::Dynamic => Err("threads have dynamic blocks of it already, and those cannot move".into()),
        Use::Undecided => module.take(arena::Share::Whole).map(|offset| (offset, true)),
    });
    let (offset, is_new) = taken.map_err(|why: String| module.no_room(&why))?;
    if is_new {
        module.tell_static(offset, report);
    }
    Ok(offset)
}

impl Module {
    /// The module with this id, if it is still there.
    pub(crate) fn find(id: u64) -> Option<Arc<Module>> {
        SLOTS.with(|slots| slots.modules.get((id & SLOT_MASK) as usize)?.clone().filter(|m| m.id == id))
    }

    /// What was decided so far. It stands still as long as [`DECIDING`] is held.
    fn state(&self) -> Use {
        match self.state.load(Ordering::Relaxed) {
            state if state == Use::Arena as u8 => Use::Arena,
            state if state == Use::Dynamic as u8 => Use::Dynamic,
            _ => Use::Undecided,
        }
    }

    /// The same as [`require_static`] for code that can do without: only from a part of the arena, and only if that has
    /// room.
    fn prefer_static(&self, report: Report<'_>) -> Option<i64> {
        let (offset, is_new) = DECIDING.with(|()| match self.state() {
            Use::Arena => Some((self.static_offset.load(Ordering::Relaxed), false)),
            Use::Dynamic => None,
            Use::Undecided => Some((self.take(arena::Share::Part).ok()?, true)),
        })?;
        if is_new {
            self.tell_static(offset, report);
        }
        Some(offset)
    }

    /// Decides for the arena. [`DECIDING`] is held.
    fn take(&self, share: arena::Share) -> Result<i64, String> {
        let offset = arena::take(self.memsz, self.align, self.skew, share)?;
        self.static_offset.store(offset, Ordering::Relaxed);
        self.state.store(Use::Arena as u8, Ordering::Relaxed);
        Ok(offset)
    }

    /// Tells where the block is. No lock is held: a probe may use thread-local variables of a loaded library itself.
    fn tell_static(&self, offset: i64, report: Report<'_>) {
        report.tell(|| Kind::StaticTls { offset, length: self.memsz, align: self.align, left: arena::left() });
    }

    fn no_room(&self, why: &str) -> ErrorKind {
        ErrorKind::StaticTls {
            asked: self.memsz,
            align: self.align,
            left: arena::left(),
            size: arena::size(),
            why: why.into(),
        }
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

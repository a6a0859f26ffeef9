//! What happens to the memory of objects: reserve, map, zero, store, protect, call, unmap.
//!
//! Every effect on an object's memory happens in this file or in the folder beside it, and its event is told
//! on the spot, so that the stream is complete. What to do is decided elsewhere
//! ([`Plan`](crate::elf::plan::Plan), [`Write`](crate::elf::reloc::Write)); this code only does it.
//!
//! What becomes of the memory of an object that we map:
//!
//! | state | rights of its pages | until |
//! |---|---|---|
//! | reserved | none, or those of the first segment over the whole span | [`Memory::map`] has carried out every step of the plan |
//! | mapped | those of each segment | pass 2 of stage 8, relocate, is done |
//! | text open (`DT_TEXTREL` only) | code and constants are writable and not executable | [`Memory::shut_text`] |
//! | sealed | `PT_GNU_RELRO` is read-only, the rest as before | the `Memory` is dropped |
//! | gone | unmapped | |
//! | abandoned | none, because the kernel refused to unmap the range | the next request tries again |

use std::num::NonZeroUsize;
use std::ops::Range;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::ptr::NonNull;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use nix::errno::Errno;
use nix::sys::mman::{self, MapFlags, ProtFlags};

use crate::elf::addr::{Addr, Bias, FileOffset, PAGE, Vaddr, Word, page_down, page_up};
use crate::elf::image::{Image, Prot};
use crate::elf::plan::{Ground, Plan, Step};
use crate::error::ErrorKind;
use crate::event::{Kind, Probe, ProtectReason, Report, Request, Stage, Tag};
use crate::lock::Shared;

mod foreign;
mod patch;
mod view;
mod watch;
pub(crate) use foreign::{Arguments, Around, NothingAround, call_fini, call_init, call_resolver};
pub(crate) use view::{Source, View};
pub(crate) use watch::Watch;
use watch::Writable;

/// What goes wrong here is told by whoever knows the object and the stage.
type Result<T> = std::result::Result<T, ErrorKind>;

/// The memory of one object: mapped and owned by us, or the host's, which is only read.
pub(crate) struct Memory {
    bias: Bias,
    /// From the object's first page to the end of its last, relative to the load bias.
    span: Range<Vaddr>,
    /// One region for each `PT_LOAD`, ascending.
    regions: Vec<Region>,
    /// The range of the last writable segment, where nearly all relocations write. Empty if no segment is
    /// writable.
    data: Range<Vaddr>,
    /// Whether read-only pages are writable at the moment, because of `DT_TEXTREL`.
    text_open: AtomicBool,
    /// `None` if the memory is the host's.
    owned: Option<Owned>,
}

/// One `PT_LOAD` in memory. The range is exact, not rounded to pages.
struct Region {
    range: Range<Vaddr>,
    /// Where pages begin that no byte of the file belongs to.
    zeros: Vaddr,
    prot: Prot,
}

/// What `Drop` needs to tell of the unmapping.
pub(crate) struct Owned {
    pub tag: Tag,
    pub probe: Option<Arc<dyn Probe>>,
}

impl Memory {
    /// Carries out `plan` for the file `fd`. `owned` is kept for the event that tells of the unmapping.
    #[inline(never)] // a stage: see docs/gdb.md
    pub(crate) fn map(
        plan: &Plan,
        image: &Image,
        fd: BorrowedFd<'_>,
        owned: Owned,
        report: Report<'_>,
    ) -> Result<Memory> {
        let start = match plan.ground {
            Ground::Nothing => reserve(plan.length(), plan.align, plan.span.start, report)?,
            Ground::File { offset, prot } => map_whole(plan.length(), prot, fd, offset, report)?,
        };
        let bias = Bias(start.0.wrapping_sub(plan.span.start.0));
        // If a step fails from here on, `Drop` unmaps the whole reservation.
        let memory = Memory::new(bias, plan.span.clone(), regions(image), Some(owned));
        report.tell(|| Kind::Placed { bias: memory.bias, address: start, length: plan.length() });
        for step in &plan.steps {
            memory.carry_out(step, fd, report)?;
        }
        Ok(memory)
    }

    /// The memory of an object that the system's loader mapped. Nothing of it is ever changed or unmapped.
    pub(crate) fn of_host(bias: Bias, image: &Image) -> Memory {
        let regions = regions(image);
        let first = regions.first().map_or(Vaddr(0), |r| r.range.start.page_down());
        let end = regions.last().map_or(Vaddr(0), |r| r.range.end);
        Memory::new(bias, first..end, regions, None)
    }

    fn new(bias: Bias, span: Range<Vaddr>, regions: Vec<Region>, owned: Option<Owned>) -> Memory {
        let data = regions.iter().rev().find(|r| r.prot.writable() && owned.is_some());
        let data = data.map_or(Vaddr(0)..Vaddr(0), |r| r.range.clone());
        Memory { bias, span, regions, data, text_open: AtomicBool::new(false), owned }
    }

    fn carry_out(&self, step: &Step, fd: BorrowedFd<'_>, report: Report<'_>) -> Result<()> {
        match *step {
            Step::File { at, length, offset, prot, populate, .. } => {
                let address = self.bias + at;
                let event = Kind::Map { address, length, prot, fd: fd.as_raw_fd(), offset, populate };
                let mut flags = MapFlags::MAP_PRIVATE | MapFlags::MAP_FIXED;
                flags.set(MapFlags::MAP_POPULATE, populate);
                // SAFETY: a plan's steps lie inside its span, which is our own fresh reservation.
                unsafe { mman::mmap(hint(address), size(length), flags_of(prot), flags, fd, offset.0 as i64) }
                    .map_err(|errno| refused(&event, errno))?;
                report.tell(|| event);
            }
            Step::Anonymous { at, length, prot, .. } => {
                let address = self.bias + at;
                let event = Kind::MapZero { address, length, prot };
                let flags = MapFlags::MAP_PRIVATE | MapFlags::MAP_FIXED;
                // SAFETY: as above.
                unsafe { mman::mmap_anonymous(hint(address), size(length), flags_of(prot), flags) }
                    .map_err(|errno| refused(&event, errno))?;
                report.tell(|| event);
            }
            Step::Zero { at, length, .. } => {
                let address = self.bias + at;
                // SAFETY: the plan puts a `Zero` only behind the mapping of its page, writable, in our span.
                unsafe { pointer(address).write_bytes(0, length as usize) };
                report.tell(|| Kind::Zero { address, length });
            }
            Step::Protect { at, length, prot, .. } => {
                self.protect(at..Vaddr(at.0 + length), prot, ProtectReason::Plan, report)?;
            }
        }
        Ok(())
    }

    /// `B`.
    pub(crate) fn bias(&self) -> Bias {
        self.bias
    }

    /// The pages of the object, relative to the load bias.
    pub(crate) fn span(&self) -> Range<Vaddr> {
        self.span.clone()
    }

    /// The addresses from the first page of the object to the last byte of its last segment, with the gaps between segments:
    /// glibc's `l_map_start` and `l_map_end`.
    pub(crate) fn extent(&self) -> Range<Addr> {
        let end = self.regions.last().map_or(self.span.end, |last| last.range.end);
        self.bias + self.span.start..self.bias + end
    }

    /// Whether `address` lies in one of its segments.
    pub(crate) fn contains(&self, address: Addr) -> bool {
        self.region(self.bias.vaddr(address)).is_some()
    }

    fn region(&self, at: Vaddr) -> Option<&Region> {
        self.regions.iter().find(|r| r.range.contains(&at))
    }

    /// The bytes from `at` to the end of the pages that its segment has from the file, if they are readable and never
    /// written.
    ///
    /// # Safety
    /// The result must not be used after this `Memory` is dropped.
    pub(crate) unsafe fn constant_tail(&self, at: Vaddr) -> Option<&'static [u8]> {
        let region = self.region(at).filter(|r| r.prot.readable() && !r.prot.writable())?;
        let length = region.range.end.min(region.zeros).0.checked_sub(at.0)?;
        // SAFETY: the segment is mapped, readable and never written (the caller sees to text relocations);
        // the lifetime is the caller's promise.
        Some(unsafe { std::slice::from_raw_parts(pointer(self.bias + at), length as usize) })
    }

    /// A copy of `range`, if it lies in one readable segment.
    pub(crate) fn copy(&self, range: Range<Vaddr>) -> Option<Vec<u8>> {
        self.region(range.start).filter(|r| r.prot.readable() && range.end <= r.range.end)?;
        let length = (range.end.0 - range.start.0) as usize;
        let mut bytes = Vec::with_capacity(length);
        // SAFETY: the range is mapped and readable. It is copied byte for byte through raw pointers, so no
        // reference into memory that others may write exists.
        unsafe {
            std::ptr::copy_nonoverlapping(pointer(self.bias + range.start), bytes.as_mut_ptr(), length);
            bytes.set_len(length);
        }
        Some(bytes)
    }

    /// The 64-bit words of `range`, if it lies in one readable segment. Each word is read only when it is
    /// asked for.
    pub(crate) fn words(&self, range: Range<Vaddr>) -> Option<impl Iterator<Item = u64>> {
        self.region(range.start).filter(|r| r.prot.readable() && range.end <= r.range.end)?;
        let first = pointer(self.bias + range.start).cast::<u64>();
        // SAFETY: mapped and readable as long as this lives, which the iterator cannot outlive.
        Some((0..(range.end.0 - range.start.0) as usize / 8).map(move |at| unsafe { first.add(at).read_unaligned() }))
    }

    /// The writable segments of an object that we mapped.
    fn writable(&self) -> impl Iterator<Item = Writable> + '_ {
        let writable = |r: &&Region| r.prot.readable() && r.prot.writable() && self.owned.is_some();
        self.regions.iter().filter(writable).map(|r| Writable::of(r, self.bias + r.range.start))
    }

    /// Whether the bytes from `at` on, which lie in a readable segment, differ from `expected`.
    fn differs(&self, at: Vaddr, expected: &[u8]) -> bool {
        let here = pointer(self.bias + at);
        // SAFETY: the range was listed as readable; `memcmp` reads it through raw pointers, so no reference into
        // memory that others may write exists.
        unsafe { nix::libc::memcmp(here.cast(), expected.as_ptr().cast(), expected.len()) != 0 }
    }

    /// The 64-bit word at `at`, if it lies in a readable segment.
    #[inline]
    pub(crate) fn word(&self, at: Vaddr) -> Option<u64> {
        let region = self.region(at)?;
        (region.prot.readable() && fits(&region.range, at, 8)).then(|| {
            // SAFETY: eight bytes at `at` are mapped and readable.
            unsafe { pointer(self.bias + at).cast::<u64>().read_unaligned() }
        })
    }

    /// The 32-bit word at `at`, if it lies in a readable segment.
    pub(crate) fn word_of_32_bits(&self, at: Vaddr) -> Option<u32> {
        let region = self.region(at)?;
        (region.prot.readable() && fits(&region.range, at, 4)).then(|| {
            // SAFETY: four bytes at `at` are mapped and readable.
            unsafe { pointer(self.bias + at).cast::<u32>().read_unaligned() }
        })
    }

    /// Stores `value`, 4 or 8 bytes, at `place`. `None`: that is not inside a writable segment, and nothing is stored.
    #[track_caller]
    #[inline(never)]
    pub(crate) fn store<V: Storable>(&self, place: Vaddr, value: V, report: Report<'_>) -> Option<()> {
        let size = size_of::<V>() as u64;
        if !fits(&self.data, place, size) && !self.may_store(place, size) {
            return None;
        }
        let address = self.bias + place;
        let slot = pointer(address).cast::<V>();
        if report.closely() {
            // SAFETY: as for the write below; a writable segment that was checked is readable, too.
            let before = unsafe { slot.read_unaligned() };
            report.tell_each(|| Kind::Store {
                address,
                before: Word(before.into()),
                after: Word(value.into()),
                size: size_of::<V>() as u8,
            });
        }
        // SAFETY: the whole slot lies in a segment of ours that is mapped writable at this stage; no Rust
        // reference to memory in writable segments is ever made.
        unsafe { slot.write_unaligned(value) };
        Some(())
    }

    /// The words of the data segment, for a loop that stores many of them.
    pub(crate) fn data_words<'m>(&'m self, report: Report<'m>) -> DataWords<'m> {
        let room = if report.closely() { 0 } else { (self.data.end.0 - self.data.start.0).saturating_sub(7) };
        DataWords { memory: self, report, bias: self.bias.0, start: self.data.start.0, room }
    }

    /// `DT_TEXTREL`: makes every segment writable, and not executable, until [`Memory::shut_text`].
    #[track_caller]
    pub(crate) fn open_text(&self, report: Report<'_>) -> Result<()> {
        for region in self.regions.iter().filter(|r| !r.prot.writable()) {
            self.protect(pages(&region.range), region.prot.opened(), ProtectReason::TextOpen, report)?;
        }
        self.text_open.store(true, Ordering::Relaxed);
        Ok(())
    }

    /// Restores the rights of the segments that [`Memory::open_text`] made writable.
    #[track_caller]
    pub(crate) fn shut_text(&self, report: Report<'_>) -> Result<()> {
        self.text_open.store(false, Ordering::Relaxed);
        for region in self.regions.iter().filter(|r| !r.prot.writable()) {
            self.protect(pages(&region.range), region.prot, ProtectReason::TextShut, report)?;
        }
        Ok(())
    }

    /// `PT_GNU_RELRO`: makes the whole pages of `range` read-only. Both ends are rounded down, as in glibc's
    /// `_dl_protect_relro`, so that a page which also holds ordinary variables stays writable.
    #[track_caller]
    #[inline(never)] // a stage: see docs/gdb.md
    pub(crate) fn seal(&self, range: Range<Vaddr>, report: Report<'_>) -> Result<()> {
        let pages = range.start.page_down()..range.end.page_down();
        if pages.start >= pages.end {
            return Ok(());
        }
        if pages.start < self.span.start || pages.end > self.span.end {
            let expected = format!("inside {} … {}", self.span.start, self.span.end);
            let found = format!("{} … {}", range.start, range.end);
            return Err(ErrorKind::malformed(
                "PT_GNU_RELRO",
                range.start,
                found,
                expected,
                "only the object's own pages can be protected",
            ));
        }
        self.protect(pages, Prot::R, ProtectReason::Relro, report)
    }

    #[track_caller]
    fn protect(&self, range: Range<Vaddr>, prot: Prot, why: ProtectReason, report: Report<'_>) -> Result<()> {
        let (address, length) = (self.bias + range.start, range.end.0 - range.start.0);
        let event = Kind::Protect { address, length, prot, reason: why };
        // SAFETY: the range lies in our own span; what was readable stays readable, and the stages see to it
        // that nothing is stored where it is read-only.
        unsafe { mman::mprotect(raw(address), length as usize, flags_of(prot)) }
            .map_err(|errno| refused(&event, errno))?;
        report.tell(|| event);
        Ok(())
    }
}

/// A number that relocations store.
pub(crate) trait Storable: Copy + Into<u64> {}
impl Storable for u64 {}
impl Storable for u32 {}

/// The words of an object's data segment. A copy of the segment's bounds is kept here, so that a loop which stores many
/// words checks each of them with one comparison.
#[derive(Clone, Copy)]
pub(crate) struct DataWords<'m> {
    memory: &'m Memory,
    report: Report<'m>,
    /// `B`, the load bias.
    bias: u64,
    start: u64,
    /// How many places, from the start of the segment on, have room for a whole word. It is 0 if a probe listens closely:
    /// then every store goes the long way.
    room: u64,
}

impl DataWords<'_> {
    /// [`Memory::store`] for a word that most likely lies in the data segment. The long way, for all other words and
    /// for probes, begins with `tell`: one comparison decides on both, because a library may have 100,000 such words.
    #[track_caller]
    #[inline(always)]
    pub(crate) fn store(&self, place: Vaddr, value: u64, tell: impl FnOnce()) -> Option<()> {
        if place.0.wrapping_sub(self.start) >= self.room {
            tell();
            return self.memory.store(place, value, self.report);
        }
        let slot = pointer(Addr(self.bias.wrapping_add(place.0))).cast::<u64>();
        // SAFETY: as for `Memory::store`: the whole word lies in the writable segment.
        unsafe { slot.write_unaligned(value) };
        Some(())
    }
}

/// Asks the processor to fetch the cache line at `place`, without waiting for it.
#[inline(always)]
pub(crate) fn prefetch<T>(place: *const T) {
    // SAFETY: a prefetch never faults, whatever the address.
    unsafe { std::arch::x86_64::_mm_prefetch::<{ std::arch::x86_64::_MM_HINT_T0 }>(place.cast()) };
}

impl Drop for Memory {
    /// Unmaps what we mapped. If a load fails half-way, this is its rollback.
    fn drop(&mut self) {
        let Some(owned) = &self.owned else { return };
        let request = Request::current();
        let (address, length) = (self.bias + self.span.start, self.span.end.0 - self.span.start.0);
        unmap(address, length, request.report(owned.probe.as_deref(), Stage::Close).about(&owned.tag));
    }
}

/// Ranges that the kernel refused to unmap: to split a mapping takes another map entry, and their number is
/// limited.
static ABANDONED: Shared<Vec<(Addr, u64)>> = Shared::new(Vec::new());

fn unmap(address: Addr, length: u64, report: Report<'_>) {
    // SAFETY: the range is a reservation of ours, and its last user is gone: no object refers to it any more.
    match unsafe { mman::munmap(raw(address), length as usize) } {
        Ok(()) => report.tell(|| Kind::Unmap { address, length, error: None }),
        Err(errno) => {
            report.tell(|| Kind::Unmap { address, length, error: Some(name_of(errno)) });
            let prot = Prot::NONE;
            // SAFETY: as above: nobody uses the range.
            if unsafe { mman::mprotect(raw(address), length as usize, ProtFlags::PROT_NONE) }.is_ok() {
                report.tell(|| Kind::Protect { address, length, prot, reason: ProtectReason::Abandoned });
            }
            ABANDONED.with(|ranges| ranges.push((address, length)));
        }
    }
}

/// Tries again to unmap the ranges that the kernel refused to unmap before.
pub(crate) fn retry_abandoned(report: Report<'_>) {
    for (address, length) in ABANDONED.with(std::mem::take) {
        unmap(address, length, report);
    }
}

/// Reserves `length` bytes of address space without access, at a place where the load bias (the start minus
/// `first`) is a multiple of `align`.
fn reserve(length: u64, align: u64, first: Vaddr, report: Report<'_>) -> Result<Addr> {
    let extra = if align > PAGE { align } else { 0 };
    let total = length + extra;
    let call = || format!("mmap(NULL, {total}, PROT_NONE, MAP_PRIVATE|MAP_ANONYMOUS, -1, 0)");
    let wanted =
        NonZeroUsize::new(total as usize).ok_or_else(|| ErrorKind::System { call: call(), errno: Errno::EINVAL })?;
    // SAFETY: a fresh mapping at an address of the kernel's choice touches nothing that exists.
    let got = unsafe { mman::mmap_anonymous(None, wanted, ProtFlags::PROT_NONE, MapFlags::MAP_PRIVATE) }
        .map_err(|errno| ErrorKind::System { call: call(), errno })?;
    let got = Addr(got.as_ptr() as u64);
    report.tell(|| Kind::Reserve { address: got, length: total });
    if extra == 0 {
        return Ok(got);
    }
    // The load bias must be a multiple of `align`: unmap what is too much before and behind.
    let bias = got.0.wrapping_sub(first.0).wrapping_add(align - 1) & !(align - 1);
    let start = Addr(bias.wrapping_add(first.0));
    let (before, behind) = (start.0 - got.0, got.0 + total - (start.0 + length));
    if before > 0 {
        unmap(got, before, report);
    }
    if behind > 0 {
        unmap(Addr(start.0 + length), behind, report);
    }
    Ok(start)
}

/// Maps the file from `offset` on over `length` bytes of address space.
fn map_whole(length: u64, prot: Prot, fd: BorrowedFd<'_>, offset: FileOffset, report: Report<'_>) -> Result<Addr> {
    let event = |address| Kind::MapWhole { address, length, prot, fd: fd.as_raw_fd(), offset };
    // SAFETY: a fresh mapping at an address of the kernel's choice touches nothing that exists.
    let got = unsafe { mman::mmap(None, size(length), flags_of(prot), MapFlags::MAP_PRIVATE, fd, offset.0 as i64) }
        .map_err(|errno| refused(&event(Addr(0)), errno))?;
    let address = Addr(got.as_ptr() as u64);
    report.tell(|| event(address));
    Ok(address)
}

fn regions(image: &Image) -> Vec<Region> {
    let region = |s: &crate::elf::image::Segment| Region {
        // Nobody but the system's loader has checked the headers of a host object, so the sum must not
        // overflow.
        range: s.vaddr..Vaddr(s.vaddr.0.saturating_add(s.memsz)),
        zeros: Vaddr(page_up(s.vaddr.0.saturating_add(s.filesz)).unwrap_or(u64::MAX)),
        prot: s.flags,
    };
    image.loads().map(region).collect()
}

#[inline(always)]
fn fits(range: &Range<Vaddr>, at: Vaddr, size: u64) -> bool {
    at >= range.start && at < range.end && range.end.0 - at.0 >= size
}

fn pages(range: &Range<Vaddr>) -> Range<Vaddr> {
    range.start.page_down()..Vaddr(page_down(range.end.0 + PAGE - 1))
}

#[inline(always)]
fn pointer(address: Addr) -> *mut u8 {
    std::ptr::with_exposed_provenance_mut(address.0 as usize)
}

fn hint(address: Addr) -> Option<NonZeroUsize> {
    NonZeroUsize::new(address.0 as usize)
}

fn raw(address: Addr) -> NonNull<std::ffi::c_void> {
    // Address 0 is never ours. With a dangling pointer the kernel refuses the call, and dlscope does not
    // panic.
    NonNull::new(pointer(address).cast()).unwrap_or(NonNull::dangling())
}

fn size(length: u64) -> NonZeroUsize {
    NonZeroUsize::new(length as usize).unwrap_or(NonZeroUsize::MIN)
}

fn flags_of(prot: Prot) -> ProtFlags {
    let mut flags = ProtFlags::PROT_NONE;
    flags.set(ProtFlags::PROT_READ, prot.readable());
    flags.set(ProtFlags::PROT_WRITE, prot.writable());
    flags.set(ProtFlags::PROT_EXEC, prot.executable());
    flags
}

/// The error for a refused mapping call. Its event has the call in the words of `strace`.
fn refused(event: &Kind, errno: Errno) -> ErrorKind {
    let call = event.strace().unwrap_or_default();
    let call = call.rsplit_once(" = ").map_or(&*call, |(call, _)| call);
    ErrorKind::System { call: call.into(), errno }
}

/// The name of an errno as `strace` prints it: `ENOMEM`.
pub(crate) fn name_of(errno: Errno) -> String {
    format!("{errno:?}")
}

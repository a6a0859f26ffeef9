//! The arena: room for initial-exec variables in every thread, set aside at start-up.
//!
//! It is a thread-local array of our own module, so glibc puts it at one distance from the thread pointer in
//! every thread, if it has room (`docs/tls.md`, "Where there is no room"). Its header is dlscope's own (`thread.rs`). A
//! library's block is carved out of the rest; its image then has to reach every thread:
//!
//! - *threads to come* copy it from the template: the initial image of our module (`PT_TLS`), from which glibc
//!   fills the static block of each new thread. It is made writable for the moment.
//! - *the threads that are there* stand in lists of glibc, and the kernel writes into their memory (`threads.rs`).
//!
//! `docs/tls.md` says which windows stay: threads that begin or end at this very moment.

use std::arch::{global_asm, naked_asm};
use std::ffi::c_char;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::sync::atomic::Ordering;

use goblin::elf64::program_header::PT_GNU_RELRO;
use nix::errno::Errno;
use nix::sys::mman::{ProtFlags, mprotect};

use super::threads::write_everywhere;
use super::{Module, thread_pointer};
use crate::elf::addr::{Addr, PAGE, page_down};
use crate::error::ErrorKind;
use crate::event::{Kind, Report};
use crate::host::Host;
use crate::lock::Shared;
use crate::thread::{HEADER, distance_to_arena};

/// Bytes of the arena in each thread: 8 KiB, or what `DLSCOPE_TLS_ARENA` said when dlscope was built. 16 KiB
/// would make `pthread_create` fail for threads with stacks of 16 KiB. A program that is itself loaded late (a
/// plugin) has no static TLS to spare: it is built with `DLSCOPE_TLS_ARENA=0` and does without initial exec.
const SIZE: usize = match option_env!("DLSCOPE_TLS_ARENA") {
    None => 8192,
    Some(text) => parse(text),
};

/// What dlscope's own thread-local variables take at the end of each thread's stack, in whole pages.
pub(crate) const ROOM: usize = (SIZE + HEADER + 64).next_multiple_of(PAGE as usize);

/// The alignment of the arena, so the largest `p_align` it can serve.
const ALIGN: u64 = 64;
/// TLS descriptors work without the arena, too; they get no more than this part of it.
const PART: u64 = SIZE as u64 / 4;

const fn parse(text: &str) -> usize {
    let bytes = text.as_bytes();
    let (mut value, mut at) = (0, 0);
    while at < bytes.len() {
        assert!(bytes[at].is_ascii_digit(), "DLSCOPE_TLS_ARENA is a number of bytes");
        value = value * 10 + (bytes[at] - b'0') as usize;
        at += 1;
    }
    value
}

// In `.tdata`, not `.tbss`: only what has bytes in the file has a template to write to.
global_asm!(
    ".pushsection .tdata,\"awT\",@progbits",
    ".balign 64",
    ".globl __dlscope_tls_arena",
    ".hidden __dlscope_tls_arena",
    ".type __dlscope_tls_arena, @object",
    ".size __dlscope_tls_arena, {size}",
    "__dlscope_tls_arena:",
    ".zero {size}",
    ".popsection",
    size = const SIZE + HEADER,
);

/// Bytes from the thread pointer to the arena, which is below it. `None`: glibc has no static room for it.
fn offset() -> Option<i64> {
    Some(distance()).filter(|&distance| distance < 0)
}

#[unsafe(naked)]
extern "C" fn distance() -> i64 {
    naked_asm!(".cfi_startproc", distance_to_arena!("rax"), "ret", ".cfi_endproc")
}

/// Bytes of the arena in this process.
pub(super) fn size() -> u64 {
    if offset().is_some() { SIZE as u64 } else { 0 }
}

/// Which part of the arena may be used up.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum Share {
    Whole,
    Part,
}

/// The ranges in use, as offsets into the arena, ascending, and on whose account.
struct Taken {
    ranges: Vec<(Range<u64>, Share)>,
}

impl Taken {
    fn bytes(&self, of: impl Fn(Share) -> bool) -> u64 {
        self.ranges.iter().filter(|(_, share)| of(*share)).map(|(r, _)| r.end - r.start).sum()
    }
}

static TAKEN: Shared<Taken> = Shared::new(Taken { ranges: Vec::new() });

/// How many bytes are not in use.
pub(super) fn left() -> u64 {
    size() - TAKEN.with(|taken| taken.bytes(|_| true))
}

/// Takes `size` bytes at an address that is `skew` modulo `align` in every thread. Returns the distance from
/// the thread pointer.
pub(super) fn take(size: u64, align: u64, skew: u64, share: Share) -> Result<i64, String> {
    if align > ALIGN || !align.is_power_of_two() {
        return Err(format!("the arena is aligned to {ALIGN} bytes only"));
    }
    let offset = offset().ok_or("there is no arena: glibc had no static room for it (see docs/tls.md)")?;
    TAKEN.with(|taken| taken.take(size, align, skew, share)).map(|start| offset + start as i64)
}

impl Taken {
    fn take(&mut self, size: u64, align: u64, skew: u64, share: Share) -> Result<u64, String> {
        if share == Share::Part && self.bytes(|s| s == Share::Part) + size > PART {
            return Err("the part of the arena for descriptors is used up".into());
        }
        // First fit: before the first range, between two, or behind the last.
        let mut at = HEADER as u64;
        let place = |from: u64| from + (skew + align - from % align) % align;
        let mut index = 0;
        for (range, _) in &self.ranges {
            if place(at) + size <= range.start {
                break;
            }
            at = range.end;
            index += 1;
        }
        let start = place(at);
        if start + size > (HEADER + SIZE) as u64 {
            return Err("no gap in it is large enough".into());
        }
        // A block without bytes takes one: no two have the same distance.
        self.ranges.insert(index, (start..start + size.max(1), share));
        Ok(start)
    }
}

/// Ends the use of what [`take`] gave.
pub(super) fn give_back(at: i64) {
    let start = (at - distance()) as u64;
    TAKEN.with(|taken| taken.ranges.retain(|(range, _)| range.start != start));
}

/// Writes the initial image of a library, if it is in the arena, into every thread and into the template for threads to
/// come. The library is relocated: the image may hold addresses.
///
/// # Errors
/// Where the template is, or a call that the kernel refuses.
pub(crate) fn install(module: u64, host: &Host, report: Report<'_>) -> Result<(), ErrorKind> {
    let Some(module) = Module::find(module) else { return Ok(()) };
    let at = module.static_offset.load(Ordering::Relaxed);
    if at == 0 {
        return Ok(());
    }
    let image = module.initial();
    let (template, threads) = install_everywhere(at, &image, host)?;
    report.tell(|| Kind::InstallTls { offset: at, length: image.len() as u64, template, threads });
    Ok(())
}

/// Returns where the template is, and how many other threads there were.
fn install_everywhere(at: i64, image: &[u8], host: &Host) -> Result<(Addr, usize), ErrorKind> {
    let _no_thread_begins = super::creating::installing();
    let template = write_template(at, image, host)?;
    let own = std::ptr::with_exposed_provenance_mut::<u8>(thread_pointer().wrapping_add_signed(at) as usize);
    // SAFETY: this thread's own arena: `take` gave these bytes to the module, and nobody has used them yet.
    unsafe { own.copy_from_nonoverlapping(image.as_ptr(), image.len()) };
    // SAFETY: glibc changes it when the process gets its second thread, which is not while the only one is here.
    if unsafe { (&raw const __libc_single_threaded).read() } != 0 {
        return Ok((template, 0));
    }
    // Twice: glibc copies the template into a thread's new block, and puts the thread into its list a moment later.
    write_everywhere(at, image, host)?;
    Ok((template, write_everywhere(at, image, host)?))
}

unsafe extern "C" {
    /// `<sys/single_threaded.h>`: not 0 while the process has one thread only.
    static __libc_single_threaded: c_char;
}

/// Writes into the initial image of our own module's TLS block.
fn write_template(at: i64, image: &[u8], host: &Host) -> Result<Addr, ErrorKind> {
    let unknown = |what: &str| ErrorKind::Unsupported {
        what: "initial-exec thread-local storage in a program without a known static TLS block".into(),
        detail: what.into(),
    };
    let here = Addr(distance as *const () as u64);
    let ours = host.owner(here).ok_or_else(|| unknown("dlscope's own object is not in the host's list"))?;
    let block =
        host.tls_offset(ours).ok_or_else(|| unknown("glibc does not tell its place, or it is a dynamic one"))?;
    let segment = ours.image.tls().ok_or_else(|| unknown("dlscope's own object has no PT_TLS"))?;
    // From the start of our block, which is at `tp - block`, to the bytes at `tp + at`.
    let inside = (block as i64 + at) as u64;
    if inside + image.len() as u64 > segment.filesz {
        return Err(unknown("the arena is not in the initial image"));
    }
    let address = ours.bias() + segment.vaddr;
    let address = Addr(address.0 + inside);
    // Initial images lie in RELRO: opened for the moment, then shut again.
    let vaddr = ours.bias().vaddr(address);
    let in_relro = ours.image.segment(PT_GNU_RELRO).is_some_and(|r| vaddr >= r.vaddr && vaddr.0 < r.vaddr.0 + r.memsz);
    let start = page_down(address.0);
    let length = (address.0 + image.len() as u64).next_multiple_of(PAGE) - start;
    let writable = ProtFlags::PROT_READ | ProtFlags::PROT_WRITE;
    match if in_relro { protect(start, length, writable) } else { Ok(()) } {
        Err(ErrorKind::System { errno: Errno::EPERM, .. }) => write_sealed(address, image)?,
        opened => {
            opened?;
            let target = std::ptr::with_exposed_provenance_mut::<u8>(address.0 as usize);
            // SAFETY: inside the initial image of our own module, writable now. glibc reads it for new threads only.
            unsafe { target.copy_from_nonoverlapping(image.as_ptr(), image.len()) };
            if in_relro {
                protect(start, length, ProtFlags::PROT_READ)?;
            }
        }
    }
    Ok(address)
}

/// The same where a program has sealed its memory (mseal(2)): the protection of the pages stays as it is, and the kernel
/// writes to them as it does for a debugger.
fn write_sealed(address: Addr, image: &[u8]) -> Result<(), ErrorKind> {
    const MEMORY: &str = "/proc/self/mem";
    let memory = std::fs::OpenOptions::new().write(true).open(MEMORY);
    let written = memory.and_then(|memory| memory.write_all_at(image, address.0));
    let call = || format!("pwrite({MEMORY}, …, {}, {:#x})", image.len(), address.0);
    let errno = |error: &std::io::Error| Errno::from_raw(error.raw_os_error().unwrap_or(0));
    written.map_err(|error| ErrorKind::System { call: call(), errno: errno(&error) })
}

fn protect(start: u64, length: u64, prot: ProtFlags) -> Result<(), ErrorKind> {
    let page = std::ptr::NonNull::new(std::ptr::with_exposed_provenance_mut(start as usize));
    let call = || format!("mprotect({start:#x}, {length}, …)");
    let page = page.ok_or_else(|| ErrorKind::System { call: call(), errno: Errno::EINVAL })?;
    // SAFETY: pages of our own module's initial TLS image, which stay readable all the time.
    unsafe { mprotect(page, length as usize, prot) }.map_err(|errno| ErrorKind::System { call: call(), errno })
}

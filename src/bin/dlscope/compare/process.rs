//! What a process can know about itself: its objects, its memory, and the rights of its pages.

use std::ffi::{CStr, c_int, c_void};
use std::fs::{self, File};
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;

use dlscope::elf::addr::PAGE;
use nix::libc;

use super::file::{ElfFile, span};
use super::snapshot::{PageRun, Snapshot};
use crate::bytes::{path_of, shown_bytes};

/// One object of the process.
#[derive(Clone, Debug)]
pub struct Present {
    pub path: String,
    pub bias: u64,
    /// Its pages, as addresses.
    pub span: Range<u64>,
    /// This thread's block of its thread-local variables, if it has any.
    pub block: Option<Block>,
}

/// The calling thread's block of an object's thread-local variables.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Block {
    /// The module id, as in slots of `R_X86_64_DTPMOD64`.
    pub module: u64,
    /// The first address; `None` as long as the thread has not used the block.
    pub start: Option<u64>,
    pub size: u64,
}

/// The objects that the C library knows, in its order.
pub fn listed() -> Vec<Present> {
    let mut list: Vec<Present> = Vec::new();
    // SAFETY: the callback takes exactly this argument and copies everything out.
    unsafe { libc::dl_iterate_phdr(Some(visit), (&raw mut list).cast()) };
    list
}

unsafe extern "C" fn visit(info: *mut libc::dl_phdr_info, _: usize, list: *mut c_void) -> c_int {
    // SAFETY: `listed` passes its list; the C library a valid `info`.
    let (info, list) = unsafe { (&*info, &mut *list.cast::<Vec<Present>>()) };
    // SAFETY: so many headers are there, says `dl_iterate_phdr(3)`.
    let headers = unsafe { std::slice::from_raw_parts(info.dlpi_phdr, info.dlpi_phnum.into()) };
    let path = if info.dlpi_name.is_null() {
        String::new()
    } else {
        // SAFETY: a C string, says `dl_iterate_phdr(3)`.
        shown_bytes(unsafe { CStr::from_ptr(info.dlpi_name) }.to_bytes())
    };
    let loads = headers.iter().filter(|h| h.p_type == libc::PT_LOAD).map(|h| (h.p_vaddr, h.p_memsz));
    let vaddrs = span(&loads.collect::<Vec<_>>());
    let tls = headers.iter().find(|h| h.p_type == libc::PT_TLS).filter(|_| info.dlpi_tls_modid != 0);
    list.push(Present {
        path: if path.is_empty() { Snapshot::PROGRAM.into() } else { path },
        bias: info.dlpi_addr,
        span: info.dlpi_addr.wrapping_add(vaddrs.start)..info.dlpi_addr.wrapping_add(vaddrs.end),
        block: tls.map(|tls| Block {
            module: info.dlpi_tls_modid as u64,
            start: (!info.dlpi_tls_data.is_null()).then_some(info.dlpi_tls_data as u64),
            size: tls.p_memsz,
        }),
    });
    0
}

/// The memory of this process, read through the kernel: a page without access gives an error and no crash. Read-only
/// pages can be written, too, which only `--corrupt` does.
pub struct OwnMemory(File);

impl OwnMemory {
    pub fn open() -> io::Result<OwnMemory> {
        File::options().read(true).write(true).open("/proc/self/mem").map(OwnMemory)
    }

    pub fn read(&self, range: Range<u64>) -> Option<Vec<u8>> {
        let mut bytes = vec![0; usize::try_from(range.end.checked_sub(range.start)?).ok()?];
        self.0.read_exact_at(&mut bytes, range.start).ok()?;
        Some(bytes)
    }

    pub fn read_word(&self, address: u64) -> Option<u64> {
        let mut word = [0; 8];
        self.0.read_exact_at(&mut word, address).ok()?;
        Some(u64::from_le_bytes(word))
    }

    pub fn write_word(&self, address: u64, word: u64) -> Option<()> {
        self.0.write_all_at(&word.to_le_bytes(), address).ok()
    }
}

/// One line of `/proc/self/maps`.
pub struct Mapping {
    pub range: Range<u64>,
    /// `r-x`.
    pub rights: String,
    /// Whether what is written to it goes to the file. The parts of a library are private, and files that somebody only
    /// reads are often shared.
    is_shared: bool,
    /// The offset of its first byte in the file.
    offset: u64,
    /// The path of the file; empty for other mappings.
    pub path: String,
}

/// `/proc/self/maps`.
pub struct Maps(pub Vec<Mapping>);

impl Maps {
    pub fn read() -> io::Result<Maps> {
        let text = shown_bytes(&fs::read("/proc/self/maps")?);
        let number = |text: &str| u64::from_str_radix(text, 16).ok();
        let mapping = |line: &str| {
            let mut words = line.split_ascii_whitespace();
            let (start, end) = words.next()?.split_once('-')?;
            let range = number(start)?..number(end)?;
            let (rights, kind) = words.next()?.split_at_checked(3)?;
            let offset = number(words.next()?)?;
            let path = line.find('/').map_or(String::new(), |at| line[at..].into());
            Some(Mapping { range, rights: rights.into(), is_shared: kind == "s", offset, path })
        };
        Ok(Maps(text.lines().filter_map(mapping).collect()))
    }

    /// The libraries in memory, whichever loader mapped them: files of which the beginning and an executable part are
    /// mapped.
    pub fn libraries(&self) -> Vec<Present> {
        let mut found: Vec<Present> = Vec::new();
        for first in self.0.iter().filter(|m| m.offset == 0 && !m.is_shared && !m.path.is_empty()) {
            // In a very small file several segments are mapped from offset 0.
            let of_same = |o: &Present| o.path == first.path && o.span.contains(&first.range.start);
            if found.last().is_some_and(of_same) {
                continue;
            }
            let Some(file) = ElfFile::open(&path_of(&first.path)) else { continue };
            let bias = first.range.start.wrapping_sub(file.span().start);
            let span = first.range.start..file.span().end.wrapping_add(bias);
            let code = |m: &Mapping| m.path == first.path && m.rights.contains('x') && span.contains(&m.range.start);
            if self.0.iter().any(code) {
                found.push(Present { path: first.path.clone(), bias, span, block: None });
            }
        }
        found
    }

    /// Whether an address is mapped.
    pub fn contains(&self, address: u64) -> bool {
        let after = self.0.partition_point(|mapping| mapping.range.end <= address);
        self.0.get(after).is_some_and(|mapping| mapping.range.contains(&address))
    }

    /// The rights of an object's pages.
    pub fn pages(&self, object: &Present) -> Vec<PageRun> {
        let mut pages: Vec<PageRun> = Vec::new();
        let mut push = |range: Range<u64>, rights: &str| {
            let count = range.end.saturating_sub(range.start) / PAGE;
            match pages.last_mut() {
                _ if count == 0 => {}
                Some(last) if last.rights == rights => last.count += count,
                _ => {
                    pages.push(PageRun { start: range.start.wrapping_sub(object.bias), count, rights: rights.into() });
                }
            }
        };
        let mut at = object.span.start;
        let inside = |m: &&Mapping| m.range.start < object.span.end && m.range.end > object.span.start;
        for mapping in self.0.iter().filter(inside) {
            push(at..mapping.range.start, "unmapped");
            let end = mapping.range.end.min(object.span.end);
            push(at.max(mapping.range.start)..end, &mapping.rights);
            at = end;
        }
        push(at..object.span.end, "unmapped");
        pages
    }
}

/// The thread pointer: `fs:0` holds its own address (psABI, "Thread-Local Storage").
pub fn thread_pointer() -> u64 {
    let pointer;
    // SAFETY: reads one word that every thread has.
    unsafe {
        std::arch::asm!("mov {}, fs:0", out(reg) pointer, options(nostack, preserves_flags, readonly));
    }
    pointer
}

/// The offset of a variable from the thread pointer, which its TLS descriptor gives as to compiled code.
///
/// # Safety
/// A loader has filled in the two words at `descriptor`.
pub unsafe fn through_descriptor(descriptor: u64) -> u64 {
    let offset;
    // SAFETY: the function of a descriptor takes its address in rax, answers there, and preserves every other
    // register (psABI, "TLS Descriptors"). The red zone is stepped over, the stack aligned as for any call.
    unsafe {
        std::arch::asm!(
            "mov {saved}, rsp",
            "sub rsp, 128",
            "and rsp, -16",
            "call [rax]",
            "mov rsp, {saved}",
            saved = out(reg) _,
            inout("rax") descriptor => offset,
        );
    }
    offset
}

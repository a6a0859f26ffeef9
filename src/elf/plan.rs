//! From `PT_LOAD` headers to a list of mapping steps, before anything is mapped.
//!
//! gABI "Program Loading"; glibc `_dl_map_segments`, musl `map_library`. A [`Plan`] is a value: it can be printed,
//! compared and tested without a process. `memory::Memory::map` carries it out to the letter.

use std::ops::Range;

use super::addr::{FileOffset, PAGE, Vaddr, page_down, page_up};
use super::image::{Image, Prot, Segment};
use crate::error::{ErrorKind, Where};

/// A data segment of up to so many bytes in the file is populated when it is mapped. Relocations and the loader write
/// to nearly all its pages: tables of functions, the GOT, the end of the bss.
const SMALL: u64 = 4 * PAGE;
/// A data segment of up to so many bytes is populated if more than half of it is `PT_GNU_RELRO`, since what becomes
/// read-only in the end is what relocations write to. Of the 92 libraries that libavcodec needs, 83 have a data segment
/// of these two kinds; of its 347 pages 344 are written to.
const LARGE: u64 = 64 * PAGE;
/// A data segment of up to so many bytes is populated if all but a sixteenth of it is `PT_GNU_RELRO`: so it is with the
/// 101 pages of libcrypto and the 1917 of libLLVM.
const LARGEST: u64 = 4096 * PAGE;

/// The field of the error for a segment that no mapping can put where it belongs.
pub const UNALIGNED: &str = "p_vaddr with p_offset";

/// One act on the object's future memory. Addresses are `p_vaddr`s on page boundaries, except in [`Step::Zero`];
/// lengths are bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize), serde(rename_all = "snake_case", tag = "do"))]
pub enum Step {
    /// Map the file's pages from `offset` at `at`.
    File {
        /// The program header this comes from.
        segment: usize,
        /// The `p_vaddr` where it begins.
        at: Vaddr,
        /// The length in bytes: whole pages.
        length: u64,
        /// The place in the file: a page boundary.
        offset: FileOffset,
        /// The access rights.
        prot: Prot,
        /// Whether the kernel copies the pages for this process at once (`MAP_POPULATE`). A data segment that is small
        /// or mostly `PT_GNU_RELRO` is mapped so: nearly every page of it will be written to anyway, and each page
        /// fault that this saves takes half as long as a system call.
        populate: bool,
    },
    /// Map fresh zero pages: the part of the bss that begins on a page boundary.
    Anonymous {
        /// The program header this comes from.
        segment: usize,
        /// The `p_vaddr` where it begins.
        at: Vaddr,
        /// The length in bytes: whole pages.
        length: u64,
        /// The access rights.
        prot: Prot,
    },
    /// Zero the bytes between the end of the segment's part of the file and the end of its last page, which came from
    /// the file and holds the file's next bytes there.
    Zero {
        /// The program header this comes from.
        segment: usize,
        /// The `p_vaddr` where it begins, which need not be a page boundary.
        at: Vaddr,
        /// The length in bytes: less than a page.
        length: u64,
    },
    /// Give pages that were made writable for [`Step::Zero`] their final rights.
    Protect {
        /// The program header this comes from.
        segment: usize,
        /// The `p_vaddr` where it begins.
        at: Vaddr,
        /// The length in bytes: whole pages.
        length: u64,
        /// The access rights.
        prot: Prot,
    },
}

/// What the first call to the kernel puts into the whole span, before any step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize), serde(rename_all = "snake_case", tag = "with"))]
pub enum Ground {
    /// Nothing: the addresses are reserved, and every access to them crashes.
    Nothing,
    /// The file, mapped over the whole span as the first segment wants it. The first segment is in place then, and so
    /// is every other segment that has the same rights and lies as far from the first in memory as in the file. The
    /// others are mapped over it. This is done only where segments follow each other without a gap, because a gap would
    /// have to stay inaccessible. glibc and musl always do it; each call that it saves is a tenth of the time in which
    /// a small library is loaded.
    File {
        /// The place in the file: a page boundary.
        offset: FileOffset,
        /// The rights of the first segment, which is not writable.
        prot: Prot,
    },
}

/// What the whole file needs in memory.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct Plan {
    /// From the first segment's first page to the end of the last segment's last page: one reservation.
    pub span: Range<Vaddr>,
    /// The largest `p_align` that is a power of two, in bytes, at least a page: the load bias is a multiple of it.
    pub align: u64,
    /// What the first call fills the reservation with.
    pub ground: Ground,
    /// What to do inside the reservation, in order. Pages that no step names stay `PROT_NONE`.
    pub steps: Vec<Step>,
}

impl Plan {
    /// Checks the `PT_LOAD` headers of `image` and lays the segments out.
    ///
    /// # Errors
    /// [`ErrorKind::Malformed`] with the header and field that are wrong, or [`ErrorKind::Policy`] for a segment that
    /// would be writable and executable at once.
    #[inline(never)] // a stage: see docs/gdb.md
    pub fn new(image: &Image) -> Result<Plan, ErrorKind> {
        let mut steps = Vec::with_capacity(image.segments.len());
        let mut span: Option<Range<Vaddr>> = None;
        let mut align = PAGE;
        let mut before: Option<&Segment> = None;
        for segment in image.loads() {
            let (end, mapped_to) = check(image, segment, before)?;
            before = Some(segment);
            // As in glibc, the places in the file need not agree with it: only the load bias is a multiple of it.
            if segment.align.is_power_of_two() {
                align = align.max(segment.align);
            }
            let pages_end = round_up(image, segment, end.0)?;
            let first = span.as_ref().map_or(segment.vaddr.page_down(), |s| s.start);
            span = Some(first..Vaddr(pages_end));
            place(image, segment, mapped_to, pages_end, &mut steps)?;
        }
        match span {
            Some(span) if span.start < span.end => {
                let ground = ground(image, align, &steps);
                steps.retain(|step| !in_place(step, ground, span.start));
                Ok(Plan { span, align, ground, steps })
            }
            _ => Err(ErrorKind::Malformed {
                field: "PT_LOAD".into(),
                at: Where::File(image.e_phoff),
                found: "no segment with bytes in memory".into(),
                expected: "at least one".into(),
                rule: "gABI, \"Program Header\"".into(),
            }),
        }
    }

    /// The length of the reservation in bytes.
    pub fn length(&self) -> u64 {
        self.span.end.0 - self.span.start.0
    }
}

/// Decides whether the first call can map the file over the whole span.
fn ground(image: &Image, align: u64, steps: &[Step]) -> Ground {
    let mut loads = image.loads();
    let Some(first) = loads.next() else { return Ground::Nothing };
    let whole = first.filesz > 0 && first.filesz == first.memsz && first.flags.readable() && !first.flags.writable();
    // If the bias must be a multiple of more than a page, `reserve` finds it by reserving more than is needed.
    if !whole || align > PAGE {
        return Ground::Nothing;
    }
    let mut end = first.vaddr.page_down();
    for step in steps {
        match *step {
            Step::File { at, length, .. } | Step::Anonymous { at, length, .. } if at == end => {
                end = Vaddr(at.0 + length);
            }
            Step::File { .. } | Step::Anonymous { .. } => return Ground::Nothing,
            Step::Zero { .. } | Step::Protect { .. } => {}
        }
    }
    Ground::File { offset: FileOffset(page_down(first.offset.0)), prot: first.flags }
}

/// Whether the first call has done this step already.
fn in_place(step: &Step, ground: Ground, start: Vaddr) -> bool {
    match (step, ground) {
        (&Step::File { at, offset, prot, .. }, Ground::File { offset: first, prot: rights }) => {
            prot == rights && offset.0.wrapping_sub(first.0) == at.0 - start.0
        }
        _ => false,
    }
}

/// Checks one `PT_LOAD` on its own and against the one `before`. Returns its end in memory, and the end of the pages that
/// are mapped already.
fn check(image: &Image, s: &Segment, before: Option<&Segment>) -> Result<(Vaddr, u64), ErrorKind> {
    let bad = |field: &str, at: u64, found: String, expected: String, why: &str| ErrorKind::Malformed {
        field: format!("program header {} (PT_LOAD): {field}", s.index),
        at: Where::File(FileOffset(image.header_offset(s.index).0 + at)),
        found,
        expected,
        rule: format!("{why} (gABI, \"Program Header\")"),
    };
    if s.flags.writable() && s.flags.executable() {
        return Err(ErrorKind::Policy {
            what: format!("program header {} (PT_LOAD)", s.index),
            found: format!("p_flags {}", s.flags),
            reason:
                "nothing is ever mapped writable and executable at once; relink with -z separate-code and without -N"
                    .into(),
        });
    }
    if s.filesz > s.memsz {
        let why = "a segment cannot have more bytes in the file than in memory";
        return Err(bad("p_filesz", 32, format!("{:#x}", s.filesz), format!("at most p_memsz {:#x}", s.memsz), why));
    }
    match s.offset.0.checked_add(s.filesz) {
        Some(end) if end <= image.file_length => {}
        _ => {
            let expected = format!("at most {:#x}, the length of the file", image.file_length);
            let found = format!("{:#x} + {:#x}", s.offset.0, s.filesz);
            return Err(bad(
                "p_offset + p_filesz",
                8,
                found,
                expected,
                "the file is damaged or cut: a segment ends past its end",
            ));
        }
    }
    // `p_align` may be less than a page (0 and 1 mean "no alignment"), and may be more than what both places agree on:
    // `patchelf` and mold write such files, and glibc checks no more than this.
    if s.vaddr.0.wrapping_sub(s.offset.0) & (PAGE - 1) != 0 {
        let found = format!("{} with p_offset {}", s.vaddr, s.offset);
        let expected = format!("equal to p_offset modulo a page, {PAGE:#x}");
        return Err(bad(UNALIGNED, 16, found, expected, "a page of the file is mapped as a page of memory"));
    }
    let last_end = before.map_or(Vaddr(0), |before| Vaddr(before.vaddr.0 + before.memsz));
    if s.vaddr < last_end {
        let expected = format!("at least {last_end}, the end of the PT_LOAD before");
        return Err(bad("p_vaddr", 16, s.vaddr.to_string(), expected, "PT_LOADs ascend and do not overlap"));
    }
    // Two segments in one page have the rights of one of them. So nothing is mapped that another one needs otherwise.
    let mapped_to = page_up(last_end.0).unwrap_or(u64::MAX);
    let may_share = |before: &Segment| {
        let same_page = s.vaddr.0.wrapping_sub(s.offset.0) == before.vaddr.0.wrapping_sub(before.offset.0);
        s.flags == before.flags && same_page && (s.filesz > 0 || s.flags.writable())
    };
    if s.vaddr.page_down().0 < mapped_to && !before.is_some_and(may_share) {
        let found = format!("{} {}, in the last page of the PT_LOAD before", s.vaddr, s.flags);
        let expected = "a page of its own, or the same rights and the same page of the file".into();
        return Err(bad("p_vaddr with p_flags", 16, found, expected, "a page has one set of rights"));
    }
    // The bound is far below 2^63, so that no later sum with the span can overflow.
    match s.vaddr.checked_add(s.memsz) {
        Some(end) if end.0 < 1 << 47 => Ok((end, mapped_to)),
        _ => {
            let found = format!("{:#x} + {:#x}", s.vaddr.0, s.memsz);
            Err(bad("p_vaddr + p_memsz", 40, found, "below 2^47".into(), "it must fit into a process's address space"))
        }
    }
}

/// Whether the pages of `s` are copied for this process when they are mapped, because nearly all of them will be
/// written to.
pub fn is_populated(image: &Image, s: &Segment) -> bool {
    let sealed = image.relro().filter(|relro| relro.vaddr >= s.vaddr).map_or(0, |relro| relro.memsz.min(s.filesz));
    let most = |of: u64, limit: u64| s.filesz <= limit && s.filesz - sealed < s.filesz / of;
    s.flags.writable() && (s.filesz <= SMALL || most(2, LARGE) || most(16, LARGEST))
}

/// `page_up` of the end of a segment that [`check`] let through.
fn round_up(image: &Image, s: &Segment, end: u64) -> Result<u64, ErrorKind> {
    page_up(end).ok_or_else(|| ErrorKind::truncated("p_memsz", image.header_offset(s.index), end, u64::MAX))
}

/// The steps for one segment: pages from the file, then the bss.
///
/// ```text
///   vaddr           file end      page end           memory end
///     │  from the file │ zeroed      │  anonymous pages │
/// ```
///
/// A segment without bytes in the file may begin in a page that is `mapped_to` its end already, for the segment before.
fn place(image: &Image, s: &Segment, mapped_to: u64, pages_end: u64, steps: &mut Vec<Step>) -> Result<(), ErrorKind> {
    let start = s.vaddr.page_down();
    let file_end = s.vaddr.0 + s.filesz;
    let offset = FileOffset(page_down(s.offset.0));
    // A segment without bytes in the file must not map any of the file's pages, which may lie past its end.
    let mut file_pages_end = if s.filesz == 0 { start.0 } else { round_up(image, s, file_end)? };
    let tail = if s.filesz == 0 { 0 } else { (s.vaddr.0 + s.memsz).min(file_pages_end) - file_end };
    if file_pages_end > start.0 {
        let length = file_pages_end - start.0;
        // Zeroed up to the end of the page and not only to the end of the bss, as in musl.
        let to_zero = if tail > 0 { file_pages_end - file_end } else { 0 };
        let shut = to_zero > 0 && !s.flags.writable();
        let prot = if shut { s.flags.opened() } else { s.flags };
        let populate = is_populated(image, s);
        steps.push(Step::File { segment: s.index, at: start, length, offset, prot, populate });
        if to_zero > 0 {
            steps.push(Step::Zero { segment: s.index, at: Vaddr(file_end), length: to_zero });
        }
        if shut {
            steps.push(Step::Protect { segment: s.index, at: start, length, prot: s.flags });
        }
    }
    if s.filesz == 0 && mapped_to > start.0 {
        steps.push(Step::Zero { segment: s.index, at: s.vaddr, length: mapped_to - s.vaddr.0 });
        file_pages_end = mapped_to;
    }
    if pages_end > file_pages_end {
        steps.push(Step::Anonymous {
            segment: s.index,
            at: Vaddr(file_pages_end),
            length: pages_end - file_pages_end,
            prot: s.flags,
        });
    }
    Ok(())
}

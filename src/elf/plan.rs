//! From `PT_LOAD` headers to a list of mapping steps, before anything is mapped.
//!
//! gABI "Program Loading"; glibc `_dl_map_segments`, musl `map_library`. A [`Plan`] is a value: it can be
//! printed, compared and tested without a process. `memory::Memory::map` carries it out to the letter.

use std::ops::Range;

use super::addr::{FileOffset, PAGE, Vaddr, page_down, page_up};
use super::image::{Image, Prot, Segment};
use crate::error::{ErrorKind, Where};

/// The largest `p_align` taken: 1 GiB, the largest page of x86_64.
const MAX_ALIGN: u64 = 1 << 30;

/// Up to so many bytes of a file's data are written to as a rule, page by page: tables of functions, the GOT, the end of
/// the bss.
const SMALL: u64 = 4 * PAGE;
/// Up to so many if more than half of it is `PT_GNU_RELRO`: what becomes read-only again is what relocations write to. Of 92
/// libraries that libavcodec needs, 83 are of these two kinds; of their 347 pages of data 344 are written to.
const LARGE: u64 = 64 * PAGE;
/// Up to so many if all but a sixteenth of it is: libcrypto's 101 pages, libLLVM's 1917.
const LARGEST: u64 = 4096 * PAGE;

/// One act on the object's future memory. Addresses are `p_vaddr`s on page boundaries, except in
/// [`Step::Zero`]; lengths are bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize), serde(rename_all = "snake_case", tag = "do"))]
pub enum Step {
    /// Map the file's pages from `offset` at `at`.
    File {
        /// The program header this comes from.
        segment: usize,
        /// Where.
        at: Vaddr,
        /// How much: whole pages.
        length: u64,
        /// From where in the file: a page boundary.
        offset: FileOffset,
        /// With which rights.
        prot: Prot,
        /// Its pages are made the process's own at once: a segment of data, small or mostly `PT_GNU_RELRO`, nearly every
        /// page of which is written to anyway. That saves the page faults, each worth half a system call.
        populate: bool,
    },
    /// Map fresh zero pages: the part of the bss that begins on a page boundary.
    Anonymous {
        /// The program header this comes from.
        segment: usize,
        /// Where.
        at: Vaddr,
        /// How much: whole pages.
        length: u64,
        /// With which rights.
        prot: Prot,
    },
    /// Zero the bytes between the end of the file's part and the end of its last page: the page came from
    /// the file, which has something else there.
    Zero {
        /// The program header this comes from.
        segment: usize,
        /// Where: any address.
        at: Vaddr,
        /// How much: less than a page.
        length: u64,
    },
    /// Give pages that were opened for [`Step::Zero`] their final rights.
    Protect {
        /// The program header this comes from.
        segment: usize,
        /// Where.
        at: Vaddr,
        /// How much: whole pages.
        length: u64,
        /// With which rights.
        prot: Prot,
    },
}

/// What one call to the kernel puts into the whole span, before any step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize), serde(rename_all = "snake_case", tag = "with"))]
pub enum Ground {
    /// Nothing that could be accessed: address space.
    Nothing,
    /// The file, as the first segment wants it. That segment is in place then, and so is every other one that has the
    /// same rights and the same distance from its place in the file: glibc and musl do the same, and each call saved
    /// is a tenth of the time in which a small library is loaded. The others are mapped over it; behind the end of the
    /// file there is nothing. Only where segments follow each other without a gap, which would have to stay closed.
    File {
        /// From where in the file: a page boundary.
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
    /// The largest `p_align` in bytes, at least a page: the load bias is a multiple of it.
    pub align: u64,
    /// What the reservation is filled with.
    pub ground: Ground,
    /// What to do inside the reservation, in order. Pages that no step names stay `PROT_NONE`.
    pub steps: Vec<Step>,
}

impl Plan {
    /// Checks the `PT_LOAD` headers of `image` and lays them out.
    ///
    /// # Errors
    /// [`ErrorKind::Malformed`] with the header and field at fault, or [`ErrorKind::Policy`] for a segment
    /// that would be writable and executable at once.
    #[inline(never)] // a stage: see docs/gdb.md
    pub fn new(image: &Image) -> Result<Plan, ErrorKind> {
        let mut steps = Vec::with_capacity(image.segments.len());
        let mut span: Option<Range<Vaddr>> = None;
        let mut align = PAGE;
        let mut last_end = Vaddr(0);
        for segment in image.loads() {
            let end = check(image, segment, last_end)?;
            last_end = end;
            align = align.max(segment.align);
            let pages_end = round_up(image, segment, end.0)?;
            let first = span.as_ref().map_or(segment.vaddr.page_down(), |s| s.start);
            span = Some(first..Vaddr(pages_end));
            place(image, segment, pages_end, &mut steps)?;
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

/// Whether the file itself can be the ground.
fn ground(image: &Image, align: u64, steps: &[Step]) -> Ground {
    let mut loads = image.loads();
    let Some(first) = loads.next() else { return Ground::Nothing };
    let whole = first.filesz > 0 && first.filesz == first.memsz && first.flags.readable() && !first.flags.writable();
    // A bias that is a multiple of more than a page is found by reserving more than is needed.
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

/// Whether the ground has done this step.
fn in_place(step: &Step, ground: Ground, start: Vaddr) -> bool {
    match (step, ground) {
        (&Step::File { at, offset, prot, .. }, Ground::File { offset: first, prot: rights }) => {
            prot == rights && offset.0.wrapping_sub(first.0) == at.0 - start.0
        }
        _ => false,
    }
}

/// Checks one `PT_LOAD` on its own and against the end of the one before; returns its end in memory.
fn check(image: &Image, s: &Segment, last_end: Vaddr) -> Result<Vaddr, ErrorKind> {
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
    // As glibc: 0 and 1 mean "no alignment" to the gABI, but a loader must map whole pages.
    if !s.align.is_power_of_two() || s.align < PAGE || s.align > MAX_ALIGN {
        let expected = format!("a power of two from {PAGE:#x} to {MAX_ALIGN:#x}");
        return Err(bad("p_align", 48, format!("{:#x}", s.align), expected, "segments are mapped in whole pages"));
    }
    if s.vaddr.0.wrapping_sub(s.offset.0) & (s.align - 1) != 0 {
        let found = format!("{} with p_offset {}", s.vaddr, s.offset);
        let expected = format!("equal to p_offset modulo p_align {:#x}", s.align);
        return Err(bad("p_vaddr", 16, found, expected, "a page of the file is mapped as a page of memory"));
    }
    if s.vaddr < last_end {
        let expected = format!("at least {last_end}, the end of the PT_LOAD before");
        return Err(bad("p_vaddr", 16, s.vaddr.to_string(), expected, "PT_LOADs ascend and do not overlap"));
    }
    // Far below 2^63, so that no later sum of a span can overflow.
    match s.vaddr.checked_add(s.memsz) {
        Some(end) if end.0 < 1 << 47 => Ok(end),
        _ => {
            let found = format!("{:#x} + {:#x}", s.vaddr.0, s.memsz);
            Err(bad("p_vaddr + p_memsz", 40, found, "below 2^47".into(), "it must fit into a process's address space"))
        }
    }
}

/// Whether the pages of `s` are made the process's own when they are mapped: nearly all of them will be written to.
pub(crate) fn is_populated(image: &Image, s: &Segment) -> bool {
    let sealed = image.relro().filter(|relro| relro.vaddr >= s.vaddr).map_or(0, |relro| relro.memsz.min(s.filesz));
    let most = |of: u64, limit: u64| s.filesz <= limit && s.filesz - sealed < s.filesz / of;
    s.flags.writable() && (s.filesz <= SMALL || most(2, LARGE) || most(16, LARGEST))
}

/// `page_up` of an end that [`check`] let through.
fn round_up(image: &Image, s: &Segment, end: u64) -> Result<u64, ErrorKind> {
    page_up(end).ok_or_else(|| ErrorKind::truncated("p_memsz", image.header_offset(s.index), end, u64::MAX))
}

/// The steps for one segment: pages from the file, then the bss.
///
/// ```text
///   vaddr           file end      page end           memory end
///     │  from the file │ zeroed      │  anonymous pages │
/// ```
fn place(image: &Image, s: &Segment, pages_end: u64, steps: &mut Vec<Step>) -> Result<(), ErrorKind> {
    let start = s.vaddr.page_down();
    let file_end = s.vaddr.0 + s.filesz;
    let offset = FileOffset(page_down(s.offset.0));
    // A segment without file bytes takes none of the file's pages: they may lie past its end.
    let file_pages_end = if s.filesz == 0 { start.0 } else { round_up(image, s, file_end)? };
    let tail = if s.filesz == 0 { 0 } else { (s.vaddr.0 + s.memsz).min(file_pages_end) - file_end };
    if file_pages_end > start.0 {
        let length = file_pages_end - start.0;
        // glibc zeroes up to the end of the page, not only to the end of the bss; so does this.
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

#[cfg(test)]
mod tests {
    use super::*;
    use goblin::elf64::program_header::{PF_R, PF_W, PF_X, PT_GNU_RELRO, PT_LOAD};

    fn load(flags: u32, offset: u64, vaddr: u64, filesz: u64, memsz: u64) -> Segment {
        Segment {
            index: 0,
            p_type: PT_LOAD,
            flags: Prot(flags),
            offset: FileOffset(offset),
            vaddr: Vaddr(vaddr),
            filesz,
            memsz,
            align: PAGE,
        }
    }

    fn image(mut segments: Vec<Segment>) -> Image {
        for (index, s) in segments.iter_mut().enumerate() {
            s.index = index;
        }
        Image {
            e_type: 3,
            e_machine: 62,
            e_phoff: FileOffset(64),
            e_phnum: segments.len() as u16,
            file_length: 0x10000,
            segments,
        }
    }

    #[test]
    fn bss_is_zeroed_to_the_end_of_its_page_and_then_anonymous() {
        let plan = Plan::new(&image(vec![
            load(PF_R | PF_X, 0, 0, 0x800, 0x800),
            load(PF_R | PF_W, 0xe00, 0x3e00, 0x300, 0x2300),
        ]))
        .unwrap();
        assert_eq!(plan.span, Vaddr(0)..Vaddr(0x7000));
        assert_eq!(plan.ground, Ground::Nothing, "between the segments is a gap");
        assert_eq!(
            plan.steps[1..],
            [
                Step::File {
                    segment: 1,
                    at: Vaddr(0x3000),
                    length: 0x2000,
                    offset: FileOffset(0),
                    prot: Prot::RW,
                    populate: true
                },
                Step::Zero { segment: 1, at: Vaddr(0x4100), length: 0xf00 },
                Step::Anonymous { segment: 1, at: Vaddr(0x5000), length: 0x2000, prot: Prot::RW },
            ]
        );
    }

    #[test]
    fn the_file_is_the_ground_where_segments_follow_each_other_and_is_not_mapped_twice() {
        let mut segments = vec![
            load(PF_R, 0, 0, 0x900, 0x900),
            load(PF_R | PF_X, 0x1000, 0x1000, 0x900, 0x900),
            load(PF_R, 0x2000, 0x2000, 0x900, 0x900),
            load(PF_R | PF_W, 0x2e00, 0x3e00, 0x100, 0x100),
        ];
        let plan = Plan::new(&image(segments.clone())).unwrap();
        assert_eq!(plan.ground, Ground::File { offset: FileOffset(0), prot: Prot::R });
        let mapped: Vec<_> = plan.steps.iter().filter(|s| matches!(s, Step::File { .. })).collect();
        let [Step::File { segment: 1, .. }, Step::File { segment: 3, .. }] = mapped[..] else { panic!("{mapped:?}") };
        // The third one's bytes lie elsewhere in the file.
        segments[2].offset = FileOffset(0x5000);
        assert_eq!(Plan::new(&image(segments)).unwrap().steps.len(), 3);
    }

    #[test]
    fn bss_in_a_read_only_page_opens_it_for_a_moment_and_never_with_execution() {
        let plan = Plan::new(&image(vec![load(PF_R | PF_X, 0, 0, 0x800, 0x900)])).unwrap();
        let [Step::File { prot, .. }, Step::Zero { .. }, Step::Protect { prot: last, .. }] = plan.steps[..] else {
            panic!("{:?}", plan.steps)
        };
        assert_eq!((prot, last), (Prot::RW, Prot(PF_R | PF_X)));
    }

    #[test]
    fn data_is_populated_that_is_small_or_mostly_relro() {
        let populated = |pages: u64, sealed: u64| {
            let data = load(PF_R | PF_W, 0, 0, pages * PAGE, pages * PAGE);
            let relro = Segment { p_type: PT_GNU_RELRO, memsz: sealed * PAGE, ..data.clone() };
            is_populated(&image(vec![data.clone(), relro]), &data)
        };
        assert!(populated(4, 0) && !populated(5, 0));
        assert!(populated(64, 33) && !populated(64, 32));
        assert!(populated(100, 97) && !populated(100, 90));
        assert!(populated(4096, 4090) && !populated(4097, 4097));
    }

    #[test]
    fn a_segment_of_only_bss_needs_no_page_of_the_file() {
        let plan = Plan::new(&image(vec![load(PF_R | PF_W, 0xf000, 0x1f000, 0, 0x10)])).unwrap();
        assert_eq!(plan.steps, [Step::Anonymous { segment: 0, at: Vaddr(0x1f000), length: 0x1000, prot: Prot::RW }]);
    }

    #[test]
    fn each_bad_field_is_refused_by_name() {
        let refused = |segments| match Plan::new(&image(segments)) {
            Err(ErrorKind::Malformed { field, .. }) => field,
            Err(ErrorKind::Policy { what, .. }) => what,
            other => panic!("{other:?}"),
        };
        assert!(refused(vec![load(PF_R, 0, 0, 0x900, 0x800)]).ends_with("p_filesz"));
        assert!(refused(vec![load(PF_R, 0xf000, 0xf000, 0x2000, 0x2000)]).ends_with("p_filesz"));
        assert!(refused(vec![load(PF_R, 0x10, 0x20, 8, 8)]).ends_with("p_vaddr"));
        assert!(refused(vec![load(PF_R, 0, 0x2000, 8, 8), load(PF_R, 0, 0x1000, 8, 8)]).ends_with("p_vaddr"));
        assert!(refused(vec![load(PF_R, 0, u64::MAX << 12, 8, 0x2000)]).contains("p_vaddr + p_memsz"));
        assert!(refused(vec![load(PF_R | PF_W | PF_X, 0, 0, 8, 8)]).contains("PT_LOAD"));
        assert!(refused(vec![Segment { align: 24, ..load(PF_R, 0, 0, 8, 8) }]).ends_with("p_align"));
        assert!(refused(vec![]).contains("PT_LOAD"));
    }
}

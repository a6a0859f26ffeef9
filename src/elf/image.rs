//! The file header and the program headers, which every loader reads first.
//!
//! gABI "ELF Header" and "Program Header"; glibc `open_verify` and `_dl_map_object_from_fd`, musl
//! `map_library`. Section headers are never read: a loader does not need them, and a stripped or packed
//! library may have none.

use std::fmt;

use goblin::elf64::header::{
    EI_ABIVERSION, EI_CLASS, EI_DATA, EI_OSABI, EI_VERSION, ELFCLASS64, ELFDATA2LSB, ELFMAG, ELFOSABI_GNU,
    ELFOSABI_NONE, EM_X86_64, ET_DYN, ET_EXEC, EV_CURRENT, Header, SIZEOF_EHDR, SIZEOF_IDENT,
};
use goblin::elf64::program_header::{
    PF_R, PF_W, PF_X, PT_DYNAMIC, PT_GNU_RELRO, PT_GNU_STACK, PT_LOAD, PT_TLS, ProgramHeader, SIZEOF_PHDR, pt_to_str,
};
use plain::Plain as _;

use super::addr::{FileOffset, Vaddr};
use crate::error::{ErrorKind, Where};

/// `DF_1_PIE` in `DT_FLAGS_1`: the file is a program and not a library, although its type is `ET_DYN`.
pub const DF_1_PIE: u64 = 0x0800_0000;

/// How many bytes of the file the first read fetches. The program headers of nearly every library lie in
/// them.
pub const HEAD: usize = 1024;

/// Access rights of a segment or a page: `PF_R`, `PF_W`, `PF_X` by their gABI numbers.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Prot(pub u32);

impl Prot {
    /// No access: `PROT_NONE`.
    pub const NONE: Prot = Prot(0);
    /// Read only.
    pub const R: Prot = Prot(PF_R);
    /// Read and write.
    pub const RW: Prot = Prot(PF_R | PF_W);

    /// May be read.
    pub fn readable(self) -> bool {
        self.0 & PF_R != 0
    }
    /// May be written.
    pub fn writable(self) -> bool {
        self.0 & PF_W != 0
    }
    /// May be executed.
    pub fn executable(self) -> bool {
        self.0 & PF_X != 0
    }
    /// The same rights with writing in place of executing: what a page has while the loader must write to it.
    pub fn opened(self) -> Prot {
        Prot((self.0 | PF_R | PF_W) & !PF_X)
    }
}

/// As `readelf -lW` and this project's tables show it: `R-X`.
impl fmt::Display for Prot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let flag = |on, c| if on { c } else { '-' };
        let text: String =
            [flag(self.readable(), 'R'), flag(self.writable(), 'W'), flag(self.executable(), 'X')].iter().collect();
        f.pad(&text)
    }
}

impl fmt::Debug for Prot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(feature = "serde")]
impl serde::Serialize for Prot {
    fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(self)
    }
}

/// One program header. Its numbers are types that cannot be confused.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct Segment {
    /// Its place in the program header table, from 0.
    pub index: usize,
    /// `p_type`; [`Segment::type_name`] has the name.
    pub p_type: u32,
    /// `p_flags`.
    pub flags: Prot,
    /// `p_offset`: where its bytes begin in the file.
    pub offset: FileOffset,
    /// `p_vaddr`: where they belong in memory.
    pub vaddr: Vaddr,
    /// `p_filesz`, bytes in the file.
    pub filesz: u64,
    /// `p_memsz`, bytes in memory. Those beyond `filesz` are zero.
    pub memsz: u64,
    /// `p_align`, bytes.
    pub align: u64,
}

impl Segment {
    /// The program header `index`, whose `bytes` need not be aligned for the struct.
    fn of((index, bytes): (usize, &[u8])) -> Segment {
        let mut header = ProgramHeader::default();
        let _ = header.copy_from_bytes(bytes);
        Segment {
            index,
            p_type: header.p_type,
            flags: Prot(header.p_flags & (PF_R | PF_W | PF_X)),
            offset: FileOffset(header.p_offset),
            vaddr: Vaddr(header.p_vaddr),
            filesz: header.p_filesz,
            memsz: header.p_memsz,
            align: header.p_align,
        }
    }

    /// `PT_LOAD`, `PT_DYNAMIC`, …
    pub fn type_name(&self) -> &'static str {
        pt_to_str(self.p_type)
    }
}

/// What stage 2, read, learns about a file before any of it is mapped.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct Image {
    /// `e_type`: always `ET_DYN` here.
    pub e_type: u16,
    /// `e_machine`: always `EM_X86_64` here.
    pub e_machine: u16,
    /// `e_phoff`.
    pub e_phoff: FileOffset,
    /// `e_phnum`.
    pub e_phnum: u16,
    /// The length of the whole file, in bytes.
    pub file_length: u64,
    /// Every program header, in the file's order.
    pub segments: Vec<Segment>,
}

/// The highest `EI_ABIVERSION` that is accepted under `ELFOSABI_GNU`: unique symbols need 1, IFUNCs 2,
/// absolute symbols 3.
const NEWEST_ABI: u8 = 3;

/// Checks the first bytes of a file. Returns where its program headers lie, `(offset, bytes)`.
///
/// # Errors
/// [`ErrorKind::Unsuitable`] for a whole file that this loader cannot use, [`ErrorKind::Malformed`] for a
/// damaged one.
pub fn check_header(head: &[u8], file_length: u64) -> Result<(FileOffset, usize), ErrorKind> {
    let unsuitable = |field: &str, at: usize, found: String, expected: &str, reason: &str| {
        Err(ErrorKind::Unsuitable {
            field: field.into(),
            at: Where::File(FileOffset(at as u64)),
            found,
            expected: expected.into(),
            reason: reason.into(),
        })
    };
    if !head.starts_with(ELFMAG) {
        let found = match head.get(..4) {
            Some(bytes) => format!("{:02x?}", bytes),
            None => format!("a file of {} bytes", head.len()),
        };
        let reason = match head {
            [b'/', b'*', ..] | [b'I', b'N', ..] | [b'G', b'R', ..] => {
                "this is probably a linker script: open the library that it names"
            }
            [] => "the file is empty",
            _ => "this is not an ELF file",
        };
        return unsuitable("e_ident magic", 0, found, "[7f, 45, 4c, 46]", reason);
    }
    let Some(header) = head.get(..SIZEOF_EHDR) else {
        return Err(ErrorKind::truncated("ELF header", FileOffset(0), SIZEOF_EHDR as u64, head.len() as u64));
    };
    let class = header[EI_CLASS];
    if class != ELFCLASS64 {
        let found = if class == 1 { "ELFCLASS32 (1)".to_string() } else { class.to_string() };
        let reason = "a 32-bit library cannot be loaded into a 64-bit process; install its amd64 build";
        return unsuitable("e_ident[EI_CLASS]", EI_CLASS, found, "ELFCLASS64 (2)", reason);
    }
    if header[EI_DATA] != ELFDATA2LSB {
        let reason = "the file is for a machine of the other byte order";
        return unsuitable("e_ident[EI_DATA]", EI_DATA, header[EI_DATA].to_string(), "ELFDATA2LSB (1)", reason);
    }
    if header[EI_VERSION] != EV_CURRENT {
        let reason = "there is no other version";
        return unsuitable("e_ident[EI_VERSION]", EI_VERSION, header[EI_VERSION].to_string(), "EV_CURRENT (1)", reason);
    }
    let (osabi, abi_version) = (header[EI_OSABI], header[EI_ABIVERSION]);
    if ![ELFOSABI_NONE, ELFOSABI_GNU].contains(&osabi) {
        let reason = "the library was built for another operating system";
        return unsuitable("e_ident[EI_OSABI]", EI_OSABI, osabi.to_string(), "ELFOSABI_NONE (0) or _GNU (3)", reason);
    }
    if abi_version != 0 && (osabi != ELFOSABI_GNU || abi_version > NEWEST_ABI) {
        let reason = "the library asks for more than any loader promises";
        return unsuitable("e_ident[EI_ABIVERSION]", EI_ABIVERSION, abi_version.to_string(), "0", reason);
    }
    if let Some(at) = (EI_ABIVERSION + 1..SIZEOF_IDENT).find(|&at| header[at] != 0) {
        let reason = "bytes without a meaning are zero (gABI, \"ELF Identification\")";
        return unsuitable("e_ident[EI_PAD]", at, header[at].to_string(), "0", reason);
    }
    // The header is copied first, because the caller's buffer need not be aligned for the struct.
    let bytes = header;
    let mut header = Header::default();
    let _ = header.copy_from_bytes(bytes);
    if header.e_machine != EM_X86_64 {
        let name = goblin::elf::header::machine_to_str(header.e_machine);
        let reason = "the library was built for another processor";
        return unsuitable("e_machine", 18, format!("{name} ({})", header.e_machine), "EM_X86_64 (62)", reason);
    }
    if header.e_type != ET_DYN {
        let reason = if header.e_type == ET_EXEC {
            "this is a program linked for a fixed address, not position-independent: it cannot be moved to a free one"
        } else {
            "only shared objects can be loaded"
        };
        let name = goblin::elf::header::et_to_str(header.e_type);
        return unsuitable("e_type", 16, format!("{name} ({})", header.e_type), "ET_DYN (3)", reason);
    }
    let malformed = |field: &str, at: u64, found: String, expected: &str, rule: &str| {
        Err(ErrorKind::Malformed {
            field: field.into(),
            at: Where::File(FileOffset(at)),
            found,
            expected: expected.into(),
            rule: rule.into(),
        })
    };
    let rule = "gABI, \"ELF Header\"";
    if header.e_version != u32::from(EV_CURRENT) {
        return malformed("e_version", 20, header.e_version.to_string(), "EV_CURRENT (1)", rule);
    }
    if usize::from(header.e_phentsize) != SIZEOF_PHDR {
        return malformed("e_phentsize", 54, header.e_phentsize.to_string(), "56 bytes", rule);
    }
    if header.e_phnum == 0 {
        return malformed("e_phnum", 56, "0".into(), "at least one PT_LOAD and a PT_DYNAMIC", rule);
    }
    let length = usize::from(header.e_phnum) * SIZEOF_PHDR;
    match header.e_phoff.checked_add(length as u64) {
        Some(end) if end <= file_length => Ok((FileOffset(header.e_phoff), length)),
        _ => Err(ErrorKind::truncated(
            "program header table",
            FileOffset(header.e_phoff),
            length as u64,
            file_length.saturating_sub(header.e_phoff),
        )),
    }
}

impl Image {
    /// Checks the program header table that [`check_header`] located.
    ///
    /// # Errors
    /// [`ErrorKind::Malformed`] with the header, the field and the file offset that are wrong.
    pub fn new(table: &[u8], offset: FileOffset, file_length: u64) -> Result<Image, ErrorKind> {
        let segments: Vec<Segment> = table.chunks_exact(SIZEOF_PHDR).enumerate().map(Segment::of).collect();
        let e_phnum = segments.len() as u16;
        let image = Image { e_type: ET_DYN, e_machine: EM_X86_64, e_phoff: offset, e_phnum, file_length, segments };
        // `objcopy --only-keep-debug` leaves the header, but none of its bytes.
        let dynamic = image.segment(PT_DYNAMIC);
        if dynamic.is_none_or(|dynamic| dynamic.filesz == 0 || dynamic.memsz == 0) {
            let found = if dynamic.is_some() { "a program header without bytes" } else { "none" };
            return Err(ErrorKind::Unsuitable {
                field: "PT_DYNAMIC".into(),
                at: Where::File(offset),
                found: found.into(),
                expected: "one".into(),
                reason: "a static program or a file of debug symbols has no dynamic section to load by".into(),
            });
        }
        Ok(image)
    }

    /// The first program header of type `p_type`.
    pub fn segment(&self, p_type: u32) -> Option<&Segment> {
        self.segments.iter().find(|s| s.p_type == p_type)
    }

    /// The `PT_LOAD` segments, in the file's order.
    pub fn loads(&self) -> impl Iterator<Item = &Segment> {
        self.segments.iter().filter(|s| s.p_type == PT_LOAD)
    }

    /// `PT_DYNAMIC`.
    pub fn dynamic(&self) -> Option<&Segment> {
        self.segment(PT_DYNAMIC)
    }

    /// `PT_TLS`, where the library has thread-local variables.
    pub fn tls(&self) -> Option<&Segment> {
        self.segment(PT_TLS)
    }

    /// `PT_GNU_RELRO`: what becomes read-only once relocation is done.
    pub fn relro(&self) -> Option<&Segment> {
        self.segment(PT_GNU_RELRO)
    }

    /// Whether the file asks for an executable stack: by `PT_GNU_STACK`, or because it has none. It was built before
    /// there was a way to say no (glibc: `DEFAULT_STACK_PROT_PERMS`).
    pub fn wants_executable_stack(&self) -> bool {
        self.stack().is_none_or(|s| s.flags.executable())
    }

    /// `PT_GNU_STACK`.
    pub fn stack(&self) -> Option<&Segment> {
        self.segment(PT_GNU_STACK)
    }

    /// Where program header `index` stands in the file.
    pub fn header_offset(&self, index: usize) -> FileOffset {
        FileOffset(self.e_phoff.0 + (index * SIZEOF_PHDR) as u64)
    }
}

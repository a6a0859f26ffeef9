//! Relocations and their formulas.
//!
//! psABI "Relocation Types"; glibc `elf_machine_rela`, musl `do_relocs`. A relocation entry says *where* a
//! word must be patched, by which formula, and with which symbol. This file knows the formulas and nothing
//! else; [`RelocKind::compute`] turns numbers into a [`Write`], which can be printed and tested.
//!
//! The letters of the psABI: `B` the load bias, `S` the symbol's address, `A` the addend of the entry, `P` the
//! address of the patched word, `Z` the symbol's size.

use goblin::elf64::reloc::{
    R_X86_64_32, R_X86_64_64, R_X86_64_COPY, R_X86_64_DTPMOD64, R_X86_64_DTPOFF64, R_X86_64_GLOB_DAT,
    R_X86_64_IRELATIVE, R_X86_64_JUMP_SLOT, R_X86_64_NONE, R_X86_64_PC32, R_X86_64_RELATIVE, R_X86_64_RELATIVE64,
    R_X86_64_SIZE32, R_X86_64_SIZE64, R_X86_64_TLSDESC, R_X86_64_TPOFF64, Rela, r_to_str,
};

use super::addr::{Addr, Bias, Vaddr};
use super::symbol::Class;
use goblin::elf64::header::EM_X86_64;

/// Bytes in one `Elf64_Rela`.
pub const SIZEOF_RELA: u64 = 24;

/// One `Elf64_Rela`, taken apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Relocation {
    /// `r_offset`: the word to patch.
    pub place: Vaddr,
    /// The lower half of `r_info`: a relocation type, whether or not the psABI has it.
    pub kind: u32,
    /// The upper half of `r_info`: an index into the symbol table, 0 for none.
    pub symbol: u32,
    /// `r_addend`.
    pub addend: i64,
}

impl From<&Rela> for Relocation {
    #[inline(always)]
    fn from(rela: &Rela) -> Relocation {
        Relocation {
            place: Vaddr(rela.r_offset),
            kind: rela.r_info as u32,
            symbol: (rela.r_info >> 32) as u32,
            addend: rela.r_addend,
        }
    }
}

/// The relocation types of the psABI that dlscope knows, by their numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u32)]
pub enum RelocKind {
    /// No relocation: nothing is patched.
    None = R_X86_64_NONE,
    /// `S + A`, 64 bits: the address of a symbol, in data.
    Abs64 = R_X86_64_64,
    /// `S + A - P`, 32 bits.
    Pc32 = R_X86_64_PC32,
    /// Copies a variable of a library into the program. Only programs may have it.
    Copy = R_X86_64_COPY,
    /// `S`: the address of a variable or function, in the GOT.
    GlobDat = R_X86_64_GLOB_DAT,
    /// `S`: a call through the PLT lands here.
    JumpSlot = R_X86_64_JUMP_SLOT,
    /// `B + A`: an address inside the library itself.
    Relative = R_X86_64_RELATIVE,
    /// `S + A`, 32 bits, unsigned.
    Abs32 = R_X86_64_32,
    /// The id of the module that has the thread-local variable.
    DtpMod64 = R_X86_64_DTPMOD64,
    /// The offset of the thread-local variable in the block of its module.
    DtpOff64 = R_X86_64_DTPOFF64,
    /// The offset of the thread-local variable from the thread pointer.
    TpOff64 = R_X86_64_TPOFF64,
    /// `Z + A`, 32 bits.
    Size32 = R_X86_64_SIZE32,
    /// `Z + A`, 64 bits.
    Size64 = R_X86_64_SIZE64,
    /// Two words: a function that finds the thread-local variable, and its argument.
    TlsDesc = R_X86_64_TLSDESC,
    /// The address that the resolver at `B + A` returns.
    IRelative = R_X86_64_IRELATIVE,
    /// `B + A`, as [`RelocKind::Relative`].
    Relative64 = R_X86_64_RELATIVE64,
}

/// What a relocation does to memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Write {
    /// Nothing.
    Nothing,
    /// Store 64 bits at the place.
    Word(u64),
    /// Store 32 bits at the place.
    Half(u32),
    /// Store two words, one after the other: a TLS descriptor.
    Pair([u64; 2]),
    /// Call the resolver at this address, and store what it returns.
    Call(Addr),
}

/// Why a formula has no result.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Problem {
    /// A shared object cannot have the type.
    NotInSharedObject,
    /// The result does not fit into 32 bits.
    Overflow(i128),
    /// The symbol is not thread-local, or its block lies where the formula cannot reach it.
    NotThreadLocal,
}

/// What the formulas need to know of the symbol that an entry names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Value {
    /// `S`: the address of the symbol; 0 for a weak symbol that no object defines.
    pub address: u64,
    /// `Z`: the size of the symbol in bytes.
    pub size: u64,
    /// For a thread-local symbol: its offset in the block of its module.
    pub block_offset: u64,
    /// For a thread-local symbol: the id of its module, as `__tls_get_addr` expects it.
    pub module: Option<u64>,
    /// For a thread-local symbol at a fixed distance from the thread pointer: that distance in bytes, which
    /// is negative.
    pub tp_offset: Option<i64>,
    /// For a thread-local symbol that is reached by a descriptor: the two words of the descriptor, addend
    /// included.
    pub descriptor: Option<[u64; 2]>,
}

impl RelocKind {
    /// The type with this number; `None` for one that dlscope does not know.
    pub fn from_raw(raw: u32) -> Option<RelocKind> {
        Some(match raw {
            R_X86_64_NONE => RelocKind::None,
            R_X86_64_64 => RelocKind::Abs64,
            R_X86_64_PC32 => RelocKind::Pc32,
            R_X86_64_COPY => RelocKind::Copy,
            R_X86_64_GLOB_DAT => RelocKind::GlobDat,
            R_X86_64_JUMP_SLOT => RelocKind::JumpSlot,
            R_X86_64_RELATIVE => RelocKind::Relative,
            R_X86_64_32 => RelocKind::Abs32,
            R_X86_64_DTPMOD64 => RelocKind::DtpMod64,
            R_X86_64_DTPOFF64 => RelocKind::DtpOff64,
            R_X86_64_TPOFF64 => RelocKind::TpOff64,
            R_X86_64_SIZE32 => RelocKind::Size32,
            R_X86_64_SIZE64 => RelocKind::Size64,
            R_X86_64_TLSDESC => RelocKind::TlsDesc,
            R_X86_64_IRELATIVE => RelocKind::IRelative,
            R_X86_64_RELATIVE64 => RelocKind::Relative64,
            _ => return None,
        })
    }

    /// `R_X86_64_RELATIVE`, …
    pub fn name(self) -> &'static str {
        match self {
            RelocKind::None => "R_X86_64_NONE",
            RelocKind::Abs64 => "R_X86_64_64",
            RelocKind::Pc32 => "R_X86_64_PC32",
            RelocKind::Copy => "R_X86_64_COPY",
            RelocKind::GlobDat => "R_X86_64_GLOB_DAT",
            RelocKind::JumpSlot => "R_X86_64_JUMP_SLOT",
            RelocKind::Relative => "R_X86_64_RELATIVE",
            RelocKind::Abs32 => "R_X86_64_32",
            RelocKind::DtpMod64 => "R_X86_64_DTPMOD64",
            RelocKind::DtpOff64 => "R_X86_64_DTPOFF64",
            RelocKind::TpOff64 => "R_X86_64_TPOFF64",
            RelocKind::Size32 => "R_X86_64_SIZE32",
            RelocKind::Size64 => "R_X86_64_SIZE64",
            RelocKind::TlsDesc => "R_X86_64_TLSDESC",
            RelocKind::IRelative => "R_X86_64_IRELATIVE",
            RelocKind::Relative64 => "R_X86_64_RELATIVE64",
        }
    }

    /// The formula in the letters of the psABI.
    pub fn formula(self) -> &'static str {
        match self {
            RelocKind::None => "none",
            RelocKind::Abs64 | RelocKind::Abs32 => "S + A",
            RelocKind::Pc32 => "S + A - P",
            RelocKind::Copy => "copy",
            RelocKind::GlobDat | RelocKind::JumpSlot => "S",
            RelocKind::Relative | RelocKind::Relative64 => "B + A",
            RelocKind::DtpMod64 => "module id",
            RelocKind::DtpOff64 => "offset in the module's block",
            RelocKind::TpOff64 => "S + A - thread pointer",
            RelocKind::Size32 | RelocKind::Size64 => "Z + A",
            RelocKind::TlsDesc => "descriptor",
            RelocKind::IRelative => "indirect (B + A)",
        }
    }

    /// Whether the formula has an `S` (or `Z`), so that a symbol must be looked up.
    #[inline]
    pub fn needs_symbol(self) -> bool {
        !matches!(self, RelocKind::None | RelocKind::Relative | RelocKind::Relative64 | RelocKind::IRelative)
    }

    /// Whether the result is one word made of a symbol's address `S` alone, as [`RelocKind::word`] gives it. Nearly all
    /// relocations with a symbol are of such types.
    #[inline]
    pub fn is_address(self) -> bool {
        matches!(self, RelocKind::Abs64 | RelocKind::GlobDat | RelocKind::JumpSlot)
    }

    /// The word of a type that [`RelocKind::is_address`]: `S + A`, or `S` in the GOT, where linkers leave the addend 0.
    #[inline(always)]
    pub fn word(self, s: Addr, a: i64) -> u64 {
        if self == RelocKind::Abs64 { s.0.wrapping_add_signed(a) } else { s.0 }
    }

    /// Whether the relocation is for a thread-local variable.
    #[inline]
    pub fn is_tls(self) -> bool {
        matches!(self, RelocKind::DtpMod64 | RelocKind::DtpOff64 | RelocKind::TpOff64 | RelocKind::TlsDesc)
    }

    /// The kind of reference that the symbol is looked up for. glibc `elf_machine_type_class`.
    #[inline]
    pub fn class(self) -> Class {
        if self == RelocKind::JumpSlot || self.is_tls() { Class::Plt } else { Class::Address }
    }

    /// Applies the formula to the slot at the address `p`.
    ///
    /// # Errors
    /// [`Problem`] where the formula has no result that could be stored.
    #[inline(always)]
    pub fn compute(self, b: Bias, p: Addr, value: Value, a: i64) -> Result<Write, Problem> {
        let s = value.address;
        Ok(match self {
            RelocKind::None => Write::Nothing,
            RelocKind::Abs64 | RelocKind::GlobDat | RelocKind::JumpSlot => Write::Word(self.word(Addr(s), a)),
            RelocKind::Relative | RelocKind::Relative64 => Write::Word(b.0.wrapping_add_signed(a)),
            RelocKind::IRelative => Write::Call(Addr(b.0.wrapping_add_signed(a))),
            RelocKind::Pc32 => {
                let result = i128::from(s) + i128::from(a) - i128::from(p.0);
                Write::Half(i32::try_from(result).map_err(|_| Problem::Overflow(result))? as u32)
            }
            RelocKind::Abs32 => half(i128::from(s) + i128::from(a))?,
            RelocKind::Size32 => half(i128::from(value.size) + i128::from(a))?,
            RelocKind::Size64 => Write::Word(value.size.wrapping_add_signed(a)),
            RelocKind::DtpMod64 => Write::Word(value.module.ok_or(Problem::NotThreadLocal)?),
            RelocKind::DtpOff64 => Write::Word(value.block_offset.wrapping_add_signed(a)),
            RelocKind::TpOff64 => Write::Word(value.tp_offset.ok_or(Problem::NotThreadLocal)?.wrapping_add(a) as u64),
            RelocKind::TlsDesc => Write::Pair(value.descriptor.ok_or(Problem::NotThreadLocal)?),
            RelocKind::Copy => return Err(Problem::NotInSharedObject),
        })
    }
}

fn half(result: i128) -> Result<Write, Problem> {
    u32::try_from(result).map(Write::Half).map_err(|_| Problem::Overflow(result))
}

/// The name of a relocation type that is not in [`RelocKind`], if the psABI has one for it.
pub fn raw_name(raw: u32) -> String {
    match r_to_str(raw, EM_X86_64) {
        "R_UNKNOWN_X86_64" => format!("type {raw}"),
        name => format!("R_{name}"),
    }
}

/// The slots that `DT_RELR` names, each with the index of its entry; the load bias is added to the word in
/// each. An even entry is the `p_vaddr` of a slot, an odd entry is a bitmap of the 63 words behind the last
/// one. "Proposal for a new section type SHT_RELR" (generic-abi); glibc `elf_dynamic_do_relr`, musl
/// `do_relr_relocs`.
pub fn relr_places(table: &[u64]) -> impl Iterator<Item = (usize, Vaddr)> + '_ {
    let mut next = Vaddr(0);
    table.iter().enumerate().flat_map(move |(index, &entry)| {
        let (base, mut bits) = if entry & 1 == 0 {
            next = Vaddr(entry.wrapping_add(8));
            (Vaddr(entry), 1)
        } else {
            let base = next;
            next = Vaddr(next.0.wrapping_add(63 * 8));
            (base, entry >> 1)
        };
        std::iter::from_fn(move || {
            if bits == 0 {
                return None;
            }
            let bit = u64::from(bits.trailing_zeros());
            bits &= bits - 1;
            Some((index, Vaddr(base.0.wrapping_add(bit * 8))))
        })
    })
}

//! Relocations: the formulas.
//!
//! psABI "Relocation Types"; glibc `elf_machine_rela`, musl `do_relocs`. A relocation entry says *where* a
//! word must be patched, by which formula, and with which symbol. This file knows the formulas and nothing
//! else; [`RelocKind::compute`] turns numbers into a [`Write`] that can be printed and tested.
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

/// One `Elf64_Rela`, by its parts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    /// `r_offset`: the word to patch.
    pub place: Vaddr,
    /// The lower half of `r_info`: a type of the psABI, known or not.
    pub kind: u32,
    /// The upper half of `r_info`: an index into the symbol table, 0 for none.
    pub symbol: u32,
    /// `r_addend`.
    pub addend: i64,
}

impl From<&Rela> for Entry {
    #[inline(always)]
    fn from(rela: &Rela) -> Entry {
        Entry {
            place: Vaddr(rela.r_offset),
            kind: rela.r_info as u32,
            symbol: (rela.r_info >> 32) as u32,
            addend: rela.r_addend,
        }
    }
}

/// The relocation types that a shared object may have, by their psABI numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u32)]
pub enum RelocKind {
    /// Nothing to do.
    None = R_X86_64_NONE,
    /// `S + A`, 64 bits: the address of a symbol, in data.
    Abs64 = R_X86_64_64,
    /// `S + A - P`, 32 bits.
    Pc32 = R_X86_64_PC32,
    /// Copies a variable into the program; only programs have it.
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
    /// Its offset inside that module's block.
    DtpOff64 = R_X86_64_DTPOFF64,
    /// Its offset from the thread pointer.
    TpOff64 = R_X86_64_TPOFF64,
    /// `Z + A`, 32 bits.
    Size32 = R_X86_64_SIZE32,
    /// `Z + A`, 64 bits.
    Size64 = R_X86_64_SIZE64,
    /// A pair of words: a function that finds the variable, and its argument.
    TlsDesc = R_X86_64_TLSDESC,
    /// The answer of the resolver at `B + A`.
    IRelative = R_X86_64_IRELATIVE,
    /// `B + A`, as [`RelocKind::Relative`].
    Relative64 = R_X86_64_RELATIVE64,
}

/// What a relocation has to do to memory.
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
    /// The type makes no sense in a shared object.
    NotInSharedObject,
    /// The result does not fit into 32 bits.
    Overflow(i128),
    /// The symbol is not thread-local, or its block has no place that the formula could use.
    NotThreadLocal,
}

/// What the formulas need to know about the symbol that an entry names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Value {
    /// `S`: its address; 0 for a weak symbol that nothing defines.
    pub address: u64,
    /// `Z`: its size in bytes.
    pub size: u64,
    /// For a thread-local symbol: its offset in its module's block.
    pub block_offset: u64,
    /// For a thread-local symbol: the id of its module, as `__tls_get_addr` wants it.
    pub module: Option<u64>,
    /// For a thread-local symbol at a fixed distance from the thread pointer: that distance in bytes (negative).
    pub tp_offset: Option<i64>,
    /// For a thread-local symbol that is reached by a descriptor: its two words, the addend included.
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

    /// Whether all that its formula needs of a symbol is the address `S`.
    #[inline]
    pub fn is_address(self) -> bool {
        use RelocKind::{Abs32, Abs64, GlobDat, JumpSlot, Pc32};
        matches!(self, Abs64 | GlobDat | JumpSlot | Abs32 | Pc32)
    }

    /// Whether it is about a thread-local variable.
    #[inline]
    pub fn is_tls(self) -> bool {
        matches!(self, RelocKind::DtpMod64 | RelocKind::DtpOff64 | RelocKind::TpOff64 | RelocKind::TlsDesc)
    }

    /// The kind of reference, for the lookup. glibc `elf_machine_type_class`.
    #[inline]
    pub fn class(self) -> Class {
        if self == RelocKind::JumpSlot || self.is_tls() { Class::Plt } else { Class::Address }
    }

    /// Applies the formula at the address `p`.
    ///
    /// # Errors
    /// [`Problem`] where there is no result to store.
    #[inline(always)]
    pub fn compute(self, b: Bias, p: Addr, value: Value, a: i64) -> Result<Write, Problem> {
        let s = value.address;
        Ok(match self {
            RelocKind::None => Write::Nothing,
            RelocKind::Abs64 => Write::Word(s.wrapping_add_signed(a)),
            // The formula has no `A`; linkers leave the addend 0.
            RelocKind::GlobDat | RelocKind::JumpSlot => Write::Word(s),
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

/// The name of a relocation type that [`RelocKind`] does not have, as far as the psABI gives it one.
pub fn raw_name(raw: u32) -> String {
    match r_to_str(raw, EM_X86_64) {
        "R_UNKNOWN_X86_64" => format!("type {raw}"),
        name => format!("R_{name}"),
    }
}

/// The places of `DT_RELR`: each word there gets the bias added. Entries are an even address, or an odd
/// bitmap of the 63 words after it. "Proposal for a new section type SHT_RELR" (generic-abi); glibc
/// `ELF_DYNAMIC_DO_RELR`, musl `do_relr_relocs`.
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

#[cfg(test)]
mod tests {
    use super::*;

    const B: Bias = Bias(0x7f00_0000_0000);
    const P: Addr = Addr(0x7f00_0000_4000);

    fn value(address: u64) -> Value {
        Value { address, size: 24, ..Value::default() }
    }

    #[test]
    fn the_formulas_are_those_of_the_psabi() {
        let s = 0x7f00_0000_1100;
        for (kind, a, expected) in [
            (RelocKind::None, 5, Write::Nothing),
            (RelocKind::Abs64, -0x10, Write::Word(s - 0x10)),
            (RelocKind::GlobDat, 99, Write::Word(s)),
            (RelocKind::JumpSlot, 99, Write::Word(s)),
            (RelocKind::Relative, 0x2000, Write::Word(B.0 + 0x2000)),
            (RelocKind::Relative64, 0x2000, Write::Word(B.0 + 0x2000)),
            (RelocKind::Pc32, -4, Write::Half((0x1100_u32).wrapping_sub(0x4004))),
            (RelocKind::Size32, 1, Write::Half(25)),
            (RelocKind::Size64, 1, Write::Word(25)),
            (RelocKind::IRelative, 0x1160, Write::Call(Addr(B.0 + 0x1160))),
        ] {
            assert_eq!(kind.compute(B, P, value(s), a), Ok(expected), "{kind:?}");
        }
        let tls = Value { tp_offset: Some(-64), module: Some(7), block_offset: 0x20, ..value(0) };
        assert_eq!(RelocKind::DtpMod64.compute(B, P, tls, 8), Ok(Write::Word(7)));
        assert_eq!(RelocKind::DtpOff64.compute(B, P, tls, 8), Ok(Write::Word(0x28)));
        assert_eq!(RelocKind::TpOff64.compute(B, P, value(0), 8), Err(Problem::NotThreadLocal));
        assert_eq!(RelocKind::TpOff64.compute(B, P, tls, 8), Ok(Write::Word(-56_i64 as u64)));
    }

    #[test]
    fn what_does_not_fit_into_32_bits_is_a_problem_and_not_cut_off() {
        assert_eq!(RelocKind::Abs32.compute(B, P, value(0xffff_ffff), 0), Ok(Write::Half(u32::MAX)));
        assert_eq!(RelocKind::Abs32.compute(B, P, value(0xffff_ffff), 1), Err(Problem::Overflow(1 << 32)));
        assert!(RelocKind::Pc32.compute(B, P, value(0), 0).is_err());
    }

    #[test]
    fn relr_bitmaps_name_the_63_words_after_the_last_address() {
        let places: Vec<_> = relr_places(&[0x1000, 0b1011, 1 | 1 << 63, 0x3000]).map(|(_, p)| p.0).collect();
        assert_eq!(places, [0x1000, 0x1008, 0x1018, 0x1008 + 63 * 8 + 62 * 8, 0x3000]);
    }

    #[test]
    fn unknown_types_are_not_guessed() {
        assert_eq!(RelocKind::from_raw(42), None);
        for raw in 0..64 {
            if let Some(kind) = RelocKind::from_raw(raw) {
                assert_eq!(kind as u32, raw);
            }
        }
    }
}

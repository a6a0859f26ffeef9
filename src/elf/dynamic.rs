//! The dynamic section, which says where all other tables are.
//!
//! gABI "Dynamic Section"; glibc `elf_get_dynamic_info`, musl `decode_dyn`. A `d_un` is either an address
//! (`d_ptr`) or a number (`d_val`), depending on its tag. Here the two become different types.

use goblin::elf64::dynamic::{
    DF_BIND_NOW, DF_SYMBOLIC, DF_TEXTREL, DT_BIND_NOW, DT_DEBUG, DT_FINI, DT_FINI_ARRAY, DT_FINI_ARRAYSZ, DT_FLAGS,
    DT_FLAGS_1, DT_GNU_HASH, DT_HASH, DT_INIT, DT_INIT_ARRAY, DT_INIT_ARRAYSZ, DT_JMPREL, DT_NEEDED, DT_NULL,
    DT_PLTGOT, DT_PLTREL, DT_PLTRELSZ, DT_REL, DT_RELA, DT_RELACOUNT, DT_RELAENT, DT_RELASZ, DT_RPATH, DT_RUNPATH,
    DT_SONAME, DT_STRSZ, DT_STRTAB, DT_SYMBOLIC, DT_SYMENT, DT_SYMTAB, DT_TEXTREL, DT_VERDEF, DT_VERDEFNUM, DT_VERNEED,
    DT_VERNEEDNUM, DT_VERSYM, tag_to_str,
};

use super::addr::{Bias, Vaddr};
use crate::error::ErrorKind;

// goblin does not have these. "Proposal for a new section type SHT_RELR" (generic-abi).
const DT_RELRSZ: u64 = 35;
pub(crate) const DT_RELR: u64 = 36;
const DT_RELRENT: u64 = 37;
// These lie in the range for processors, but mean the same on every processor.
const DT_AUXILIARY: u64 = 0x7fff_fffd;
const DT_FILTER: u64 = 0x7fff_ffff;

// Of Android's loader alone (bionic `linker/linker.h`): relocations in a compressed form.
const DT_ANDROID_REL: u64 = 0x6000_000f;
const DT_ANDROID_RELA: u64 = 0x6000_0011;
const DT_ANDROID_RELR: u64 = 0x6fff_e000;

const RULE: &str = "gABI, \"Dynamic Section\"";

/// `DF_1_NOW` in `DT_FLAGS_1`: as `DF_BIND_NOW`.
pub const DF_1_NOW: u64 = 0x1;
/// `DF_1_NODELETE` in `DT_FLAGS_1`: the object is never unloaded.
pub const DF_1_NODELETE: u64 = 0x8;
/// `DF_1_INITFIRST`: its constructors run before all others of the load.
pub const DF_1_INITFIRST: u64 = 0x20;
/// `DF_1_NOOPEN`: `dlopen` may not open the object; others may need it.
pub const DF_1_NOOPEN: u64 = 0x40;
/// `DF_1_NODEFLIB`: the default directories are not searched for its dependencies.
pub const DF_1_NODEFLIB: u64 = 0x800;

/// Bytes in one entry of the dynamic section (`Elf64_Dyn`).
pub const SIZEOF_DYN: u64 = 16;

/// A table in memory: where it begins, and its length in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Table {
    /// Its first byte.
    pub at: Vaddr,
    /// Its length in bytes.
    pub length: u64,
}

/// An offset into the dynamic string table, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StrOffset(pub u64);

/// One `Elf64_Dyn`, as it stands in the section.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DynamicEntry {
    /// `d_tag`.
    pub tag: u64,
    /// `d_un`.
    pub value: u64,
}

impl DynamicEntry {
    /// `DT_NEEDED`, … or the number of a tag that has no name here.
    pub fn tag_name(&self) -> String {
        match self.tag {
            DT_RELR => "DT_RELR".into(),
            DT_RELRSZ => "DT_RELRSZ".into(),
            DT_RELRENT => "DT_RELRENT".into(),
            0x6fff_fef7 => "DT_TLSDESC_GOT".into(),
            0x6fff_fef6 => "DT_TLSDESC_PLT".into(),
            tag => match tag_to_str(tag) {
                "UNKNOWN_TAG" => format!("{tag:#x}"),
                name => name.into(),
            },
        }
    }

    /// Whether the value is an offset into the string table.
    pub fn names_string(&self) -> bool {
        matches!(self.tag, DT_NEEDED | DT_SONAME | DT_RPATH | DT_RUNPATH | DT_FILTER | DT_AUXILIARY)
    }
}

/// The dynamic section, sorted by tag. A table that the file does not have is `None`.
#[derive(Clone, Debug, Default)]
pub struct Dynamic {
    /// `DT_NEEDED`, in order.
    pub needed: Vec<StrOffset>,
    /// `DT_FILTER` and `DT_AUXILIARY`, in order; `true` for a filter.
    pub filters: Vec<(StrOffset, bool)>,
    /// `DT_SONAME`.
    pub soname: Option<StrOffset>,
    /// `DT_RPATH`.
    pub rpath: Option<StrOffset>,
    /// `DT_RUNPATH`.
    pub runpath: Option<StrOffset>,
    /// `DT_STRTAB` with `DT_STRSZ`.
    pub strings: Option<Table>,
    /// `DT_SYMTAB`. No tag says how long it is.
    pub symbols: Option<Vaddr>,
    /// `DT_GNU_HASH`.
    pub gnu_hash: Option<Vaddr>,
    /// `DT_HASH`.
    pub sysv_hash: Option<Vaddr>,
    /// `DT_VERSYM`.
    pub versym: Option<Vaddr>,
    /// `DT_VERDEF`, and how many entries.
    pub verdef: Option<(Vaddr, u64)>,
    /// `DT_VERNEED`, and how many entries.
    pub verneed: Option<(Vaddr, u64)>,
    /// `DT_RELA` with `DT_RELASZ`.
    pub rela: Option<Table>,
    /// `DT_RELACOUNT`: how many entries at the start of `rela` are `R_X86_64_RELATIVE`, as the file claims.
    /// Only a hint: nothing may depend on it.
    pub relative_count: u64,
    /// `DT_JMPREL` with `DT_PLTRELSZ`.
    pub jmprel: Option<Table>,
    /// `DT_RELR` with `DT_RELRSZ`.
    pub relr: Option<Table>,
    /// `DT_ANDROID_REL`, `DT_ANDROID_RELA` or `DT_ANDROID_RELR`: relocations that only Android's loader can read.
    pub android: Option<Vaddr>,
    /// `DT_INIT`.
    pub init: Option<Vaddr>,
    /// `DT_INIT_ARRAY` with `DT_INIT_ARRAYSZ`.
    pub init_array: Option<Table>,
    /// `DT_FINI`.
    pub fini: Option<Vaddr>,
    /// `DT_FINI_ARRAY` with `DT_FINI_ARRAYSZ`.
    pub fini_array: Option<Table>,
    /// `DT_PLTGOT`.
    pub pltgot: Option<Vaddr>,
    /// `DT_FLAGS_1`.
    pub flags_1: u64,
    /// `DT_SYMBOLIC` or `DF_SYMBOLIC`: its own definitions come first.
    pub symbolic: bool,
    /// `DT_TEXTREL` or `DF_TEXTREL`: relocations write into pages that are not writable.
    pub textrel: bool,
    /// `DT_BIND_NOW`, `DF_BIND_NOW` or `DF_1_NOW`: no lazy binding.
    pub bind_now: bool,
}

/// Values whose tags come in pairs: one says where a table is, the other how long it is.
#[derive(Default)]
struct Halves {
    strtab: Option<Vaddr>,
    strsz: Option<u64>,
    rela: Option<Vaddr>,
    relasz: Option<u64>,
    jmprel: Option<Vaddr>,
    pltrelsz: Option<u64>,
    relr: Option<Vaddr>,
    relrsz: Option<u64>,
    init_array: Option<Vaddr>,
    init_arraysz: Option<u64>,
    fini_array: Option<Vaddr>,
    fini_arraysz: Option<u64>,
    verdef: Option<Vaddr>,
    verdefnum: Option<u64>,
    verneed: Option<Vaddr>,
    verneednum: Option<u64>,
}

impl Dynamic {
    /// The tags of the hash tables that the object has.
    pub fn hash_tables(&self) -> &'static str {
        match (self.gnu_hash, self.sysv_hash) {
            (Some(_), Some(_)) => "DT_GNU_HASH, DT_HASH",
            (Some(_), None) => "DT_GNU_HASH",
            (None, Some(_)) => "DT_HASH",
            (None, None) => "none",
        }
    }

    /// Sorts the entries of the section at `section` by meaning. Entries after `DT_NULL` do not count.
    /// `pointer` turns a `d_ptr` into a `p_vaddr`. For a file that we mapped ourselves it changes nothing;
    /// for the host's objects see [`host_pointer`].
    ///
    /// # Errors
    /// [`ErrorKind::Malformed`] for a value that no loader can work with.
    pub fn new(
        entries: impl Iterator<Item = DynamicEntry>,
        section: Vaddr,
        pointer: &dyn Fn(u64) -> Vaddr,
    ) -> Result<Dynamic, ErrorKind> {
        let mut d = Dynamic::default();
        let mut h = Halves::default();
        for (index, DynamicEntry { tag, value }) in entries.enumerate() {
            let at = Vaddr(section.0 + index as u64 * SIZEOF_DYN);
            let must_be = |field: &str, right: u64| {
                if value == right { Ok(()) } else { Err(ErrorKind::malformed(field, at, value, right, RULE)) }
            };
            match tag {
                DT_NULL => break,
                DT_NEEDED => d.needed.push(StrOffset(value)),
                DT_FILTER => d.filters.push((StrOffset(value), true)),
                DT_AUXILIARY => d.filters.push((StrOffset(value), false)),
                DT_SONAME => d.soname = Some(StrOffset(value)),
                DT_RPATH => d.rpath = Some(StrOffset(value)),
                DT_RUNPATH => d.runpath = Some(StrOffset(value)),
                DT_STRTAB => h.strtab = Some(pointer(value)),
                DT_STRSZ => h.strsz = Some(value),
                DT_SYMTAB => d.symbols = Some(pointer(value)),
                DT_SYMENT => must_be("DT_SYMENT", 24)?,
                DT_GNU_HASH => d.gnu_hash = Some(pointer(value)),
                DT_HASH => d.sysv_hash = Some(pointer(value)),
                DT_VERSYM => d.versym = Some(pointer(value)),
                DT_VERDEF => h.verdef = Some(pointer(value)),
                DT_VERDEFNUM => h.verdefnum = Some(value),
                DT_VERNEED => h.verneed = Some(pointer(value)),
                DT_VERNEEDNUM => h.verneednum = Some(value),
                DT_RELA => h.rela = Some(pointer(value)),
                DT_RELASZ => h.relasz = Some(value),
                DT_RELAENT => must_be("DT_RELAENT", 24)?,
                DT_RELACOUNT => d.relative_count = value,
                DT_REL => {
                    let rule = "x86_64 has only relocations with addends (psABI, \"Relocation\")";
                    return Err(ErrorKind::malformed("DT_REL", at, "present", "DT_RELA", rule));
                }
                DT_JMPREL => h.jmprel = Some(pointer(value)),
                DT_PLTRELSZ => h.pltrelsz = Some(value),
                DT_PLTREL => must_be("DT_PLTREL", DT_RELA)?,
                DT_RELR => h.relr = Some(pointer(value)),
                DT_RELRSZ => h.relrsz = Some(value),
                DT_RELRENT => must_be("DT_RELRENT", 8)?,
                DT_ANDROID_REL | DT_ANDROID_RELA | DT_ANDROID_RELR => d.android = Some(at),
                // 0 means that there is none, as in musl. glibc would call what lies at the load bias.
                DT_INIT => d.init = (value != 0).then(|| pointer(value)),
                DT_INIT_ARRAY => h.init_array = Some(pointer(value)),
                DT_INIT_ARRAYSZ => h.init_arraysz = Some(value),
                DT_FINI => d.fini = (value != 0).then(|| pointer(value)),
                DT_FINI_ARRAY => h.fini_array = Some(pointer(value)),
                DT_FINI_ARRAYSZ => h.fini_arraysz = Some(value),
                DT_PLTGOT => d.pltgot = Some(pointer(value)),
                DT_SYMBOLIC => d.symbolic = true,
                DT_TEXTREL => d.textrel = true,
                DT_BIND_NOW => d.bind_now = true,
                DT_FLAGS => {
                    d.symbolic |= value & DF_SYMBOLIC != 0;
                    d.textrel |= value & DF_TEXTREL != 0;
                    d.bind_now |= value & DF_BIND_NOW != 0;
                }
                DT_FLAGS_1 => {
                    d.flags_1 = value;
                    d.bind_now |= value & DF_1_NOW != 0;
                }
                DT_DEBUG => {}
                // The gABI reserves the tags that are not in its table, and new tags come with new linkers.
                // They are skipped, as glibc and musl do; the event stream still shows every entry.
                _ => {}
            }
        }
        d.strings = pair("DT_STRTAB", "DT_STRSZ", section, h.strtab, h.strsz, 1)?;
        d.rela = pair("DT_RELA", "DT_RELASZ", section, h.rela, h.relasz, 24)?;
        d.jmprel = pair("DT_JMPREL", "DT_PLTRELSZ", section, h.jmprel, h.pltrelsz, 24)?;
        d.relr = pair("DT_RELR", "DT_RELRSZ", section, h.relr, h.relrsz, 8)?;
        d.init_array = pair("DT_INIT_ARRAY", "DT_INIT_ARRAYSZ", section, h.init_array, h.init_arraysz, 8)?;
        d.fini_array = pair("DT_FINI_ARRAY", "DT_FINI_ARRAYSZ", section, h.fini_array, h.fini_arraysz, 8)?;
        d.verdef = h.verdef.map(|at| (at, h.verdefnum.unwrap_or(u64::MAX)));
        d.verneed = h.verneed.map(|at| (at, h.verneednum.unwrap_or(u64::MAX)));
        Ok(d.without_plt_overlap())
    }

    /// Some linkers let `DT_RELASZ` include the table of `DT_JMPREL`, but each entry must be applied once.
    /// glibc's `_ELF_DYNAMIC_DO_RELOC` corrects this in the same way.
    fn without_plt_overlap(mut self) -> Dynamic {
        if let (Some(rela), Some(plt)) = (&mut self.rela, self.jmprel) {
            let rela_end = rela.at.0.wrapping_add(rela.length);
            if plt.at >= rela.at && plt.at.0.wrapping_add(plt.length) == rela_end {
                rela.length -= plt.length;
            }
        }
        self
    }
}

/// Joins the place of a table and its length. A length of 0 means that there is no table.
fn pair(
    at_name: &str,
    length_name: &str,
    section: Vaddr,
    at: Option<Vaddr>,
    length: Option<u64>,
    entry: u64,
) -> Result<Option<Table>, ErrorKind> {
    match (at, length) {
        (_, None | Some(0)) => Ok(None),
        (None, Some(length)) => {
            let found = format!("{length} bytes, but no {at_name}");
            Err(ErrorKind::malformed(length_name, section, found, format!("{at_name} beside it"), RULE))
        }
        (Some(_), Some(length)) if length % entry != 0 => {
            let expected = format!("a multiple of {entry} bytes");
            Err(ErrorKind::malformed(length_name, section, length, expected, RULE))
        }
        (Some(at), Some(length)) => Ok(Some(Table { at, length })),
    }
}

/// Reads a `d_ptr` of an object that the *system's* loader mapped to `bias + span`. glibc adds the load bias
/// to some of these pointers in place, but not where `PT_DYNAMIC` is read-only, and never in the vDSO. So a
/// value counts as an address exactly if it lies inside the object; any other value is a `p_vaddr`.
pub fn host_pointer(bias: Bias, span: std::ops::Range<Vaddr>) -> impl Fn(u64) -> Vaddr {
    move |value| {
        let as_address = bias.vaddr(super::addr::Addr(value));
        if span.contains(&as_address) { as_address } else { Vaddr(value) }
    }
}

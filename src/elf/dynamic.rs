//! The dynamic section, which says where all other tables are.
//!
//! gABI "Dynamic Section"; glibc `elf_get_dynamic_info`, musl `decode_dyn`. A `d_un` is either an address
//! (`d_ptr`) or a number (`d_val`), depending on its tag. Here the two become different types.

use std::fmt;

use goblin::elf64::dynamic::{
    DF_BIND_NOW, DF_SYMBOLIC, DF_TEXTREL, DT_BIND_NOW, DT_FINI, DT_FINI_ARRAY, DT_FINI_ARRAYSZ, DT_FLAGS, DT_FLAGS_1,
    DT_GNU_HASH, DT_HASH, DT_INIT, DT_INIT_ARRAY, DT_INIT_ARRAYSZ, DT_JMPREL, DT_NEEDED, DT_NULL, DT_PLTGOT, DT_PLTREL,
    DT_PLTRELSZ, DT_REL, DT_RELA, DT_RELACOUNT, DT_RELAENT, DT_RELASZ, DT_RPATH, DT_RUNPATH, DT_SONAME, DT_STRSZ,
    DT_STRTAB, DT_SYMBOLIC, DT_SYMENT, DT_SYMTAB, DT_TEXTREL, DT_VERDEF, DT_VERDEFNUM, DT_VERNEED, DT_VERNEEDNUM,
    DT_VERSYM, tag_to_str,
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
        tag_name(self.tag)
    }

    /// Whether the value is an offset into the string table.
    pub fn names_string(&self) -> bool {
        matches!(self.tag, DT_NEEDED | DT_SONAME | DT_RPATH | DT_RUNPATH | DT_FILTER | DT_AUXILIARY)
    }
}

fn tag_name(tag: u64) -> String {
    match tag {
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

/// The last value of each tag, in a list by tag: glibc `l_info`, musl `decode_vec`. Other tags are skipped, as glibc and
/// musl do: new ones come with new linkers. The event stream still shows every entry.
struct Values {
    words: [u64; VALUES],
    /// The number of the entry that has the value, from 1 on. 0: there is none.
    entries: [u16; VALUES],
    /// The address of the dynamic section.
    section: Vaddr,
}

/// The tags of the gABI are small numbers. Those that GNU added stand side by side at the end of their range.
const GABI: u64 = 40;
const VALUES: usize = 1 + (GABI + 0x6fff_ffff - DT_VERSYM + 1) as usize;

/// The place of a tag in the list.
fn place(tag: u64) -> Option<usize> {
    match tag {
        0..GABI => Some(tag as usize),
        DT_VERSYM..=0x6fff_ffff => Some((GABI + tag - DT_VERSYM) as usize),
        DT_GNU_HASH => Some(VALUES - 1),
        _ => None,
    }
}

impl Values {
    fn set(&mut self, tag: u64, value: u64, index: usize) {
        if let Some(place) = place(tag) {
            self.words[place] = value;
            self.entries[place] = u16::try_from(index + 1).unwrap_or(u16::MAX);
        }
    }

    fn get(&self, tag: u64) -> Option<u64> {
        let place = place(tag)?;
        (self.entries[place] != 0).then_some(self.words[place])
    }

    /// Whether `tag` is there, with one of the `bits` in its value.
    fn has(&self, tag: u64, bits: u64) -> bool {
        self.get(tag).is_some_and(|value| value & bits != 0)
    }

    /// Joins the two tags of a table: one says where it is, the other how long. A length of 0 means that there is none.
    fn table(&self, at: u64, length: u64, entry: u64) -> Result<Option<(u64, u64)>, ErrorKind> {
        match (self.get(at), self.get(length)) {
            (_, None | Some(0)) => Ok(None),
            (None, Some(bytes)) => {
                let at = tag_name(at);
                Err(self.malformed(length, format!("{bytes} bytes, but no {at}"), format!("{at} beside it")))
            }
            (Some(_), Some(bytes)) if bytes % entry != 0 => {
                Err(self.malformed(length, bytes, format!("a multiple of {entry} bytes")))
            }
            (Some(at), Some(bytes)) => Ok(Some((at, bytes))),
        }
    }

    /// Refuses the value of `tag`.
    #[cold]
    fn malformed(&self, tag: u64, found: impl fmt::Display, right: impl fmt::Display) -> ErrorKind {
        let entry = place(tag).map_or(0, |place| self.entries[place].saturating_sub(1));
        let at = Vaddr(self.section.0 + u64::from(entry) * SIZEOF_DYN);
        ErrorKind::malformed(tag_name(tag), at, found, right, RULE)
    }
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
        entries: &mut dyn Iterator<Item = DynamicEntry>,
        section: Vaddr,
        pointer: &dyn Fn(u64) -> Vaddr,
    ) -> Result<Dynamic, ErrorKind> {
        let mut values = Values { words: [0; VALUES], entries: [0; VALUES], section };
        let (mut needed, mut filters, mut android) = (Vec::new(), Vec::new(), None);
        for (index, DynamicEntry { tag, value }) in entries.enumerate() {
            match tag {
                DT_NULL => break,
                DT_NEEDED => needed.push(StrOffset(value)),
                DT_FILTER => filters.push((StrOffset(value), true)),
                DT_AUXILIARY => filters.push((StrOffset(value), false)),
                DT_ANDROID_REL | DT_ANDROID_RELA | DT_ANDROID_RELR => {
                    android = Some(Vaddr(section.0 + index as u64 * SIZEOF_DYN));
                }
                _ => values.set(tag, value, index),
            }
        }
        for (tag, right) in [(DT_SYMENT, 24), (DT_RELAENT, 24), (DT_RELRENT, 8), (DT_PLTREL, DT_RELA)] {
            if let Some(wrong) = values.get(tag).filter(|&value| value != right) {
                return Err(values.malformed(tag, wrong, right));
            }
        }
        if values.get(DT_REL).is_some() {
            return Err(values.malformed(DT_REL, "present", "DT_RELA: x86_64 has only relocations with addends"));
        }
        let address = |tag| values.get(tag).map(pointer);
        let text = |tag| values.get(tag).map(StrOffset);
        let table = |at, length, entry| -> Result<Option<Table>, ErrorKind> {
            Ok(values.table(at, length, entry)?.map(|(at, length)| Table { at: pointer(at), length }))
        };
        let versions = |at, count| Some((address(at)?, values.get(count).unwrap_or(u64::MAX)));
        let dynamic = Dynamic {
            needed,
            filters,
            android,
            soname: text(DT_SONAME),
            rpath: text(DT_RPATH),
            runpath: text(DT_RUNPATH),
            strings: table(DT_STRTAB, DT_STRSZ, 1)?,
            symbols: address(DT_SYMTAB),
            gnu_hash: address(DT_GNU_HASH),
            sysv_hash: address(DT_HASH),
            versym: address(DT_VERSYM),
            verdef: versions(DT_VERDEF, DT_VERDEFNUM),
            verneed: versions(DT_VERNEED, DT_VERNEEDNUM),
            rela: table(DT_RELA, DT_RELASZ, 24)?,
            relative_count: values.get(DT_RELACOUNT).unwrap_or(0),
            jmprel: table(DT_JMPREL, DT_PLTRELSZ, 24)?,
            relr: table(DT_RELR, DT_RELRSZ, 8)?,
            // 0 means that there is none, as in musl. glibc would call what lies at the load bias.
            init: values.get(DT_INIT).filter(|&at| at != 0).map(pointer),
            init_array: table(DT_INIT_ARRAY, DT_INIT_ARRAYSZ, 8)?,
            fini: values.get(DT_FINI).filter(|&at| at != 0).map(pointer),
            fini_array: table(DT_FINI_ARRAY, DT_FINI_ARRAYSZ, 8)?,
            pltgot: address(DT_PLTGOT),
            flags_1: values.get(DT_FLAGS_1).unwrap_or(0),
            symbolic: values.get(DT_SYMBOLIC).is_some() || values.has(DT_FLAGS, DF_SYMBOLIC),
            textrel: values.get(DT_TEXTREL).is_some() || values.has(DT_FLAGS, DF_TEXTREL),
            bind_now: values.get(DT_BIND_NOW).is_some()
                || values.has(DT_FLAGS, DF_BIND_NOW)
                || values.has(DT_FLAGS_1, DF_1_NOW),
        };
        Ok(dynamic.without_plt_overlap())
    }

    /// Some linkers let `DT_RELASZ` include the table of `DT_JMPREL`, but each entry must be applied once.
    /// glibc's `_ELF_DYNAMIC_DO_RELOC` corrects this in the same way.
    fn without_plt_overlap(mut self) -> Dynamic {
        if let (Some(rela), Some(plt)) = (&mut self.rela, self.jmprel) {
            let [rela_end, plt_end] = [*rela, plt].map(|table| table.at.0.checked_add(table.length));
            if plt.at >= rela.at && plt_end.is_some() && plt_end == rela_end {
                rela.length -= plt.length;
            }
        }
        self
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

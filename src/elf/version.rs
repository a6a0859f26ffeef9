//! Symbol versions: `DT_VERSYM`, `DT_VERDEF`, `DT_VERNEED`.
//!
//! LSB "Symbol Versioning"; glibc `_dl_check_map_versions` and `check_match`; musl reads only bit 15. Each
//! symbol has a 16-bit index. The index stands for a version that the object defines (`foo@@V2`) or needs
//! from another. Index 0 means "local", 1 means "no version". Bit 15 hides a definition from references that
//! do not ask for its version (`foo@V1`).

use super::addr::{Vaddr, c_str_at, u16_at, u32_at};
use crate::error::ErrorKind;

/// Bit 15 of a version index: this is not the default version of the name.
pub const HIDDEN: u16 = 0x8000;
/// The format of both tables: `vd_version` and `vn_version`.
const VER_CURRENT: u16 = 1;
const VER_FLG_BASE: u16 = 1;
const VER_FLG_WEAK: u16 = 2;
const SIZEOF_VERDEF: usize = 20;
const SIZEOF_VERNAUX: usize = 16;
/// Memory for more versions is not reserved beforehand, whatever the file claims: few libraries have more.
const MANY: u64 = 64;
const RULE: &str = "LSB, \"Symbol Versioning\"";

/// A version: its name, and the gABI hash of the name, which the table gives. Most comparisons end at the
/// hash.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Name<'a> {
    /// `GLIBC_2.2.5`.
    pub text: &'a [u8],
    /// `vd_hash` or `vna_hash`.
    pub hash: u32,
    /// Bit 15 of `vna_other`: the reference does not accept a definition without a version instead.
    pub hidden: bool,
}

impl Name<'_> {
    /// Whether both are the same version, whatever [`Name::hidden`] says.
    #[inline]
    pub fn same(&self, other: &Name<'_>) -> bool {
        self.hash == other.hash && self.text == other.text
    }
}

/// One version that an object needs from another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Need<'a> {
    /// `vn_file`: the soname of the object that should define the version.
    pub file: &'a [u8],
    /// The version that is needed.
    pub name: Name<'a>,
    /// `VER_FLG_WEAK`: it is no error if the version is missing.
    pub weak: bool,
    /// Where its `Vernaux` stands.
    pub at: Vaddr,
}

/// All versions of one object, by index.
#[derive(Clone, Debug, Default)]
pub struct Versions<'a> {
    by_index: Vec<Option<Name<'a>>>,
    /// The versions that the object defines, without the base version.
    pub defined: Vec<Name<'a>>,
    /// The versions that the object needs from others.
    pub needs: Vec<Need<'a>>,
    /// Whether the object has a `DT_VERDEF` at all.
    pub has_definitions: bool,
}

impl<'a> Versions<'a> {
    /// The version that a symbol's index stands for, whatever bit 15 says. `None` for 0, 1, and indices that
    /// stand for nothing.
    #[inline]
    pub fn get(&self, index: u16) -> Option<&Name<'a>> {
        self.by_index.get(usize::from(index & !HIDDEN))?.as_ref()
    }

    fn set(&mut self, index: u16, name: Name<'a>) {
        let index = usize::from(index & !HIDDEN);
        if self.by_index.len() <= index {
            self.by_index.resize(index + 1, None);
        }
        self.by_index[index] = Some(name);
    }

    /// Reads `DT_VERDEF`: a list of `Verdef`s, each with a list of `Verdaux`es, of which the first is its
    /// name.
    ///
    /// # Errors
    /// [`ErrorKind::Malformed`] where a part lies outside of the table or of `strings`.
    pub fn read_definitions(&mut self, table: List<'a>, strings: &'a [u8]) -> Result<(), ErrorKind> {
        let bytes = table.bytes;
        self.has_definitions = true;
        let likely = table.count.min(MANY) as usize;
        self.by_index.reserve(likely + 2);
        self.defined.reserve(likely);
        table.walk("DT_VERDEF", |entry| {
            (u16_at(bytes, entry)? == VER_CURRENT).then_some(())?;
            let (flags, index) = (u16_at(bytes, entry + 2)?, u16_at(bytes, entry + 4)?);
            let (hash, aux, next) = (u32_at(bytes, entry + 8)?, u32_at(bytes, entry + 12)?, u32_at(bytes, entry + 16)?);
            table.has_room_for(self.defined.len(), SIZEOF_VERDEF)?;
            let text = c_str_at(strings, u32_at(bytes, entry + aux as usize)? as usize)?;
            if flags & VER_FLG_BASE == 0 {
                let name = Name { text, hash, hidden: false };
                self.set(index, name);
                self.defined.push(name);
            }
            Some(next)
        })
    }

    /// Reads `DT_VERNEED`: a list of `Verneed`s, one for each file, each with a list of `Vernaux`es, one for
    /// each version.
    ///
    /// # Errors
    /// [`ErrorKind::Malformed`] where a part lies outside of the table or of `strings`.
    pub fn read_needs(&mut self, table: List<'a>, strings: &'a [u8]) -> Result<(), ErrorKind> {
        let bytes = table.bytes;
        table.walk("DT_VERNEED", |entry| {
            (u16_at(bytes, entry)? == VER_CURRENT).then_some(())?;
            let file = c_str_at(strings, u32_at(bytes, entry + 4)? as usize)?;
            let (aux, next) = (u32_at(bytes, entry + 8)?, u32_at(bytes, entry + 12)?);
            let mut one = entry.checked_add(aux as usize)?;
            for _ in 0..u16_at(bytes, entry + 2)? {
                let (hash, flags, other) = (u32_at(bytes, one)?, u16_at(bytes, one + 4)?, u16_at(bytes, one + 6)?);
                let text = c_str_at(strings, u32_at(bytes, one + 8)? as usize)?;
                let name = Name { text, hash, hidden: other & HIDDEN != 0 };
                table.has_room_for(self.needs.len(), SIZEOF_VERNAUX)?;
                self.set(other, name);
                let at = Vaddr(table.at.0.wrapping_add(one as u64));
                self.needs.push(Need { file, name, weak: flags & VER_FLG_WEAK != 0, at });
                match u32_at(bytes, one + 12)? {
                    0 => break,
                    step => one = one.checked_add(step as usize)?,
                }
            }
            Some(next)
        })
    }
}

/// `DT_VERDEF` or `DT_VERNEED`: the bytes from its first entry to the end of its segment, its address, and how many entries
/// it has.
#[derive(Clone, Copy, Debug)]
pub struct List<'a> {
    /// The bytes.
    pub bytes: &'a [u8],
    /// The address of the first entry.
    pub at: Vaddr,
    /// `DT_VERDEFNUM` or `DT_VERNEEDNUM`.
    pub count: u64,
}

impl List<'_> {
    /// `None` if there are more records than the table has room for. They overlap then, and could be many more than the
    /// file has bytes.
    fn has_room_for(&self, records: usize, size: usize) -> Option<()> {
        (records < self.bytes.len() / size).then_some(())
    }

    /// Follows the list. Each entry says how many bytes further on the next one is; 0 ends the list. `read` returns that
    /// number, or `None` where the entry leaves the table.
    fn walk(&self, tag: &str, mut read: impl FnMut(usize) -> Option<u32>) -> Result<(), ErrorKind> {
        let mut entry = 0_usize;
        // No entry has less than 16 bytes.
        for index in 0..self.count.min(self.bytes.len() as u64 / 16) {
            match read(entry) {
                Some(0) => break,
                Some(step) => entry = entry.saturating_add(step as usize),
                None => {
                    let found =
                        "an offset past the end of the table or of DT_STRTAB, records that overlap, or a format but 1";
                    let place = Vaddr(self.at.0.wrapping_add(entry as u64));
                    return Err(ErrorKind::malformed(format!("{tag} entry {index}"), place, found, "one inside", RULE));
                }
            }
        }
        Ok(())
    }
}

/// The version that `index` means, ignoring bit 15, looked for in `DT_VERDEF` and `DT_VERNEED` themselves, each with how
/// many entries it has: what [`Versions::get`] says, but nothing is allocated for it.
pub(crate) fn name_of<'a>(
    index: u16,
    definitions: Option<(&[u8], u64)>,
    needs: Option<(&[u8], u64)>,
    string: impl Fn(u64) -> Option<&'a [u8]>,
) -> Option<Name<'a>> {
    let name = |text: u32, hash| Some(Name { text: string(text.into())?, hash, hidden: false });
    let (bytes, count) = definitions.unwrap_or_default();
    let mut entry = 0_usize;
    for _ in 0..count.min(bytes.len() as u64) {
        let (flags, own) = (u16_at(bytes, entry + 2)?, u16_at(bytes, entry + 4)?);
        if own & !HIDDEN == index & !HIDDEN && flags & VER_FLG_BASE == 0 {
            let aux = entry.checked_add(u32_at(bytes, entry + 12)? as usize)?;
            return name(u32_at(bytes, aux)?, u32_at(bytes, entry + 8)?);
        }
        match u32_at(bytes, entry + 16)? {
            0 => break,
            step => entry = entry.checked_add(step as usize)?,
        }
    }
    let (bytes, count) = needs.unwrap_or_default();
    let mut entry = 0_usize;
    for _ in 0..count.min(bytes.len() as u64) {
        let mut one = entry.checked_add(u32_at(bytes, entry + 8)? as usize)?;
        for _ in 0..u16_at(bytes, entry + 2)? {
            if u16_at(bytes, one + 6)? & !HIDDEN == index & !HIDDEN {
                return name(u32_at(bytes, one + 8)?, u32_at(bytes, one)?);
            }
            match u32_at(bytes, one + 12)? {
                0 => break,
                step => one = one.checked_add(step as usize)?,
            }
        }
        match u32_at(bytes, entry + 12)? {
            0 => break,
            step => entry = entry.checked_add(step as usize)?,
        }
    }
    None
}

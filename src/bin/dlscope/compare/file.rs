//! Reads the slots and exports of a library from its file, always in the same order.
//!
//! Both children and the command read the file, so a snapshot needs no names.

use std::fs::{self, File};
use std::ops::Range;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use crate::bytes::shown_bytes;
use dlscope::elf::addr::{PAGE, Vaddr, page_down, page_up};
use dlscope::elf::dynamic::{Dynamic, DynamicEntry, StrOffset, Table};
use dlscope::elf::image::{Image, check_header};
use dlscope::elf::reloc::{RelocKind, Relocation, SIZEOF_RELA, relr_places};
use dlscope::elf::symbol::{Bytes, Symbol, SymbolTable};
use memmap2::Mmap;

/// The file of a library, mapped read-only.
pub struct ElfFile {
    bytes: Mmap,
    pub image: Image,
    pub dynamic: Dynamic,
}

/// One relocated word: an entry of `DT_RELR`, `DT_RELA` or `DT_JMPREL`.
#[derive(Clone, Copy, Debug)]
pub struct Slot {
    pub table: &'static str,
    /// Its index in the table, from 0.
    pub index: usize,
    pub place: Vaddr,
    pub kind: RelocKind,
    /// The index of its symbol in the symbol table, 0 for none.
    pub symbol: u32,
    pub addend: i64,
}

/// A lookup of an exported symbol: by name, or by name and version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExportLookup {
    pub name: Vec<u8>,
    pub version: Option<Vec<u8>>,
    /// The index of the symbol in the symbol table.
    pub symbol: u32,
}

impl Slot {
    /// How many bytes the relocation writes.
    pub fn size(&self) -> usize {
        match self.kind {
            RelocKind::Pc32 | RelocKind::Abs32 | RelocKind::Size32 => 4,
            RelocKind::TlsDesc => 16,
            _ => 8,
        }
    }
}

impl ElfFile {
    /// Maps a file. `None` if it is no library for this machine: then no loader has loaded it.
    pub fn open(path: &Path) -> Option<ElfFile> {
        let file = File::open(path).ok()?;
        // SAFETY: only read; whoever truncates a library while it is looked at would crash its users as well.
        let bytes = unsafe { Mmap::map(&file) }.ok()?;
        let length = bytes.len() as u64;
        let (offset, size) = check_header(&bytes, length).ok()?;
        let table = bytes.get(offset.0 as usize..offset.0 as usize + size)?;
        let image = Image::new(table, offset, length).ok()?;
        let section = image.dynamic()?;
        let entries = bytes.get(section.offset.0 as usize..(section.offset.0 + section.filesz) as usize)?;
        let words: Vec<u64> = words(entries).collect();
        let mut entries = words.chunks_exact(2).map(|e| DynamicEntry { tag: e[0], value: e[1] });
        let dynamic = Dynamic::new(&mut entries, section.vaddr, &Vaddr).ok()?;
        Some(ElfFile { bytes, image, dynamic })
    }

    /// The whole file.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The pages that the object covers, as `p_vaddr`s.
    pub fn span(&self) -> Range<u64> {
        let loads: Vec<_> = self.image.loads().map(|s| (s.vaddr.0, s.memsz)).collect();
        span(&loads)
    }

    /// Every relocated word, in the order of the tables.
    pub fn slots(&self) -> Vec<Slot> {
        let mut slots = Vec::new();
        let relr: Vec<u64> = self.table(self.dynamic.relr).map_or(Vec::new(), |t| words(t).collect());
        for (index, place) in relr_places(&relr) {
            let addend = self.word(place).unwrap_or(0) as i64;
            slots.push(Slot { table: "DT_RELR", index, place, kind: RelocKind::Relative, symbol: 0, addend });
        }
        for (table, at) in [("DT_RELA", self.dynamic.rela), ("DT_JMPREL", self.dynamic.jmprel)] {
            let entries = self.table(at).unwrap_or_default().chunks_exact(SIZEOF_RELA as usize);
            for (index, bytes) in entries.enumerate() {
                let mut parts = words(bytes);
                let mut next = || parts.next().unwrap_or(0);
                let (offset, info, addend) = (next(), next(), next() as i64);
                let entry = Relocation { place: Vaddr(offset), kind: info as u32, symbol: (info >> 32) as u32, addend };
                match RelocKind::from_raw(entry.kind) {
                    None | Some(RelocKind::None | RelocKind::Copy) => {}
                    Some(kind) => {
                        slots.push(Slot { table, index, place: entry.place, kind, symbol: entry.symbol, addend });
                    }
                }
            }
        }
        slots
    }

    /// All lookups of exported symbols: by name alone, and by name and version.
    pub fn exports(&self) -> Vec<ExportLookup> {
        let Some(symbols) = self.symbols() else { return Vec::new() };
        let mut exports = Vec::new();
        for (index, symbol, default) in symbols.exports() {
            let name = symbols.name(&symbol);
            let version = symbols.version(index).map(|v| v.text.to_vec());
            if default || version.is_none() {
                exports.push(ExportLookup { name: name.to_vec(), version: None, symbol: index });
            }
            if version.is_some() {
                exports.push(ExportLookup { name: name.to_vec(), version, symbol: index });
            }
        }
        exports
    }

    /// `DT_SONAME`.
    pub fn soname(&self) -> Option<String> {
        self.string(self.dynamic.soname?)
    }

    /// The names in `DT_NEEDED`, `DT_AUXILIARY` and `DT_FILTER`.
    pub fn needed(&self) -> Vec<String> {
        let names = self.dynamic.needed.iter().copied().chain(self.dynamic.filters.iter().map(|(name, _)| *name));
        names.filter_map(|name| self.string(name)).collect()
    }

    fn string(&self, at: StrOffset) -> Option<String> {
        Some(shown_bytes(self.symbols()?.string(at.0)?))
    }

    /// The symbol table, if it can be read.
    pub fn symbols(&self) -> Option<SymbolTable<'_>> {
        SymbolTable::new(&self.dynamic, &self).ok()
    }

    /// The symbol of a slot, with its name and version: `memcpy@GLIBC_2.14`.
    pub fn symbol_of(&self, slot: &Slot) -> Option<(Symbol<'_>, String)> {
        let symbols = self.symbols()?;
        let symbol = symbols.get(slot.symbol).filter(|_| slot.symbol != 0)?;
        let name = shown_bytes(symbols.name(&symbol));
        let version = symbols.version_text(slot.symbol).map_or(String::new(), |v| format!("@{v}"));
        Some((symbol, name + &version))
    }

    /// The word that the file has at `place`; `None` if the place is not in the file.
    pub fn word(&self, place: Vaddr) -> Option<u64> {
        let bytes = Bytes::tail(&self, place)?.get(..8)?;
        words(bytes).next()
    }

    fn table(&self, table: Option<Table>) -> Option<&[u8]> {
        let table = table?;
        Bytes::tail(&self, table.at)?.get(..table.length as usize)
    }
}

impl<'a> Bytes<'a> for &'a ElfFile {
    fn tail(&self, at: Vaddr) -> Option<&'a [u8]> {
        let segment = self.image.loads().find(|s| s.vaddr <= at && at.0 - s.vaddr.0 < s.filesz)?;
        let start = segment.offset.0 as usize;
        let bytes = self.bytes.get(start..start.checked_add(segment.filesz as usize)?)?;
        bytes.get((at.0 - segment.vaddr.0) as usize..)
    }
}

/// The device and inode of the file at `path`: several paths may lead to one file.
pub fn identity(path: &Path) -> Option<(u64, u64)> {
    let file = fs::metadata(path).ok()?;
    Some((file.dev(), file.ino()))
}

/// The pages from the first to the last of these segments, given as `(p_vaddr, p_memsz)`.
pub fn span(loads: &[(u64, u64)]) -> Range<u64> {
    let start = loads.iter().map(|(vaddr, _)| page_down(*vaddr)).min().unwrap_or(0);
    let end = loads.iter().filter_map(|(vaddr, memsz)| page_up(vaddr.checked_add(*memsz)?)).max().unwrap_or(start);
    start..end.max(start + PAGE)
}

fn words(bytes: &[u8]) -> impl Iterator<Item = u64> + '_ {
    bytes.chunks_exact(8).map(|word| {
        let mut eight = [0; 8];
        eight.copy_from_slice(word);
        u64::from_le_bytes(eight)
    })
}

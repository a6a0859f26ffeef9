//! An object's tables over its own memory.

use std::cell::RefCell;

use goblin::elf64::reloc::Rela;

use crate::elf::addr::Vaddr;
use crate::elf::dynamic::{Dynamic, Table};
use crate::elf::symbol::{Bytes, SymbolTable};
use crate::error::{ErrorKind, Result};
use crate::memory::Memory;

/// The tables of an object. The lifetimes are those of its memory; `Object`'s accessors shorten them.
pub(super) struct Tables {
    pub(super) symbols: SymbolTable<'static>,
    pub(super) rela: &'static [Rela],
    pub(super) jmprel: &'static [Rela],
    pub(super) relr: &'static [u64],
    /// Copies of tables that lie in writable memory (`patchelf` puts them there): what they were at load time.
    _copies: Vec<Box<[u64]>>,
}

/// Gives the pure tables the bytes they lie in: constant memory as it is, anything else as a copy.
struct Source<'m> {
    memory: &'m Memory,
    /// With text relocations no segment is constant while they are applied.
    constant: bool,
    copies: RefCell<Vec<(Vaddr, Box<[u64]>)>>,
}

impl Bytes<'static> for Source<'_> {
    fn tail(&self, at: Vaddr) -> Option<&'static [u8]> {
        if self.constant {
            // SAFETY: `Object` drops its memory after its tables, and lends them no longer than itself.
            if let Some(bytes) = unsafe { self.memory.constant_tail(at) } {
                return Some(bytes);
            }
        }
        let mut copies = self.copies.borrow_mut();
        // In whole words, so that tables of words can be seen as such; at least the alignment they have.
        let bytes = self.memory.copy_tail(at)?;
        let skew = (at.0 % 8) as usize;
        let words = match copies.iter().position(|(of, _)| *of == at) {
            Some(known) => &copies[known].1,
            None => {
                let mut padded = vec![0; skew];
                padded.extend_from_slice(&bytes);
                padded.resize(padded.len().next_multiple_of(8), 0);
                let words = padded.chunks_exact(8).map(|w| u64::from_le_bytes(w.try_into().unwrap_or_default()));
                copies.push((at, words.collect()));
                &copies[copies.len() - 1].1
            }
        };
        // SAFETY: the copy is kept, unmoved and unchanged, in the `Tables` that will hold this slice.
        Some(unsafe { std::slice::from_raw_parts(words.as_ptr().cast::<u8>().add(skew), bytes.len()) })
    }
}

impl Source<'_> {
    fn into_copies(self) -> Vec<Box<[u64]>> {
        self.copies.into_inner().into_iter().map(|(_, copy)| copy).collect()
    }
}

impl Tables {
    /// Of an object that the system's loader mapped: only where names are found.
    pub(super) fn of_host(dynamic: &Dynamic, memory: &Memory) -> Result<Tables, ErrorKind> {
        let source = Source { memory, constant: !dynamic.textrel, copies: RefCell::default() };
        let symbols = SymbolTable::new(dynamic, &source)?;
        Ok(Tables { symbols, rela: &[], jmprel: &[], relr: &[], _copies: source.into_copies() })
    }

    pub(super) fn new(dynamic: &Dynamic, memory: &Memory) -> Result<Tables, ErrorKind> {
        let source = Source { memory, constant: !dynamic.textrel, copies: RefCell::default() };
        let symbols = SymbolTable::new(dynamic, &source)?;
        let rela = table("DT_RELA", dynamic.rela, &source)?;
        let jmprel = table("DT_JMPREL", dynamic.jmprel, &source)?;
        let relr = table("DT_RELR", dynamic.relr, &source)?;
        Ok(Tables { symbols, rela, jmprel, relr, _copies: source.into_copies() })
    }
}

fn table<T: plain::Plain>(tag: &str, table: Option<Table>, source: &Source<'_>) -> Result<&'static [T], ErrorKind> {
    let Some(Table { at, length }) = table else { return Ok(&[]) };
    let bytes = source.tail(at).and_then(|tail| tail.get(..usize::try_from(length).ok()?));
    bytes.and_then(|bytes| plain::slice_from_bytes(bytes).ok()).ok_or_else(|| {
        let expected = "a table inside one PT_LOAD, aligned to 8";
        ErrorKind::malformed(tag, at, format!("{at} with {length:#x} bytes"), expected, "gABI, \"Dynamic Section\"")
    })
}

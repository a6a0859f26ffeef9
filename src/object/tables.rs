//! An object's tables over its own memory.

use std::cell::RefCell;
use std::collections::HashMap;

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
    copies: RefCell<HashMap<Vaddr, Box<[u64]>>>,
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
        let words = copies.entry(at).or_insert_with(|| {
            let mut padded = vec![0; skew];
            padded.extend_from_slice(&bytes);
            padded.resize(padded.len().next_multiple_of(8), 0);
            padded.chunks_exact(8).map(|w| u64::from_le_bytes(w.try_into().unwrap_or_default())).collect()
        });
        // SAFETY: the copy is kept, unmoved and unchanged, in the `Tables` that will hold this slice.
        Some(unsafe { std::slice::from_raw_parts(words.as_ptr().cast::<u8>().add(skew), bytes.len()) })
    }
}

impl Tables {
    pub(super) fn new(dynamic: &Dynamic, memory: &Memory) -> Result<Tables, ErrorKind> {
        let source = Source { memory, constant: !dynamic.textrel, copies: RefCell::default() };
        let symbols = SymbolTable::new(dynamic, &source)?;
        let rela = table("DT_RELA", dynamic.rela, &source)?;
        let jmprel = table("DT_JMPREL", dynamic.jmprel, &source)?;
        let relr = table("DT_RELR", dynamic.relr, &source)?;
        let copies = source.copies.into_inner().into_values().collect();
        Ok(Tables { symbols, rela, jmprel, relr, _copies: copies })
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

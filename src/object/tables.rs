//! The tables of an object, over its own memory.

use std::cell::RefCell;
use std::sync::{Arc, OnceLock};

use goblin::elf64::reloc::Rela;

use crate::elf::addr::Vaddr;
use crate::elf::addr::c_str_at;
use crate::elf::dynamic::{Dynamic, StrOffset, Table};
use crate::elf::gnu_hash::GnuHash;
use crate::elf::symbol::{Bytes, SymbolTable};
use crate::error::{ErrorKind, Result};
use crate::lock::made_once;
use crate::memory::Memory;
use crate::text::escape;

/// The tables of an object. They refer to its memory; `Object`'s accessors lend them no longer than the object lives.
pub(super) struct Tables {
    /// The symbol table with the copies that it refers to. It is in a box because most objects of the host never need
    /// it.
    symbols: OnceLock<Box<(SymbolTable<'static>, Copies)>>,
    pub(super) gnu: Option<GnuHash<'static>>,
    pub(super) rela: &'static [Rela],
    pub(super) jmprel: &'static [Rela],
    pub(super) relr: &'static [u64],
    /// Copies of tables that lie in writable memory (`patchelf` puts some there), as they were when the object was
    /// mapped.
    _copies: Copies,
}

type Copies = Vec<Box<[u64]>>;

/// Gives the pure tables of `elf/` the bytes that they lie in: constant memory as it is, any other as a copy.
struct Segments<'m> {
    memory: &'m Memory,
    /// Whether read-only segments are constant. With `DT_TEXTREL` they are not, while relocations are applied.
    constant: bool,
    copies: RefCell<Vec<(Vaddr, Box<[u64]>)>>,
}

impl Bytes<'static> for Segments<'_> {
    fn tail(&self, at: Vaddr) -> Option<&'static [u8]> {
        if let Some(bytes) = self.constant_tail(at) {
            return Some(bytes);
        }
        let mut copies = self.copies.borrow_mut();
        // The copy consists of whole words and keeps the alignment of the original, so that a table of words can be
        // read as such.
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

impl<'m> Segments<'m> {
    fn new(dynamic: &Dynamic, memory: &'m Memory) -> Segments<'m> {
        Segments { memory, constant: !dynamic.textrel, copies: RefCell::default() }
    }

    fn constant_tail(&self, at: Vaddr) -> Option<&'static [u8]> {
        // SAFETY: `Object` drops its memory after its tables, and lends them no longer than itself.
        if self.constant { unsafe { self.memory.constant_tail(at) } } else { None }
    }

    fn into_copies(self) -> Copies {
        self.copies.into_inner().into_iter().map(|(_, copy)| copy).collect()
    }
}

impl Tables {
    /// The tables of an object that the system's loader mapped and accepted. Its symbol table is read when a name is
    /// looked for that the object may have. Until then its `DT_GNU_HASH` alone says "no".
    pub(super) fn of_host(dynamic: &Dynamic, memory: &Memory) -> Tables {
        let source = Segments::new(dynamic, memory);
        let gnu = dynamic.gnu_hash.and_then(|at| GnuHash::new(source.constant_tail(at)?, at).ok());
        Tables { symbols: OnceLock::new(), gnu, rela: &[], jmprel: &[], relr: &[], _copies: Vec::new() }
    }

    pub(super) fn new(dynamic: &Dynamic, memory: &Memory) -> Result<Tables, ErrorKind> {
        let source = Segments::new(dynamic, memory);
        let symbols = SymbolTable::new(dynamic, &source)?;
        let rela = table("DT_RELA", dynamic.rela, &source)?;
        let jmprel = table("DT_JMPREL", dynamic.jmprel, &source)?;
        let relr = table("DT_RELR", dynamic.relr, &source)?;
        let gnu = symbols.gnu_hash();
        let symbols = OnceLock::from(Box::new((symbols, Vec::new())));
        Ok(Tables { symbols, gnu, rela, jmprel, relr, _copies: source.into_copies() })
    }

    /// The symbol table. `dynamic` and `memory` must be those that the tables were made of.
    #[inline]
    pub(super) fn symbols(&self, dynamic: &Dynamic, memory: &Memory) -> &SymbolTable<'static> {
        let read = || {
            let source = Segments::new(dynamic, memory);
            let symbols = SymbolTable::new(dynamic, &source).unwrap_or_default();
            Box::new((symbols, source.into_copies()))
        };
        &made_once(&self.symbols, read).0
    }
}

/// A string from the string table of an object whose symbol table is not read yet.
pub(super) fn host_string(dynamic: &Dynamic, memory: &Memory, offset: StrOffset) -> Option<Arc<str>> {
    let strings = dynamic.strings?;
    let bytes = Segments::new(dynamic, memory).tail(strings.at)?;
    let string = c_str_at(bytes.get(..strings.length as usize)?, offset.0 as usize)?;
    Some(escape(string).into())
}

fn table<T: plain::Plain>(tag: &str, table: Option<Table>, source: &Segments<'_>) -> Result<&'static [T], ErrorKind> {
    let Some(Table { at, length }) = table else { return Ok(&[]) };
    let bytes = source.tail(at).and_then(|tail| tail.get(..usize::try_from(length).ok()?));
    bytes.and_then(|bytes| plain::slice_from_bytes(bytes).ok()).ok_or_else(|| {
        let expected = "a table inside one PT_LOAD, aligned to 8";
        ErrorKind::malformed(tag, at, format!("{at} with {length:#x} bytes"), expected, "gABI, \"Dynamic Section\"")
    })
}

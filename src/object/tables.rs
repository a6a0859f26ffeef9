//! The tables of an object, over its own memory.

use std::cell::RefCell;
use std::ops::Range;
use std::sync::{Arc, OnceLock};

use goblin::elf64::reloc::Rela;

use crate::elf::addr::{Vaddr, c_str_at};
use crate::elf::dynamic::{Dynamic, StrOffset, Table};
use crate::elf::gnu_hash::GnuHash;
use crate::elf::image::{Image, Segment};
use crate::elf::symbol::{Bytes, SymbolTable};
use crate::error::{ErrorKind, Result};
use crate::lock::made_once;
use crate::memory::{Memory, Source, View};
use crate::text::escape;

/// The tables of an object. They refer to its memory; `Object`'s accessors lend them no longer than the object lives.
pub(super) struct Tables {
    /// The symbol table with what it refers to outside of the object's memory. It is in a box because most objects of
    /// the host never need it.
    symbols: OnceLock<Box<(SymbolTable<'static>, Vec<Stand>)>>,
    pub(super) gnu: Option<GnuHash<'static>>,
    pub(super) rela: &'static [Rela],
    pub(super) jmprel: &'static [Rela],
    pub(super) relr: &'static [u64],
    /// What the tables refer to outside of the object's memory.
    _stands: Vec<Stand>,
}

/// Bytes that stand for a range of an object's writable memory, as they were before anybody wrote to it.
struct Stand {
    range: Range<Vaddr>,
    bytes: &'static [u8],
    /// What keeps `bytes` where they are.
    _owner: Owner,
}

enum Owner {
    /// The file of an object that we map.
    View { _view: View },
    /// A copy, where there is no file to map: of an object of the host. It consists of whole words, so that a table of words can be read as such.
    Copy { _words: Box<[u64]> },
}

/// Gives the pure tables of `elf/` the bytes that they lie in: constant memory as it is, and for any other memory what
/// stands for it. `patchelf` moves tables into a writable segment.
pub(super) struct Segments<'m> {
    memory: &'m Memory,
    image: &'m Image,
    /// The file of an object that we map.
    file: Option<Source<'m>>,
    /// Whether read-only segments are constant. With `DT_TEXTREL` they are not, while relocations are applied.
    constant: bool,
    stands: RefCell<Vec<Stand>>,
}

impl Bytes<'static> for Segments<'_> {
    fn tail(&self, at: Vaddr) -> Option<&'static [u8]> {
        self.constant_tail(at).or_else(|| self.stand_in(at))
    }
}

impl<'m> Segments<'m> {
    pub(super) fn new(dynamic: &Dynamic, memory: &'m Memory, image: &'m Image, file: Option<Source<'m>>) -> Self {
        Segments { memory, image, file, constant: !dynamic.textrel, stands: RefCell::default() }
    }

    fn constant_tail(&self, at: Vaddr) -> Option<&'static [u8]> {
        // SAFETY: `Object` drops its memory after its tables, and lends them no longer than itself.
        if self.constant { unsafe { self.memory.constant_tail(at) } } else { None }
    }

    /// The same for memory that may be written: each segment has one that stands for it.
    #[cold]
    fn stand_in(&self, at: Vaddr) -> Option<&'static [u8]> {
        let mut stands = self.stands.borrow_mut();
        let known = stands.iter().position(|stand| stand.range.contains(&at));
        let index = known.or_else(|| {
            stands.push(self.stand(at)?);
            Some(stands.len() - 1)
        })?;
        let stand = &stands[index];
        stand.bytes.get((at.0 - stand.range.start.0) as usize..)
    }

    /// Makes what stands for the segment of `at`: all that the file has of it. No table lies in the zeros behind that, which
    /// may be as many as the file says.
    fn stand(&self, at: Vaddr) -> Option<Stand> {
        let length = |s: &Segment| s.filesz.min(s.memsz);
        let holds = |s: &&Segment| s.flags.readable() && at >= s.vaddr && at.0 - s.vaddr.0 < length(s);
        let segment = self.image.loads().find(holds)?;
        let range = segment.vaddr..Vaddr(segment.vaddr.0 + length(segment));
        let view = self.file.and_then(|file| View::map(self.memory, file, segment.offset, segment.filesz));
        let Some(view) = view else { return copy(self.memory, range) };
        // SAFETY: the view is kept in the `Tables` that will hold this slice.
        let bytes = unsafe { view.tail(segment.offset) }?;
        Some(Stand { range, bytes, _owner: Owner::View { _view: view } })
    }

    fn into_stands(self) -> Vec<Stand> {
        self.stands.into_inner()
    }
}

/// A copy of the memory in `range`, which lies in one segment. It keeps the alignment of the original.
fn copy(memory: &Memory, range: Range<Vaddr>) -> Option<Stand> {
    let bytes = memory.copy(range.clone())?;
    let skew = (range.start.0 % 8) as usize;
    let mut padded = vec![0; skew];
    padded.extend_from_slice(&bytes);
    padded.resize(padded.len().next_multiple_of(8), 0);
    let words = padded.as_chunks().0.iter().map(|word| u64::from_le_bytes(*word)).collect::<Box<[u64]>>();
    // SAFETY: the copy is kept, unmoved and unchanged, in the `Tables` that will hold this slice.
    let bytes = unsafe { std::slice::from_raw_parts(words.as_ptr().cast::<u8>().add(skew), bytes.len()) };
    Some(Stand { range, bytes, _owner: Owner::Copy { _words: words } })
}

impl Tables {
    /// The tables of an object that the system's loader mapped and accepted. Its symbol table is read when a name is
    /// looked for that the object may have. Until then its `DT_GNU_HASH` alone says "no".
    pub(super) fn of_host(dynamic: &Dynamic, source: Segments<'_>) -> Tables {
        let gnu = dynamic.gnu_hash.and_then(|at| GnuHash::new(source.constant_tail(at)?, at).ok());
        Tables { symbols: OnceLock::new(), gnu, rela: &[], jmprel: &[], relr: &[], _stands: Vec::new() }
    }

    /// The tables of an object that we mapped.
    pub(super) fn new(dynamic: &Dynamic, source: Segments<'_>) -> Result<Tables, ErrorKind> {
        let symbols = SymbolTable::new(dynamic, &source)?;
        let rela = table("DT_RELA", dynamic.rela, &source)?;
        let jmprel = table("DT_JMPREL", dynamic.jmprel, &source)?;
        let relr = table("DT_RELR", dynamic.relr, &source)?;
        let gnu = symbols.gnu_hash();
        let symbols = OnceLock::from(Box::new((symbols, Vec::new())));
        Ok(Tables { symbols, gnu, rela, jmprel, relr, _stands: source.into_stands() })
    }

    /// The symbol table. `dynamic`, `memory` and `image` must be those that the tables were made of.
    #[inline]
    pub(super) fn symbols(&self, dynamic: &Dynamic, memory: &Memory, image: &Image) -> &SymbolTable<'static> {
        let read = || {
            let source = Segments::new(dynamic, memory, image, None);
            let symbols = SymbolTable::new(dynamic, &source).unwrap_or_default();
            Box::new((symbols, source.into_stands()))
        };
        &made_once(&self.symbols, read).0
    }
}

/// A string from the string table of an object whose symbol table is not read yet.
pub(super) fn host_string(dynamic: &Dynamic, memory: &Memory, image: &Image, offset: StrOffset) -> Option<Arc<str>> {
    let strings = dynamic.strings?;
    let string = |bytes: &[u8]| {
        let string = c_str_at(bytes.get(..strings.length as usize)?, offset.0 as usize)?;
        Some(escape(string).into())
    };
    match Segments::new(dynamic, memory, image, None).constant_tail(strings.at) {
        Some(bytes) => string(bytes),
        None => string(&memory.copy(strings.at.span(strings.length)?)?),
    }
}

fn table<T: plain::Plain>(tag: &str, table: Option<Table>, source: &Segments<'_>) -> Result<&'static [T], ErrorKind> {
    let Some(Table { at, length }) = table else { return Ok(&[]) };
    let bytes = source.tail(at).and_then(|tail| tail.get(..usize::try_from(length).ok()?));
    bytes.and_then(|bytes| plain::slice_from_bytes(bytes).ok()).ok_or_else(|| {
        let expected = "a table inside one PT_LOAD, aligned to 8";
        ErrorKind::malformed(tag, at, format!("{at} with {length:#x} bytes"), expected, "gABI, \"Dynamic Section\"")
    })
}

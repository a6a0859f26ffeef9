//! The dynamic symbol table, and which of its entries a lookup accepts.
//!
//! gABI "Symbol Table" and "Hash Table"; glibc `do_lookup_x` and `check_match`, musl `find_sym2`.

use std::cell::Cell;

use goblin::elf64::section_header::{SHN_ABS, SHN_UNDEF};
use goblin::elf64::sym::{
    STB_GLOBAL, STB_GNU_UNIQUE, STB_LOCAL, STB_WEAK, STT_COMMON, STT_FUNC, STT_GNU_IFUNC, STT_NOTYPE, STT_OBJECT,
    STT_TLS, STV_DEFAULT, STV_HIDDEN, STV_INTERNAL, STV_PROTECTED, Sym, st_bind, st_type, st_visibility,
};

use super::addr::{Addr, Bias, Vaddr, c_str_at};
use super::dynamic::{Dynamic, Table};
use super::gnu_hash::{self, GnuHash};
use super::sysv_hash::{self, SysvHash};
use super::version::{HIDDEN, List, Name, Versions};
use crate::error::ErrorKind;
use crate::text::escape;

mod kind;
mod others;
pub use super::trail::{Probing, Trail};
pub use kind::{SymbolBinding, SymbolType};

/// One `Elf64_Sym`, where it lies in its table.
#[derive(Clone, Copy, Debug)]
pub struct Symbol<'a>(pub &'a Sym);

impl Symbol<'_> {
    /// `STB_LOCAL`, `STB_GLOBAL`, `STB_WEAK`, `STB_GNU_UNIQUE`.
    pub fn bind(&self) -> u8 {
        st_bind(self.0.st_info)
    }
    /// `STT_FUNC`, `STT_OBJECT`, `STT_TLS`, `STT_GNU_IFUNC`, …
    pub fn kind(&self) -> u8 {
        st_type(self.0.st_info)
    }
    /// `STV_DEFAULT`, `STV_PROTECTED`, …
    pub fn visibility(&self) -> u8 {
        st_visibility(self.0.st_other)
    }
    /// The entry is a reference to a symbol of another object.
    pub fn is_undefined(&self) -> bool {
        u32::from(self.0.st_shndx) == SHN_UNDEF
    }
    /// The value is a number and not an address, so no load bias is added.
    pub fn is_absolute(&self) -> bool {
        u32::from(self.0.st_shndx) == SHN_ABS
    }
    /// The symbol is a thread-local variable: its value is an offset into the object's TLS block.
    pub fn is_tls(&self) -> bool {
        self.kind() == STT_TLS
    }
    /// The symbol is a function whose resolver chooses the address at load time.
    pub fn is_ifunc(&self) -> bool {
        self.kind() == STT_GNU_IFUNC && !self.is_undefined()
    }
    /// The symbol is weak. A weak reference that no object defines becomes 0.
    pub fn is_weak(&self) -> bool {
        self.bind() == STB_WEAK
    }
    /// The symbol has one definition for the whole namespace.
    pub fn is_unique(&self) -> bool {
        self.bind() == STB_GNU_UNIQUE
    }
    /// The symbol is not unique, thread-local or indirect, so its address is simply its value plus the load
    /// bias.
    #[inline]
    pub(crate) fn is_where_it_seems(&self) -> bool {
        !matches!(self.kind(), STT_TLS | STT_GNU_IFUNC) && !self.is_unique()
    }
    /// References from the symbol's own object never leave that object.
    pub fn binds_locally(&self) -> bool {
        self.bind() == STB_LOCAL || matches!(self.visibility(), STV_HIDDEN | STV_INTERNAL)
    }
    /// Other objects see the symbol, but references from its own object stay inside.
    pub fn is_protected(&self) -> bool {
        self.visibility() == STV_PROTECTED
    }
    /// `st_value`.
    pub fn value(&self) -> Vaddr {
        Vaddr(self.0.st_value)
    }
    /// `st_size`, bytes.
    pub fn size(&self) -> u64 {
        self.0.st_size
    }
    /// The symbol's address if its object has this load bias. For an IFUNC, this is the address of the
    /// resolver.
    pub fn address(&self, bias: Bias) -> Addr {
        if self.is_absolute() { Addr(self.0.st_value) } else { bias + self.value() }
    }

    /// Whether this entry can serve as a definition at all.
    ///
    /// A value of 0 is no definition, except for absolute and thread-local symbols. An *undefined* symbol
    /// with a value is one: it is the canonical PLT entry of a program that is not position-independent, and
    /// that entry is the function's address for every reference but a call through the PLT.
    #[inline]
    pub(crate) fn defines(&self, class: Class) -> bool {
        if self.0.st_value == 0 && !self.is_absolute() && !self.is_tls() {
            return false;
        }
        if class == Class::Plt && self.is_undefined() {
            return false;
        }
        matches!(self.kind(), STT_NOTYPE | STT_OBJECT | STT_FUNC | STT_COMMON | STT_TLS | STT_GNU_IFUNC)
    }

    /// Whether the symbol is a definition of the simplest kind, whose address is its value plus the load
    /// bias.
    #[inline(always)]
    pub(crate) fn is_plain(&self) -> bool {
        matches!(self.kind(), STT_NOTYPE | STT_OBJECT | STT_FUNC)
            && matches!(self.bind(), STB_GLOBAL | STB_WEAK)
            && self.visibility() == STV_DEFAULT
            && !self.is_undefined()
            && !self.is_absolute()
            && self.0.st_value != 0
    }

    /// Whether other objects may bind to the symbol.
    #[inline]
    pub(crate) fn is_exported(&self) -> bool {
        matches!(self.bind(), STB_GLOBAL | STB_WEAK | STB_GNU_UNIQUE)
            && matches!(self.visibility(), STV_DEFAULT | STV_PROTECTED)
    }
}

/// What kind of reference a symbol is looked up for. glibc `elf_machine_type_class`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// A call through the PLT, or a thread-local variable: an undefined symbol with a value is no definition
    /// for it.
    Plt,
    /// Any other reference.
    Address,
}

/// Which version of a symbol is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Want<'n> {
    /// This version. A definition without a version will do, too, and so will any definition of an object
    /// without versions.
    Version(Name<'n>),
    /// A relocation without a version, from an object that was linked before there were versions. It gets a
    /// definition with version index 0, 1 or 2 if there is one, otherwise the only default definition. Index
    /// 2 is the first version that the linker numbered.
    Oldest,
    /// `dlsym` without a version: a definition without a version if there is one, otherwise the only default
    /// definition.
    Newest,
}

/// A name to look for, hashed once for all objects of a scope.
pub struct Wanted<'n> {
    /// The name.
    pub name: &'n [u8],
    /// Its version.
    pub version: Want<'n>,
    /// The kind of reference.
    pub class: Class,
    /// The GNU hash of the name.
    pub hash: u32,
    sysv: Cell<Option<u32>>,
}

impl<'n> Wanted<'n> {
    /// Hashes `name`.
    pub fn new(name: &'n [u8], version: Want<'n>, class: Class) -> Wanted<'n> {
        Wanted::hashed((name, gnu_hash::hash(name)), version, class)
    }

    /// For a name that was hashed before.
    pub(crate) fn hashed((name, hash): (&'n [u8], u32), version: Want<'n>, class: Class) -> Wanted<'n> {
        Wanted { name, version, class, hash, sysv: Cell::new(None) }
    }

    /// The hash for `DT_HASH`, computed only for an object that has no `DT_GNU_HASH`.
    fn sysv_hash(&self) -> u32 {
        self.sysv.get().unwrap_or_else(|| {
            let hash = sysv_hash::hash(self.name);
            self.sysv.set(Some(hash));
            hash
        })
    }

    /// The version as text, where one is wanted.
    pub fn version_text(&self) -> Option<String> {
        match self.version {
            Want::Version(name) => Some(escape(name.text).into_owned()),
            Want::Oldest | Want::Newest => None,
        }
    }
}

/// The tables of one object that answer "where is this name?". Each index is checked against its table.
#[derive(Clone, Debug, Default)]
pub struct SymbolTable<'a> {
    symbols: &'a [Sym],
    strings: &'a [u8],
    /// Bytes, because some tools put the table at an odd address.
    versym: Option<&'a [[u8; 2]]>,
    gnu: Option<GnuHash<'a>>,
    sysv: Option<SysvHash<'a>>,
    /// The versions that the object defines and needs.
    pub versions: Versions<'a>,
}

/// The mapped bytes that an object's tables lie in.
pub trait Bytes<'a> {
    /// The bytes from `at` to the end of the segment that holds it; `None` outside of every segment.
    fn tail(&self, at: Vaddr) -> Option<&'a [u8]>;
}

const RULE: &str = "gABI, \"Dynamic Section\"";

fn tail<'a>(bytes: &dyn Bytes<'a>, tag: &str, at: Vaddr) -> Result<&'a [u8], ErrorKind> {
    bytes.tail(at).ok_or_else(|| ErrorKind::malformed(tag, at, at, "an address inside a PT_LOAD segment", RULE))
}

impl<'a> SymbolTable<'a> {
    /// Checks the tables that the dynamic section names.
    ///
    /// # Errors
    /// [`ErrorKind::Malformed`] with the tag whose table leaves its segment or is not aligned.
    pub fn new(dynamic: &Dynamic, bytes: &dyn Bytes<'a>) -> Result<SymbolTable<'a>, ErrorKind> {
        let mut table = SymbolTable::without_versions(dynamic, bytes)?;
        if let Some((at, count)) = dynamic.verdef {
            let list = List { bytes: tail(bytes, "DT_VERDEF", at)?, at, count };
            table.versions.read_definitions(list, table.strings)?;
        }
        if let Some((at, count)) = dynamic.verneed {
            let list = List { bytes: tail(bytes, "DT_VERNEED", at)?, at, count };
            table.versions.read_needs(list, table.strings)?;
        }
        Ok(table)
    }

    /// The same without reading which version an index means. Allocates nothing unless it fails.
    pub(crate) fn without_versions(dynamic: &Dynamic, bytes: &dyn Bytes<'a>) -> Result<SymbolTable<'a>, ErrorKind> {
        let strings = |table: Table| {
            let all = tail(bytes, "DT_STRTAB", table.at)?;
            all.get(..table.length as usize).ok_or_else(|| {
                let expected = format!("at most {:#x}, the rest of its segment", all.len());
                ErrorKind::malformed("DT_STRSZ", table.at, format!("{:#x}", table.length), expected, RULE)
            })
        };
        // No tag says where a symbol table ends; but it cannot go on past its segment.
        let symbols = |at| {
            let symbols = whole(tail(bytes, "DT_SYMTAB", at)?);
            symbols.ok_or_else(|| ErrorKind::malformed("DT_SYMTAB", at, at, "a multiple of 8", RULE))
        };
        let versym = |at| tail(bytes, "DT_VERSYM", at).map(|bytes| bytes.as_chunks().0);
        let gnu = |at| tail(bytes, "DT_GNU_HASH", at).and_then(|bytes| GnuHash::new(bytes, at));
        let sysv = |at| tail(bytes, "DT_HASH", at).and_then(|bytes| SysvHash::new(bytes, at));
        // As in glibc, the older hash table is not even looked at where there is a newer one.
        let sysv_hash = dynamic.sysv_hash.filter(|_| dynamic.gnu_hash.is_none());
        Ok(SymbolTable {
            symbols: dynamic.symbols.map(symbols).transpose()?.unwrap_or_default(),
            strings: dynamic.strings.map(strings).transpose()?.unwrap_or_default(),
            versym: dynamic.versym.map(versym).transpose()?,
            gnu: dynamic.gnu_hash.map(gnu).transpose()?,
            sysv: sysv_hash.map(sysv).transpose()?,
            versions: Versions::default(),
        })
    }

    /// Symbol `index`.
    #[inline]
    pub fn get(&self, index: u32) -> Option<Symbol<'a>> {
        self.symbols.get(index as usize).map(Symbol)
    }

    /// The address of symbol `index`'s entry, to prefetch it. For an index past the end it points anywhere.
    #[inline(always)]
    pub(crate) fn address_of(&self, index: u32) -> *const Sym {
        self.symbols.as_ptr().wrapping_add(index as usize)
    }

    /// The address of what a lookup of symbol `index` reads first, to prefetch it: the symbol's word in its
    /// own hash chain if it has one, else its name. In a damaged file the address may point anywhere.
    #[inline(always)]
    pub(crate) fn key_place(&self, index: u32) -> *const u8 {
        match &self.gnu {
            Some(gnu) if gnu.is_hashed(index) => gnu.chain_address(index).cast(),
            _ => self.strings.as_ptr().wrapping_add(self.place(index).map_or(0, |symbol| symbol.st_name as usize)),
        }
    }

    /// A string of the dynamic string table, without its NUL.
    pub fn string(&self, offset: u64) -> Option<&'a [u8]> {
        c_str_at(self.strings, usize::try_from(offset).ok()?)
    }

    /// A symbol's name. It is empty where `st_name` leaves the string table.
    pub fn name(&self, symbol: &Symbol<'_>) -> &'a [u8] {
        c_str_at(self.strings, symbol.0.st_name as usize).unwrap_or_default()
    }

    /// A symbol's name and its GNU hash.
    #[inline]
    pub(crate) fn hashed_name(&self, symbol: &Symbol<'_>) -> (&'a [u8], u32) {
        let rest = self.strings.get(symbol.0.st_name as usize..).unwrap_or_default();
        let (hash, length) = gnu_hash::hash_string(rest).unwrap_or((gnu_hash::hash(b""), 0));
        (&rest[..length], hash)
    }

    /// Whether `name` is the string at `offset` of the string table.
    #[inline]
    pub(crate) fn has_name_at(&self, offset: u32, name: &[u8]) -> bool {
        let string = self.strings.get(offset as usize..);
        string.is_some_and(|string| string.starts_with(name) && string.get(name.len()) == Some(&0))
    }

    /// Symbol `index`'s entry in `DT_VERSYM`, bit 15 included; `None` for an object without versions.
    #[inline]
    pub fn version_index(&self, index: u32) -> Option<u16> {
        // A symbol past the end of the table counts as one without a version.
        self.versym.map(|v| v.get(index as usize).map_or(1, |&entry| u16::from_le_bytes(entry)))
    }

    /// The version that the definition at `index` has, or that the reference at `index` wants.
    #[inline]
    pub fn version(&self, index: u32) -> Option<&Name<'a>> {
        self.versions.get(self.version_index(index)?)
    }

    /// `GLIBC_2.2.5`, for people.
    pub fn version_text(&self, index: u32) -> Option<String> {
        self.version(index).map(|v| escape(v.text).into_owned())
    }

    /// `DT_GNU_HASH`, if the object has one.
    #[inline]
    pub fn gnu_hash(&self) -> Option<GnuHash<'a>> {
        self.gnu
    }

    /// The definition of `wanted` in this object, with its index.
    #[inline(always)]
    pub fn find(&self, wanted: &Wanted<'_>, trail: &mut impl Trail) -> Option<(u32, Symbol<'a>)> {
        let mut defaults = Defaults { first: None, count: 0 };
        let exact = match &self.gnu {
            Some(gnu) => gnu.find(wanted.hash, trail, |at, trail| defaults.takes(at, self.check(wanted, at, trail))),
            None => self.find_by_older_hash(wanted, trail, &mut defaults),
        };
        let index = exact.or(defaults.first.filter(|_| defaults.count == 1))?;
        let symbol = self.get(index)?;
        if !symbol.is_exported() {
            trail.step(|| Probing::NotExported { symbol: index });
            return None;
        }
        trail.step(|| Probing::Found { symbol: index, version: self.version_text(index) });
        Some((index, symbol))
    }

    /// What the reference at `index` asks for: its name and the version that `DT_VERSYM` gives it.
    #[inline(always)]
    pub(crate) fn wanted(&self, index: u32, reference: &Symbol<'_>, class: Class) -> Wanted<'a> {
        let version = self.version(index).map_or(Want::Oldest, |v| Want::Version(*v));
        Wanted::hashed(self.hashed_name(reference), version, class)
    }

    /// Whether symbol `index` is a definition of what is wanted. Each branch is one of glibc's `check_match`.
    #[inline(always)]
    fn check<T: Trail>(&self, wanted: &Wanted<'_>, index: u32, trail: &mut T) -> Check {
        let Some(symbol) = self.get(index) else { return Check::No };
        if !symbol.defines(wanted.class) {
            trail.step(|| Probing::NotADefinition { symbol: index });
            return Check::No;
        }
        if !self.has_name_at(symbol.0.st_name, wanted.name) {
            trail.step(|| Probing::OtherName { symbol: index });
            return Check::No;
        }
        let Some(own) = self.version_index(index) else { return Check::Yes };
        let check = match &wanted.version {
            Want::Version(version) => match self.versions.get(own) {
                Some(has) if has.same(version) => Check::Yes,
                None if !version.hidden && own & HIDDEN == 0 => Check::Yes,
                _ => Check::No,
            },
            Want::Oldest if own & !HIDDEN <= 2 => Check::Yes,
            Want::Newest if own & !HIDDEN <= 1 => Check::Yes,
            _ if own & HIDDEN == 0 => Check::IfAlone,
            _ => Check::No,
        };
        if !matches!(check, Check::Yes) {
            let has = || self.version_text(index).unwrap_or_else(|| "none".into());
            trail.step(|| Probing::OtherVersion { symbol: index, has: has() });
        }
        check
    }
}

/// Default versions that a search without a version came by. Such a definition is taken only if it is the only one.
struct Defaults {
    first: Option<u32>,
    count: u32,
}

impl Defaults {
    /// Whether the search ends at symbol `index`, of which `check` was said.
    #[inline(always)]
    fn takes(&mut self, index: u32, check: Check) -> bool {
        if matches!(check, Check::IfAlone) {
            self.first.get_or_insert(index);
            self.count += 1;
        }
        matches!(check, Check::Yes)
    }
}

enum Check {
    Yes,
    No,
    IfAlone,
}

/// As many whole `T`s as `bytes` hold. `None` where they are not aligned for `T`.
fn whole<T: plain::Plain>(bytes: &[u8]) -> Option<&[T]> {
    plain::slice_from_bytes(&bytes[..bytes.len() - bytes.len() % size_of::<T>()]).ok()
}

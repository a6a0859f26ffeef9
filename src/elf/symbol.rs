//! The dynamic symbol table, and which of its entries a lookup accepts.
//!
//! gABI "Symbol Table" and "Hash Table"; glibc `do_lookup_x` and `check_match`, musl `find_sym2`.

use std::cell::Cell;

use goblin::elf64::sym::Sym;

use super::addr::Vaddr;
use super::c_str_at;
use super::dynamic::Dynamic;
use super::gnu_hash::{self, GnuHash};
use super::sysv_hash::{self, SysvHash};
use super::version::{HIDDEN, Name, Versions};
use crate::error::ErrorKind;
use crate::text::escape;

mod entry;
pub use super::trail::{Probing, Trail};
pub use entry::{Symbol, SymbolBinding, SymbolType};

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
            table.versions.read_definitions(tail(bytes, "DT_VERDEF", at)?, at, count, table.strings)?;
        }
        if let Some((at, count)) = dynamic.verneed {
            table.versions.read_needs(tail(bytes, "DT_VERNEED", at)?, at, count, table.strings)?;
        }
        Ok(table)
    }

    /// The same without reading which version an index means. Allocates nothing unless it fails.
    pub(crate) fn without_versions(dynamic: &Dynamic, bytes: &dyn Bytes<'a>) -> Result<SymbolTable<'a>, ErrorKind> {
        let rule = RULE;
        let tail = |tag: &str, at: Vaddr| tail(bytes, tag, at);
        let misaligned = |tag: &str, at: Vaddr, align: u32| {
            ErrorKind::malformed(tag, at, at, format!("a multiple of {align}"), rule)
        };
        let strings = match dynamic.strings {
            None => &[][..],
            Some(table) => {
                let all = tail("DT_STRTAB", table.at)?;
                all.get(..table.length as usize).ok_or_else(|| {
                    let expected = format!("at most {:#x}, the rest of its segment", all.len());
                    ErrorKind::malformed("DT_STRSZ", table.at, format!("{:#x}", table.length), expected, rule)
                })?
            }
        };
        // No tag says where a symbol table ends; but it cannot go on past its segment.
        let symbols: &[Sym] = match dynamic.symbols {
            None => &[],
            Some(at) => whole(tail("DT_SYMTAB", at)?).ok_or_else(|| misaligned("DT_SYMTAB", at, 8))?,
        };
        let versym = match dynamic.versym {
            None => None,
            Some(at) => Some(tail("DT_VERSYM", at)?.as_chunks().0),
        };
        let gnu = match dynamic.gnu_hash {
            None => None,
            Some(at) => Some(GnuHash::new(tail("DT_GNU_HASH", at)?, at)?),
        };
        // As in glibc, the older hash table is not even looked at where there is a newer one.
        let sysv = match dynamic.sysv_hash.filter(|_| gnu.is_none()) {
            None => None,
            Some(at) => Some(SysvHash::new(tail("DT_HASH", at)?, at)?),
        };
        Ok(SymbolTable { symbols, strings, versym, gnu, sysv, versions: Versions::default() })
    }

    /// Symbol `index`.
    #[inline]
    pub fn get(&self, index: u32) -> Option<Symbol<'a>> {
        self.symbols.get(index as usize).map(Symbol)
    }

    /// The entry of symbol `index` in the table.
    pub(crate) fn place(&self, index: u32) -> Option<&'a Sym> {
        self.symbols.get(index as usize)
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

    /// `DT_STRSZ`.
    pub(crate) fn strings_length(&self) -> usize {
        self.strings.len()
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

    /// Whether the object has no hash table, so that no name can be found in it.
    pub fn has_no_hash(&self) -> bool {
        self.gnu.is_none() && self.sysv.is_none()
    }

    /// How many symbols the hash table tells of; 0 without a hash table.
    pub fn count(&self) -> u32 {
        let told = match (&self.sysv, &self.gnu) {
            (Some(sysv), _) => sysv.symbol_count(),
            (None, Some(gnu)) => gnu.symbol_count().unwrap_or(0),
            (None, None) => 0,
        };
        told.min(self.symbols.len() as u32)
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

    /// The same search in `DT_HASH`.
    #[cold]
    fn find_by_older_hash<T: Trail>(&self, wanted: &Wanted<'_>, trail: &mut T, defaults: &mut Defaults) -> Option<u32> {
        let sysv = self.sysv.as_ref()?;
        sysv.find(wanted.sysv_hash(), trail, |at, trail| defaults.takes(at, self.check(wanted, at, trail)))
    }

    /// The definition with the name that is wanted for which `fits` is true, whatever its version.
    pub(crate) fn find_where(&self, wanted: &Wanted<'_>, fits: impl Fn(u32) -> bool) -> Option<Symbol<'a>> {
        let accept = |index, _: &mut ()| {
            let defines =
                |symbol: Symbol<'_>| symbol.defines(wanted.class) && self.has_name_at(symbol.0.st_name, wanted.name);
            self.get(index).is_some_and(defines) && fits(index)
        };
        let index = match (&self.gnu, &self.sysv) {
            (Some(gnu), _) => gnu.find(wanted.hash, &mut (), accept),
            (None, Some(sysv)) => sysv.find(wanted.sysv_hash(), &mut (), accept),
            (None, None) => None,
        };
        self.get(index?).filter(Symbol::is_exported)
    }

    /// What the reference at `index` asks for: its name and the version that `DT_VERSYM` gives it.
    #[inline(always)]
    pub(crate) fn wanted(&self, index: u32, reference: &Symbol<'_>, class: Class) -> Wanted<'a> {
        let version = self.version(index).map_or(Want::Oldest, |v| Want::Version(*v));
        Wanted::hashed(self.hashed_name(reference), version, class)
    }

    /// Symbol `index`, if `dlsym` without a version gets it, provided that no other symbol here has the same
    /// name.
    pub(crate) fn newest(&self, index: u32) -> Option<Symbol<'a>> {
        let symbol = self.get(index).filter(|symbol| symbol.defines(Class::Address) && symbol.is_exported())?;
        let fits = self.version_index(index).is_none_or(|own| own & HIDDEN == 0 || own & !HIDDEN <= 1);
        fits.then_some(symbol)
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

    /// Every symbol that other objects may bind to: its index, the symbol, and whether it has the default
    /// version.
    pub fn exports(&self) -> impl Iterator<Item = (u32, Symbol<'a>, bool)> + '_ {
        (1..self.count()).filter_map(|index| {
            let symbol = self.get(index)?;
            let exported = symbol.is_exported() && !symbol.is_undefined() && symbol.defines(Class::Address);
            let version = self.version_index(index).unwrap_or(1);
            // Version index 0 means "local": a version script has hidden the symbol.
            (exported && version & !HIDDEN != 0).then_some((index, symbol, version & HIDDEN == 0))
        })
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

//! What is asked of a symbol table beside "which symbol has this name?", and the search in the older hash table.

use goblin::elf64::sym::{STB_GLOBAL, STB_WEAK, Sym};

use super::{Class, Defaults, Symbol, SymbolTable, Wanted};
use crate::elf::trail::Trail;
use crate::elf::version::HIDDEN;

impl<'a> SymbolTable<'a> {
    /// The entry of symbol `index` in the table.
    pub(crate) fn place(&self, index: u32) -> Option<&'a Sym> {
        self.symbols.get(index as usize)
    }

    /// `DT_STRSZ`.
    pub(crate) fn strings_length(&self) -> usize {
        self.strings.len()
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

    /// The same search in `DT_HASH`.
    #[cold]
    pub(super) fn find_by_older_hash<T: Trail>(
        &self,
        wanted: &Wanted<'_>,
        trail: &mut T,
        defaults: &mut Defaults,
    ) -> Option<u32> {
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

    /// Symbol `index`, if `dlsym` without a version gets it, provided that no other symbol here has the same
    /// name.
    pub(crate) fn newest(&self, index: u32) -> Option<Symbol<'a>> {
        let symbol = self.get(index).filter(|symbol| symbol.defines(Class::Address) && symbol.is_exported())?;
        let fits = self.version_index(index).is_none_or(|own| own & HIDDEN == 0 || own & !HIDDEN <= 1);
        fits.then_some(symbol)
    }

    /// Every symbol that the hash table leads to, with its index. In `DT_HASH`, which has all symbols, these are the global
    /// and weak ones, as for glibc's `determine_info`.
    pub(crate) fn hashed(&self) -> impl Iterator<Item = (u32, Symbol<'a>)> + '_ {
        let is_hashed = |index, symbol: &Symbol<'_>| match &self.gnu {
            Some(gnu) => gnu.is_hashed(index),
            None => matches!(symbol.bind(), STB_GLOBAL | STB_WEAK),
        };
        let all = (1..self.count()).filter_map(|index| Some((index, self.get(index)?)));
        all.filter(move |(index, symbol)| is_hashed(*index, symbol))
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

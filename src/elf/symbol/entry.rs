//! One entry of the symbol table, and what its fields say.

use std::fmt;

use goblin::elf64::section_header::{SHN_ABS, SHN_UNDEF};
use goblin::elf64::sym::{
    STB_GLOBAL, STB_GNU_UNIQUE, STB_LOCAL, STB_WEAK, STT_COMMON, STT_FUNC, STT_GNU_IFUNC, STT_NOTYPE, STT_OBJECT,
    STT_TLS, STV_DEFAULT, STV_HIDDEN, STV_INTERNAL, STV_PROTECTED, Sym, st_bind, st_type, st_visibility,
};

use super::Class;
use crate::elf::addr::{Addr, Bias, Vaddr};

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

/// The type of a symbol (`STT_*`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize), serde(rename_all = "snake_case"))]
pub enum SymbolType {
    /// `STT_FUNC`.
    Function,
    /// `STT_OBJECT` or `STT_COMMON`.
    Object,
    /// `STT_TLS`: one in each thread.
    ThreadLocal,
    /// `STT_GNU_IFUNC`: a function chosen at load time.
    IndirectFunction,
    /// `STT_NOTYPE`.
    Untyped,
}

/// The binding of a symbol (`STB_*`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize), serde(rename_all = "snake_case"))]
pub enum SymbolBinding {
    /// `STB_GLOBAL`.
    Global,
    /// `STB_WEAK`.
    Weak,
    /// `STB_GNU_UNIQUE`: one definition for the namespace.
    Unique,
}

impl Symbol<'_> {
    /// The symbol's type, for people.
    pub fn symbol_type(&self) -> SymbolType {
        match self.kind() {
            STT_FUNC => SymbolType::Function,
            STT_OBJECT | STT_COMMON => SymbolType::Object,
            STT_TLS => SymbolType::ThreadLocal,
            STT_GNU_IFUNC => SymbolType::IndirectFunction,
            _ => SymbolType::Untyped,
        }
    }

    /// The symbol's binding, for people. An unknown one counts as global.
    pub fn symbol_binding(&self) -> SymbolBinding {
        match self.bind() {
            STB_WEAK => SymbolBinding::Weak,
            STB_GNU_UNIQUE => SymbolBinding::Unique,
            _ => SymbolBinding::Global,
        }
    }
}

impl fmt::Display for SymbolType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            SymbolType::Function => "FUNC",
            SymbolType::Object => "OBJECT",
            SymbolType::ThreadLocal => "TLS",
            SymbolType::IndirectFunction => "IFUNC",
            SymbolType::Untyped => "NOTYPE",
        })
    }
}

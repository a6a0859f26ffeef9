//! What a symbol is, in words for people.

use std::fmt;

use goblin::elf64::sym::{STB_GNU_UNIQUE, STB_WEAK, STT_COMMON, STT_FUNC, STT_GNU_IFUNC, STT_OBJECT, STT_TLS};

use super::Symbol;

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

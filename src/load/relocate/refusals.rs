//! The errors for relocations that cannot be applied, in words.

use crate::elf::addr::Vaddr;
use crate::elf::reloc::{Problem, Relocation, raw_name};
use crate::error::ErrorKind;

#[cold]
pub(super) fn unknown(table: &'static str, index: usize, entry: Relocation) -> ErrorKind {
    ErrorKind::Relocation {
        index,
        table,
        kind: raw_name(entry.kind),
        place: entry.place,
        problem: "not a type that a shared object may have".into(),
        rule: "psABI, \"Relocation Types\"; the file is damaged, or was made for a loader newer than this one",
    }
}

#[cold]
pub(super) fn outside(table: &'static str, index: usize, kind: &str, place: Vaddr) -> ErrorKind {
    ErrorKind::Relocation {
        index,
        table,
        kind: kind.into(),
        place,
        problem: "the place is not inside a writable segment".into(),
        rule: "relocations write into PF_W segments only, unless DT_TEXTREL says otherwise (gABI, \"Dynamic Section\")",
    }
}

#[cold]
pub(super) fn refused(table: &'static str, index: usize, entry: Relocation, problem: Problem) -> ErrorKind {
    let (problem, rule) = match problem {
        Problem::NotThreadLocal => (
            "the symbol is not a thread-local variable with a block that this kind of access can reach".to_string(),
            "ELF Handling For Thread-Local Storage, \"x86-64 Dynamic Thread-Local Storage Model\"",
        ),
        Problem::NotInSharedObject => (
            "only a program can have it".to_string(),
            "a copy relocation moves a variable into the program; in a library it means nothing (psABI, \"Relocation Types\")",
        ),
        Problem::Overflow(value) => (
            format!(
                "the result {}{:#x} does not fit into 32 bits",
                if value < 0 { "-" } else { "" },
                value.unsigned_abs()
            ),
            "psABI, \"Relocation Types\": 32-bit results must not be cut off; recompile with -fPIC",
        ),
    };
    ErrorKind::Relocation { index, table, kind: raw_name(entry.kind), place: entry.place, problem, rule }
}

//! The structure of the file that an event is about, field by field, and the formula of a relocation in numbers.

use std::ops::Range;

use dlscope::elf::addr::{Addr, FileOffset};
use dlscope::elf::image::Segment;
use dlscope::event::{Event, Kind};

use super::Walk;
use crate::demangle::explained;

/// One structure of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// `Elf64_Rela #13 of DT_RELA`.
    pub name: String,
    /// The file, by the path in its event.
    pub path: String,
    /// Where it begins in the file; `None` if only its address is known.
    pub offset: Option<FileOffset>,
    /// Where it begins in memory, if it is mapped.
    pub address: Option<Addr>,
    /// Its length in bytes.
    pub length: usize,
    /// Its fields, in the order of the structure.
    pub fields: Vec<Field>,
}

/// One field: its name in `elf.h`, its value, and the meaning of the value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Field {
    pub name: &'static str,
    pub value: String,
    pub note: String,
    /// Where it lies in the structure, in bytes from its start.
    pub bytes: Range<usize>,
}

/// The formula of a relocation, as the psABI has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Formula {
    /// In letters: `S + A`.
    pub letters: String,
    /// In numbers: `0x7f596ebe2000 + 0x4010`.
    pub numbers: String,
}

fn field(name: &'static str, value: impl ToString, note: impl Into<String>, at: usize, length: usize) -> Field {
    Field { name, value: value.to_string(), note: note.into(), bytes: at..at + length }
}

impl Walk {
    /// The structure that event `at` is about, if it is about one.
    pub fn record_of(&self, at: usize) -> Option<Record> {
        let cause = self.link(at).cause.unwrap_or(at);
        let event = &self.events[cause];
        match &event.kind {
            Kind::Header { e_type, e_machine, e_phoff, e_phnum, .. } => Some(Record {
                name: "Elf64_Ehdr".into(),
                path: self.file_being_read(cause)?.into(),
                offset: Some(FileOffset(0)),
                address: None,
                length: 64,
                fields: vec![
                    field("e_ident", "7f 45 4c 46 …", "\"\\x7fELF\", 64 bits, little-endian", 0, 16),
                    field("e_type", e_type, "a shared object", 16, 2),
                    field("e_machine", e_machine, "for this processor", 18, 2),
                    field("e_phoff", e_phoff, "where the program headers begin", 32, 8),
                    field("e_phnum", e_phnum, "how many there are", 56, 2),
                ],
            }),
            Kind::ProgramHeader { name, header_offset, segment } => Some(Record {
                name: format!("Elf64_Phdr #{}", segment.index),
                path: self.file_being_read(cause)?.into(),
                offset: Some(*header_offset),
                address: None,
                length: 56,
                fields: program_header(name, segment),
            }),
            Kind::DynamicEntry { vaddr, tag, value, text } => {
                let object = event.object.as_ref()?;
                let address = self.atlas.bias(object.id)? + *vaddr;
                let note = text.as_ref().map_or(String::new(), |text| format!("“{text}” in DT_STRTAB"));
                Some(Record {
                    name: "Elf64_Dyn".into(),
                    path: object.name.to_string(),
                    offset: None,
                    address: Some(address),
                    length: 16,
                    fields: vec![
                        field("d_tag", tag, "", 0, 8),
                        field(if is_address(tag) { "d_ptr" } else { "d_val" }, value, note, 8, 8),
                    ],
                })
            }
            Kind::Relocation { .. } | Kind::LeftForCall { .. } => self.relocation(event),
            _ => None,
        }
    }

    fn relocation(&self, event: &Event) -> Option<Record> {
        let (table, index, entry, place, kind, symbol, name, a) = match &event.kind {
            Kind::Relocation { table, index, entry, place, kind, symbol, name, a, .. } => {
                (*table, *index, *entry, *place, kind.as_str(), *symbol, name.as_deref(), Some(*a))
            }
            Kind::LeftForCall { index, entry, place, symbol, name, .. } => {
                ("DT_JMPREL", *index, *entry, *place, "R_X86_64_JUMP_SLOT", Some(*symbol), name.as_deref(), None)
            }
            _ => return None,
        };
        let object = event.object.as_ref()?;
        let slot = self.atlas.bias(object.id).map_or(String::new(), |bias| format!("B + it = {}", bias + place));
        let path = object.name.to_string();
        if table == "DT_RELR" {
            let fields = vec![field("place", place, slot, 0, 8), field("addend", "in the slot itself", "", 0, 0)];
            let name = format!("word #{index} packed in DT_RELR");
            return Some(Record { name, path, offset: Some(entry), address: None, length: 8, fields });
        }
        let mut fields = vec![field("r_offset", place, slot, 0, 8), field("r_info: type", kind, "", 8, 4)];
        if let Some(symbol) = symbol {
            fields.push(field("r_info: symbol", symbol, name.map_or(String::new(), explained), 12, 4));
        }
        if let Some(a) = a {
            fields.push(field("r_addend", signed(a), "", 16, 8));
        }
        let name = format!("Elf64_Rela #{index} of {table}");
        Some(Record { name, path, offset: Some(entry), address: None, length: 24, fields })
    }

    /// The formula of the relocation that event `at` belongs to.
    pub fn formula_of(&self, at: usize) -> Option<Formula> {
        let cause = self.link(at).cause.unwrap_or(at);
        let Kind::Relocation { formula, place, b, s, a, .. } = &self.events[cause].kind else { return None };
        let object = self.events[cause].object.as_ref()?;
        let p = self.atlas.bias(object.id).map(|bias| bias + *place);
        Some(Formula {
            letters: (*formula).into(),
            numbers: in_numbers(formula, &Letters { b: b.0, s: s.map(|s| s.0), a: *a, p }),
        })
    }

    /// The file that was opened last before event `at`.
    fn file_being_read(&self, at: usize) -> Option<&str> {
        self.events[..at].iter().rev().find_map(|event| match &event.kind {
            Kind::Open { path, fd: Ok(_) } => Some(path.as_str()),
            Kind::MemoryFile { name, .. } => Some(name.as_str()),
            _ => None,
        })
    }
}

fn program_header(name: &str, s: &Segment) -> Vec<Field> {
    let bss = if s.memsz > s.filesz {
        format!("{:#x} more than in the file: zeros", s.memsz - s.filesz)
    } else {
        String::new()
    };
    vec![
        field("p_type", name, "", 0, 4),
        field("p_flags", s.flags, "", 4, 4),
        field("p_offset", s.offset, "where it begins in the file", 8, 8),
        field("p_vaddr", s.vaddr, "where it wants to be, relative to B", 16, 8),
        field("p_filesz", format!("{:#x}", s.filesz), "bytes in the file", 32, 8),
        field("p_memsz", format!("{:#x}", s.memsz), bss, 40, 8),
        field("p_align", format!("{:#x}", s.align), "", 48, 8),
    ]
}

/// Whether the value of a dynamic entry is an address (`d_ptr`) or a number (`d_val`). gABI, "Dynamic Array Tags".
fn is_address(tag: &str) -> bool {
    const POINTERS: [&str; 14] = [
        "DT_PLTGOT",
        "DT_HASH",
        "DT_STRTAB",
        "DT_SYMTAB",
        "DT_RELA",
        "DT_INIT",
        "DT_FINI",
        "DT_JMPREL",
        "DT_INIT_ARRAY",
        "DT_FINI_ARRAY",
        "DT_RELR",
        "DT_GNU_HASH",
        "DT_VERSYM",
        "DT_VERNEED",
    ];
    POINTERS.contains(&tag) || tag == "DT_VERDEF"
}

/// The values of the letters in a formula.
struct Letters {
    b: u64,
    s: Option<u64>,
    a: i64,
    p: Option<Addr>,
}

/// The formula with numbers in place of its letters; its words (`thread pointer`) stay.
fn in_numbers(formula: &str, letters: &Letters) -> String {
    let mut out = Vec::new();
    for word in formula.split(' ') {
        let bare = word.trim_matches(['(', ')']);
        let number = match bare {
            "B" => Some(format!("{:#x}", letters.b)),
            "S" | "Z" => letters.s.map(|s| format!("{s:#x}")),
            "A" => Some(signed(letters.a)),
            "P" => letters.p.map(|p| p.to_string()),
            _ => None,
        };
        out.push(number.map_or_else(|| word.to_string(), |number| word.replace(bare, &number)));
    }
    out.join(" ")
}

/// A signed number in hexadecimal: `0x10`, `-0x8`.
fn signed(number: i64) -> String {
    let sign = if number < 0 { "-" } else { "" };
    format!("{sign}{:#x}", number.unsigned_abs())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_formula_is_shown_with_its_numbers() {
        let letters = Letters { b: 0x1000, s: Some(0x2000), a: -8, p: Some(Addr(0x30)) };
        assert_eq!(in_numbers("B + A", &letters), "0x1000 + -0x8");
        assert_eq!(in_numbers("S + A - P", &letters), "0x2000 + -0x8 - 0x30");
        assert_eq!(in_numbers("indirect (B + A)", &letters), "indirect (0x1000 + -0x8)");
        assert_eq!(in_numbers("module id", &letters), "module id");
    }
}

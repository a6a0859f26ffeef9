//! Which instructions of a library use a slot: directly, or through an entry of the PLT. This is the way from a line of C to
//! a relocation.

use std::cell::RefCell;
use std::collections::{HashMap, HashSet};
use std::path::Path;

use dlscope::elf::image::{Image, check_header};
use iced_x86::{Decoder, DecoderOptions, Mnemonic};

use crate::bytes::{path_of, shown};
use crate::page::{count, short};

mod debug_file;

/// More code than this is not searched.
const MOST: u64 = 64 << 20;
/// So many places are named, the others counted.
const NAMED: usize = 2;

/// Whether code may read the slot of a relocation of this type: those of the GOT. Others lie in data.
pub fn is_read_by_code(kind: &str) -> bool {
    !["R_X86_64_RELATIVE", "R_X86_64_64"].contains(&kind)
}

/// The instructions of one library that use its slots.
pub struct Uses {
    /// By the slot's `p_vaddr`: the instructions that read it, and their mnemonics.
    direct: HashMap<u64, Vec<(u64, Mnemonic)>>,
    /// By the slot's `p_vaddr`: the entry of the PLT that jumps to the address in it.
    plt: HashMap<u64, u64>,
    /// By the entry's `p_vaddr`: the calls of it, and jumps to it.
    calls: HashMap<u64, Vec<u64>>,
    /// Names and lines of the file, if it has them.
    names: Option<addr2line::Loader>,
    /// The sources that were read, by path; `None` for those that cannot be.
    sources: RefCell<HashMap<String, Option<String>>>,
}

impl Uses {
    /// Looks for the slots with these `p_vaddr`s in all executable segments of a file. `None` if it cannot be read.
    pub fn of(path: &str, slots: &HashSet<u64>) -> Option<Uses> {
        let path = std::fs::canonicalize(path_of(path)).ok()?;
        let bytes = std::fs::read(&path).ok()?;
        let (offset, length) = check_header(&bytes, bytes.len() as u64).ok()?;
        let table = bytes.get(offset.0 as usize..offset.0 as usize + length)?;
        let image = Image::new(table, offset, bytes.len() as u64).ok()?;
        let code = || image.loads().filter(|segment| segment.flags.executable());
        if code().map(|segment| segment.filesz).sum::<u64>() > MOST {
            return None;
        }
        let mut uses = Uses {
            direct: HashMap::new(),
            plt: HashMap::new(),
            calls: HashMap::new(),
            names: names_of(&path, &bytes),
            sources: RefCell::default(),
        };
        let mut branches = Vec::new();
        for segment in code() {
            let from = segment.offset.0 as usize;
            let bytes = bytes.get(from..from + segment.filesz as usize)?;
            uses.look(bytes, segment.vaddr.0, slots, &mut branches);
        }
        let entries: HashSet<u64> = uses.plt.values().copied().collect();
        for (at, to) in branches {
            if entries.contains(&to) {
                uses.calls.entry(to).or_default().push(at);
            }
        }
        Some(uses)
    }

    /// Goes through code from its first byte on. `branches` get every near call and jump with its target.
    fn look(&mut self, code: &[u8], vaddr: u64, slots: &HashSet<u64>, branches: &mut Vec<(u64, u64)>) {
        let mut before = None;
        for instruction in Decoder::with_ip(64, code, vaddr, DecoderOptions::NONE) {
            let at = instruction.ip();
            if instruction.is_call_near() || instruction.is_jmp_short_or_near() {
                branches.push((at, instruction.near_branch_target()));
            } else if instruction.is_ip_rel_memory_operand() && slots.contains(&instruction.ip_rel_memory_address()) {
                let slot = instruction.ip_rel_memory_address();
                // A jump through a slot is the heart of a PLT entry, which may begin with the mark of a branch's target.
                if instruction.mnemonic() == Mnemonic::Jmp {
                    let marked = before.filter(|&(_, mnemonic)| mnemonic == Mnemonic::Endbr64).map(|(at, _)| at);
                    self.plt.insert(slot, marked.unwrap_or(at));
                } else {
                    self.direct.entry(slot).or_default().push((at, instruction.mnemonic()));
                }
            }
            before = Some((at, instruction.mnemonic()));
        }
    }

    /// The way from code to the slot at this `p_vaddr`, in words, and the line of the source where it begins. Empty if no
    /// instruction names the slot.
    pub fn way_to(&self, slot: u64) -> Vec<String> {
        let (way, first) = if let Some(entry) = self.plt.get(&slot) {
            let calls = self.calls.get(entry).map_or(&[][..], |calls| calls);
            let from = self.places(calls.iter().map(|&at| (at, "call".into())));
            let from = if from.is_empty() { String::new() } else { format!("{from} → ") };
            (format!("used: {from}PLT entry {entry:#x}: jmp [slot]"), calls.first().copied())
        } else {
            let Some(direct) = self.direct.get(&slot) else { return Vec::new() };
            let named = |&(at, mnemonic): &(u64, Mnemonic)| (at, format!("{mnemonic:?}").to_lowercase() + " … [slot]");
            (format!("used: {}", self.places(direct.iter().map(named))), direct.first().map(|&(at, _)| at))
        };
        std::iter::once(way).chain(first.and_then(|at| self.source_line(at))).collect()
    }

    /// The line of the source that an instruction belongs to, where the source lies on this machine: `add.c:49  add(a, b);`.
    fn source_line(&self, at: u64) -> Option<String> {
        let location = self.names.as_ref()?.find_location(at).ok()??;
        let (file, line) = (location.file?, location.line?);
        let mut sources = self.sources.borrow_mut();
        let text = sources.entry(file.into()).or_insert_with(|| source(file)).as_ref()?;
        let text = text.lines().nth((line as usize).checked_sub(1)?)?.trim();
        (!text.is_empty()).then(|| format!("{}:{line}  {}", short(file), shown(text)))
    }

    /// `0x1122 call, in greet (add.c:20), and 3 more`.
    fn places(&self, at: impl ExactSizeIterator<Item = (u64, String)>) -> String {
        let more = at.len().saturating_sub(NAMED);
        let place = |(at, what): (u64, String)| format!("{at:#x} {what}{}", self.name(at));
        let named: Vec<String> = at.take(NAMED).map(place).collect();
        let more = if more == 0 { String::new() } else { format!(", and {} more", count(more as u64, "place")) };
        named.join(", ") + &more
    }

    fn name(&self, at: u64) -> String {
        let Some(names) = &self.names else { return String::new() };
        let line = names.find_location(at).ok().flatten();
        let line = line.and_then(|location| Some(format!(" ({}:{})", short(location.file?), location.line?)));
        let function = names.find_symbol(at).map(|name| format!(" in {name}"));
        function.unwrap_or_default() + &line.unwrap_or_default()
    }
}

/// The text of a source. What a library says of its source may be anything.
fn source(path: &str) -> Option<String> {
    std::fs::metadata(path).ok().filter(|file| file.is_file() && file.len() < 4 << 20)?;
    std::fs::read_to_string(path).ok()
}

/// Names and lines from the library's debug information, wherever that lies.
fn names_of(path: &Path, bytes: &[u8]) -> Option<addr2line::Loader> {
    let separate = debug_file::of(path, bytes, Path::new(debug_file::ROOT));
    // A damaged debug file is no reason to do without the names that the library has.
    addr2line::Loader::new(separate).or_else(|_| addr2line::Loader::new(path)).ok()
}

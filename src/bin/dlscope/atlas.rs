//! The objects and symbols that the events so far told of, so that an address can be shown as `libadd.so+0x1119`.

use std::collections::{BTreeMap, HashMap};

use dlscope::elf::addr::{Addr, Bias, Vaddr};
use dlscope::elf::image::Segment;
use dlscope::event::{Event, Kind, Tag};

/// What the events told about one object.
#[derive(Default)]
pub struct KnownObject {
    /// Its name without the path.
    pub name: String,
    /// The load bias `B`, once the object is mapped or adopted.
    pub bias: Option<Bias>,
    /// The first address of the object, and how many bytes it spans.
    span: (u64, u64),
    /// Its program headers.
    pub segments: Vec<Segment>,
    /// The entries of its dynamic section: tag and value.
    pub dynamic: Vec<(String, u64)>,
    /// The length of its file in bytes.
    pub file_length: u64,
}

/// A relocation that waits for pass 2.
#[derive(Clone)]
pub struct PutOff {
    /// Its type.
    pub kind: String,
    /// The symbol it names.
    pub name: Option<String>,
}

/// All objects, and the names of the symbols that lookups found.
#[derive(Default)]
pub struct Atlas {
    objects: HashMap<u32, KnownObject>,
    names: BTreeMap<u64, String>,
    put_off: HashMap<u64, PutOff>,
    /// The program headers of the file that is being read. No event names its object yet.
    headers: Vec<Segment>,
    file_length: u64,
    last_relocation: Option<PutOff>,
}

impl Atlas {
    /// Learns from more events.
    pub fn note(&mut self, events: &[Event]) {
        for event in events {
            self.note_header(&event.kind);
            if let Some(object) = &event.object {
                self.note_object(object, &event.kind);
            }
            if let Kind::Lookup { name, found: Some(found), .. } = &event.kind {
                self.names.entry(found.address.0).or_insert_with(|| name.clone());
            }
        }
    }

    fn note_header(&mut self, kind: &Kind) {
        match kind {
            Kind::Open { fd: Ok(_), .. } => self.headers.clear(),
            Kind::Header { file_length, .. } => self.file_length = *file_length,
            Kind::ProgramHeader { segment, .. } => self.headers.push(segment.clone()),
            _ => {}
        }
    }

    fn note_object(&mut self, object: &Tag, kind: &Kind) {
        let known = self.objects.entry(object.id).or_default();
        if known.name.is_empty() {
            known.name = object.short().into();
        }
        match kind {
            // This is the first event that names a new object, and the headers read last are those of its file.
            Kind::Planned { .. } => {
                known.segments = std::mem::take(&mut self.headers);
                known.file_length = self.file_length;
            }
            Kind::Placed { bias, address, length } | Kind::Adopt { bias, address, length, .. } => {
                known.bias = Some(*bias);
                known.span = (address.0, *length);
            }
            Kind::DynamicEntry { tag, value, .. } => known.dynamic.push((tag.clone(), value.0)),
            Kind::Relocation { kind, name, .. } => {
                self.last_relocation = Some(PutOff { kind: kind.clone(), name: name.clone() });
            }
            Kind::Deferred { place, .. } => {
                if let (Some(bias), Some(relocation)) = (known.bias, self.last_relocation.take()) {
                    self.put_off.insert((bias + *place).0, relocation);
                }
            }
            _ => {}
        }
    }

    /// The object that was last mapped (or adopted) over `address`, and its number.
    pub fn at(&self, address: u64) -> Option<(u32, &KnownObject)> {
        // An object may lie where another one was unmapped: the later one counts.
        let found = self.objects.iter().filter(|(_, known)| known.holds(address)).max_by_key(|(id, _)| **id);
        found.map(|(&id, known)| (id, known))
    }

    /// The object of this name (without a path); of several the last.
    pub fn named_object(&self, name: &str) -> Option<&KnownObject> {
        self.objects.iter().filter(|(_, known)| known.name == name).max_by_key(|(id, _)| **id).map(|(_, known)| known)
    }

    /// An object by its number.
    pub fn object(&self, id: u32) -> Option<&KnownObject> {
        self.objects.get(&id)
    }

    /// The load bias of an object, once it is placed or adopted.
    pub fn bias(&self, id: u32) -> Option<Bias> {
        self.object(id)?.bias
    }

    /// The relocation of the slot at `address`, if it waits for pass 2.
    pub fn put_off(&self, address: Addr) -> Option<&PutOff> {
        self.put_off.get(&address.0)
    }

    /// The name under which a lookup found `address`.
    pub fn name_at(&self, address: Addr) -> Option<&str> {
        self.names.get(&address.0).map(String::as_str)
    }

    /// `libadd.so+0x1119`, for an address inside an object that was mapped here.
    pub fn inside(&self, address: u64) -> Option<String> {
        let (_, known) = self.at(address)?;
        Some(format!("{}+{}", known.name, known.bias?.vaddr(Addr(address))))
    }

    /// The same with the symbol's name, if a lookup found one there.
    pub fn describe(&self, address: Addr) -> Option<String> {
        let inside = self.inside(address.0)?;
        Some(match self.name_at(address) {
            Some(name) => format!("{inside}  {name}"),
            None => inside,
        })
    }

    /// `libc.so.6+0x80e50`, for an address that is known to be of `object`; just its name if the bias is unknown.
    pub fn of(&self, object: &Tag, address: Addr) -> String {
        match self.bias(object.id) {
            Some(bias) => format!("{object}+{}", bias.vaddr(address)),
            None => format!("in {object}"),
        }
    }
}

impl KnownObject {
    /// Whether an address lies in the object.
    pub fn holds(&self, address: u64) -> bool {
        self.span.0 <= address && address - self.span.0 < self.span.1
    }

    /// The value of the entry with this tag in the dynamic section.
    fn entry(&self, tag: &str) -> Option<u64> {
        self.dynamic.iter().find(|(known, _)| known == tag).map(|&(_, value)| value)
    }

    /// The contents of a `PT_LOAD`, as far as the other headers and the dynamic section tell.
    pub fn contents(&self, load: &Segment) -> Vec<String> {
        let within = |at: Vaddr| at >= load.vaddr && at.0 - load.vaddr.0 < load.memsz.max(1);
        let mut found = Vec::new();
        if load.offset.0 == 0 {
            found.push("file header".into());
        }
        if load.flags.executable() {
            found.push("code".into());
        }
        for (tag, what) in TABLES {
            if self.entry(tag).is_some_and(|at| within(Vaddr(at))) && !found.iter().any(|f| f == what) {
                found.push(what.to_string());
            }
        }
        for (name, what) in SEGMENTS {
            let lies_here = |s: &&Segment| s.type_name() == *name && within(s.vaddr) && s.memsz > 0;
            if self.segments.iter().any(|s| lies_here(&s)) {
                found.push(what.to_string());
            }
        }
        if load.flags.writable() {
            found.push("data".into());
        } else if found.is_empty() {
            found.push("constants".into());
        }
        found
    }

    /// Its `PT_LOAD`s.
    pub fn loads(&self) -> impl Iterator<Item = &Segment> {
        self.segments.iter().filter(|s| s.type_name() == "PT_LOAD")
    }

    /// `PT_GNU_RELRO`, if it lies in `load`.
    pub fn relro_in(&self, load: &Segment) -> Option<&Segment> {
        let inside = |s: &&Segment| s.vaddr >= load.vaddr && s.vaddr.0 < load.vaddr.0 + load.memsz;
        self.segments.iter().find(|s| s.type_name() == "PT_GNU_RELRO").filter(inside)
    }
}

/// Tags of the dynamic section that say where a table lies, and the name of the table.
const TABLES: &[(&str, &str)] = &[
    ("DT_HASH", "hash table"),
    ("DT_GNU_HASH", "hash table"),
    ("DT_SYMTAB", "symbols"),
    ("DT_STRTAB", "names"),
    ("DT_VERSYM", "versions"),
    ("DT_RELA", "relocations"),
    ("DT_RELR", "relocations"),
    ("DT_JMPREL", "relocations"),
    ("DT_INIT_ARRAY", "constructors"),
    ("DT_PLTGOT", "GOT"),
];

/// Program headers that say where something lies inside a `PT_LOAD`.
const SEGMENTS: &[(&str, &str)] = &[
    ("PT_TLS", "thread-local template"),
    ("PT_DYNAMIC", "dynamic section"),
    ("PT_GNU_EH_FRAME", "constants, unwind tables"),
    ("PT_NOTE", "notes"),
];

//! What events, stages, relocation types and dynamic tags mean, in words: the one place for them, whatever the view.

use std::collections::HashMap;
use std::fmt;
use std::sync::LazyLock;

use dlscope::event::{Asked, Kind, Stage};

pub mod glossary;

/// One sentence about a stage.
pub fn of_stage(stage: Stage) -> &'static str {
    match stage {
        Stage::Find => "from a name to an open file, by the rules of ld.so(8)",
        Stage::Read => {
            "the file header and the program headers: is the file for this process, and what is to be mapped?"
        }
        Stage::Plan => "every step of the mapping, decided before the loader takes the first one",
        Stage::Map => "the plan is carried out: first address space for the object, then the pages of its file",
        Stage::Dynamic => "the dynamic section, read from the mapped pages, says where all tables are",
        Stage::Needed => "the libraries that DT_NEEDED names, breadth first, each of them once",
        Stage::Versions => "do the dependencies define every version that the library was linked with?",
        Stage::Relocate => "fill in every pointer that was unknown until now",
        Stage::Seal => "the pages that only the loader had to write become read-only (RELRO)",
        Stage::Publish => "the new objects enter the namespace, where other loads can find them",
        Stage::Init => "the library's own code runs for the first time: constructors, dependencies first",
        Stage::Lookup => "from a name to an address, through the hash tables",
        Stage::Bind => "a function is called for the first time, and looked up only now (lazy binding)",
        Stage::Close => "destructors run, then the loader unmaps the objects",
        Stage::Host => "the objects that were in the process before; the loader uses them and maps no second copy",
        _ => "a stage that this command has no words for",
    }
}

/// What an event means. The table of all events is `words/events.txt`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct EventWords {
    /// What happened, in one line.
    pub what: &'static str,
    /// Why the loader does that, in one line.
    pub why: &'static str,
    /// Where to read on.
    pub reference: Reference,
}

/// Where a standard describes what an event is about, and what other loaders call the code that does it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Reference {
    /// The standard and the section in it, or the manual page.
    pub spec: &'static str,
    /// glibc's function, in `elf/` or `sysdeps/x86_64/`; empty where it has none.
    pub glibc: &'static str,
    /// musl's function in `ldso/dynlink.c`; empty where it has none.
    pub musl: &'static str,
    /// The chapter and its section, relative to the project: `docs/chapters/04-map.md#the-load-bias`.
    pub chapter: &'static str,
}

impl Reference {
    /// Reads what [`Display`](fmt::Display) writes.
    fn parse(line: &'static str) -> Reference {
        let parts = || line.split(" · ");
        let function = |loader: &str| parts().find_map(|part| part.strip_prefix(loader)).unwrap_or_default();
        Reference {
            spec: parts().next().unwrap_or_default(),
            glibc: function("glibc "),
            musl: function("musl "),
            chapter: parts().last().unwrap_or_default(),
        }
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.spec)?;
        for (loader, function) in [("glibc", self.glibc), ("musl", self.musl)] {
            if !function.is_empty() {
                write!(f, " · {loader} {function}")?;
            }
        }
        write!(f, " · {}", self.chapter)
    }
}

/// `words/events.txt`, by the names of its entries.
static EVENTS: LazyLock<HashMap<&str, EventWords>> = LazyLock::new(|| {
    let mut entries: HashMap<&str, EventWords> = HashMap::new();
    for entry in include_str!("words/events.txt").split("\n\n").filter(|entry| !entry.starts_with('#')) {
        let (names, lines) = entry.split_once('\n').unwrap_or((entry, ""));
        for name in names.split(", ") {
            let of_kind = name.split(' ').next().and_then(|kind| entries.get(kind));
            let words = match (&lines.lines().collect::<Vec<_>>()[..], of_kind) {
                (&[what, why, line], _) => EventWords { what, why, reference: Reference::parse(line) },
                (&[line], Some(of_kind)) => EventWords { reference: Reference::parse(line), ..*of_kind },
                _ => panic!("words/events.txt: {names} has neither three lines nor one behind an entry of its kind"),
            };
            entries.insert(name, words);
        }
    }
    entries
});

/// What an event of this kind, at this stage, means.
pub fn of_event(kind: &Kind, stage: Stage) -> EventWords {
    let name = format!("{} {}", kind.name(), variant(kind, stage));
    let words = EVENTS.get(&*name).or_else(|| EVENTS.get(kind.name()));
    *words.unwrap_or_else(|| panic!("words/events.txt has no entry {name:?}"))
}

/// What tells events of one kind apart that mean different things.
fn variant(kind: &Kind, stage: Stage) -> String {
    let text = match kind {
        Kind::Begin { request: Asked::Exit, .. } => "exit".into(),
        Kind::Rule { rule, .. } => rule.to_string(),
        Kind::Protect { reason, .. } => format!("{reason:?}"),
        Kind::Relocation { table: "DT_RELR", .. } => "DT_RELR".into(),
        Kind::Relocation { kind, .. } => kind.clone(),
        Kind::Call { purpose, .. } => purpose.to_string(),
        _ => stage.to_string(),
    };
    // Of `RPATH of libx.so` and `DT_INIT_ARRAY[3]` the first word.
    text.split([' ', '[']).next().unwrap_or_default().into()
}

/// What a relocation of this type is for.
pub fn of_relocation(kind: &str) -> &'static str {
    match kind {
        "R_X86_64_NONE" => "nothing to do",
        "R_X86_64_64" => "a pointer to a named symbol, in data",
        "R_X86_64_PC32" => "the distance from the slot to a symbol",
        "R_X86_64_GLOB_DAT" => "the address of a variable or function, in the GOT",
        "R_X86_64_JUMP_SLOT" => "the address of a function, for calls through the PLT",
        "R_X86_64_RELATIVE" | "R_X86_64_RELATIVE64" => "an address inside the library itself",
        "R_X86_64_32" => "the address of a symbol, in 32 bits",
        "R_X86_64_COPY" => "the copy of a library's variable in a program; no library may have it",
        "R_X86_64_DTPMOD64" => "the module id of the thread-local variable",
        "R_X86_64_DTPOFF64" => "the offset of the thread-local variable in its module's block",
        "R_X86_64_TPOFF64" => "the distance of the thread-local variable from the thread pointer",
        "R_X86_64_SIZE32" | "R_X86_64_SIZE64" => "the size of a symbol",
        "R_X86_64_TLSDESC" => "a function that finds the thread-local variable, and the function's argument",
        "R_X86_64_IRELATIVE" => "the function that the library's own IFUNC resolver chooses",
        _ => "",
    }
}

/// Weak names that the compiler's start-up files refer to. In most processes nobody defines them.
pub const OF_START_UP_FILES: [&str; 3] = ["_ITM_deregisterTMCloneTable", "_ITM_registerTMCloneTable", "__gmon_start__"];

/// The tags of the dynamic section, in groups of one theme; `trace` shows them in this order.
pub const DYNAMIC: [(&str, &[&str]); 11] = [
    ("soname", &["DT_SONAME"]),
    ("needs", &["DT_NEEDED"]),
    ("searches for those in", &["DT_RPATH", "DT_RUNPATH"]),
    ("strings", &["DT_STRTAB", "DT_STRSZ"]),
    ("symbols", &["DT_SYMTAB", "DT_SYMENT"]),
    ("hash tables", &["DT_GNU_HASH", "DT_HASH"]),
    ("versions", &["DT_VERSYM", "DT_VERDEF", "DT_VERDEFNUM", "DT_VERNEED", "DT_VERNEEDNUM"]),
    ("relocations", &["DT_RELA", "DT_RELASZ", "DT_RELAENT", "DT_RELACOUNT", "DT_RELR", "DT_RELRSZ", "DT_RELRENT"]),
    ("calls to others (PLT)", &["DT_JMPREL", "DT_PLTRELSZ", "DT_PLTREL", "DT_PLTGOT"]),
    ("start and stop", &["DT_INIT", "DT_INIT_ARRAY", "DT_INIT_ARRAYSZ", "DT_FINI", "DT_FINI_ARRAY", "DT_FINI_ARRAYSZ"]),
    ("flags", &["DT_FLAGS", "DT_FLAGS_1", "DT_SYMBOLIC", "DT_TEXTREL", "DT_BIND_NOW"]),
];

#[cfg(test)]
mod tests;

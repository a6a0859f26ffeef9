//! What each kind of event means, in words: the one place for them, whatever the view.

use std::fmt;

use dlscope::event::{Kind, ProtectReason, Purpose, Stage};

mod references;
pub use references::reference;

/// One sentence about a stage.
pub fn of_stage(stage: Stage) -> &'static str {
    match stage {
        Stage::Find => "from a name to an open file, by the rules of ld.so(8)",
        Stage::Read => "the file header and the program headers: is it for us, and what must be mapped?",
        Stage::Plan => "every step of the mapping, decided before the first is taken",
        Stage::Map => "the plan carried out: first address space for all, then the file's pages over it",
        Stage::Dynamic => "the dynamic section, read from the mapped pages: where all tables are",
        Stage::Needed => "the libraries that DT_NEEDED names, breadth first, each of them once",
        Stage::Versions => "is every version that the library was linked with still there?",
        Stage::Relocate => "every word that depends on where things are gets its value",
        Stage::Seal => "what only the loader had to write becomes read-only (RELRO)",
        Stage::Publish => "from here on others can find the new objects",
        Stage::Init => "the library's own code runs for the first time: constructors, dependencies first",
        Stage::Lookup => "from a name to an address, through the hash tables",
        Stage::Bind => "a function is called for the first time: now it is looked up (lazy binding)",
        Stage::Close => "destructors, then the memory goes back",
        Stage::Host => "what was in the process before us; it is used, never loaded again",
    }
}

/// Where a thing is written down, and what other loaders call the code that does it.
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

/// A kind of event, explained in two lines.
pub fn of_kind(kind: &Kind) -> [&'static str; 2] {
    match kind {
        Kind::Begin { .. } => [
            "Somebody asks the loader for something: to open, to look up, to close.",
            "All events up to its end carry its number; a request made by a constructor names the outer one as parent.",
        ],
        Kind::End { .. } => [
            "The request is over. If it failed, this is why, and what it had mapped is unmapped again.",
            "A failed load leaves nothing behind: no mapping, no open file, no code that ran.",
        ],
        Kind::Fault { .. } => [
            "Here a load would end. This one is only to find out what is wrong, so it goes on.",
            "What was missing stays missing: nothing of this load is ever published, and no code of it runs.",
        ],
        Kind::Known { .. } => [
            "The name means an object that is already in the process, so no file is searched.",
            "One libc for all: a second copy would have its own heap and its own idea of the current thread.",
        ],
        Kind::Search { .. } => [
            "A name without a known meaning: the search for its file begins.",
            "A name with a '/' is a path; any other is looked for by the rules of ld.so(8).",
        ],
        Kind::Rule { .. } => [
            "One rule of ld.so(8) gives its directories, in the order in which they will be tried.",
            "The order of the rules: RPATH, LD_LIBRARY_PATH, RUNPATH, ld.so.cache, the default directories.",
        ],
        Kind::Try { .. } => [
            "A path was tried; the first file that is a library for this process ends the search.",
            "In each directory the builds for newer processors (glibc-hwcaps) come first.",
        ],
        Kind::Open { .. } => [
            "openat(2): the kernel looks for the file and gives a descriptor, a small number.",
            "ENOENT means that there is no such file; the search goes on.",
        ],
        Kind::Stat { .. } => [
            "fstat(2): how long the file is, and its device and inode.",
            "The same device and inode is the same file, whatever the path: it is loaded once.",
        ],
        Kind::MemoryFile { .. } => [
            "memfd_create(2): a file without a name, for a library that was given as bytes.",
            "So everything after this is the same as for a file on disk.",
        ],
        Kind::View { .. } => [
            "mmap(2) of /etc/ld.so.cache, to read: the list from library names to paths that ldconfig wrote.",
            "Sorted by name, so a few comparisons find an entry among thousands.",
        ],
        Kind::CloseFile { .. } => {
            ["close(2): the descriptor is not needed any more.", "The mapping keeps the file in use by itself."]
        }
        Kind::Read { .. } => [
            "pread64(2): the first bytes of the file, with the ELF header and nearly always the program headers.",
            "Nothing else is read: all other bytes come in by the mapping, when they are touched.",
        ],
        Kind::Header { .. } => [
            "The ELF header was accepted: 64 bits, little-endian, x86_64, a shared object.",
            "e_phoff and e_phnum say where the program headers lie and how many there are.",
        ],
        Kind::ProgramHeader { .. } => [
            "A program header: a piece of the file, where it wants to be in memory, and with which rights.",
            "Only PT_LOADs are mapped; the other kinds point to something inside of them.",
        ],
        Kind::Planned { .. } => [
            "The PT_LOADs became a list of steps: map, zero, protect. Nothing has happened yet.",
            "All addresses in the plan are relative; where the object goes is for the kernel to say.",
        ],
        Kind::Reserve { .. } => [
            "mmap(2) of address space for the whole object, without access to any of it.",
            "Its pieces refer to each other by distance, so all must be placed together.",
        ],
        Kind::MapWhole { .. } => [
            "mmap(2): address space for the whole object, with the file in it as the first segment wants it.",
            "The others are mapped over it. One call instead of two, where no gap between segments must stay closed.",
        ],
        Kind::Placed { .. } => [
            "The load bias B is decided: address minus p_vaddr, the same for every byte of the object.",
            "B + p_vaddr is where a thing is; that addition is most of what a loader does.",
        ],
        Kind::Map { .. } => [
            "mmap(2) of a segment's pages over the reservation (MAP_FIXED).",
            "MAP_PRIVATE: what is written goes to a copy of the page, never to the file.",
        ],
        Kind::MapZero { .. } => [
            "mmap(2) of pages that are zero: the part of the bss that begins on a page of its own.",
            "Variables without a start value take no room in the file.",
        ],
        Kind::Zero { .. } => [
            "The rest of the last page from the file is set to zero.",
            "The page came from the file whole, and behind the data the file has something else.",
        ],
        Kind::Protect { reason, .. } => match reason {
            ProtectReason::Plan => [
                "mprotect(2): a page that was writable only for its zeros gets its own rights.",
                "Zeros behind read-only data or code: the loader must write where the library never may.",
            ],
            ProtectReason::TextOpen => [
                "mprotect(2): relocations will write into these pages, so they become writable (DT_TEXTREL).",
                "Not executable meanwhile: nothing is ever writable and executable at once.",
            ],
            ProtectReason::TextShut => [
                "mprotect(2): the relocations are done, and the pages get their own rights again.",
                "They were changed, so other processes cannot share them any more.",
            ],
            ProtectReason::Relro => [
                "mprotect(2): what only relocations had to write becomes read-only (PT_GNU_RELRO).",
                "The GOT leads to functions; whoever could write there could choose what is called.",
            ],
            ProtectReason::Abandoned => [
                "mprotect(2): munmap was refused, so the range is at least made inaccessible.",
                "The next request tries again to unmap it.",
            ],
        },
        Kind::Populate { .. } => [
            "madvise(2): the page faults of a range of pages are taken at once.",
            "Nearly each of them will be written to; asked for together, a page costs half. What stands in them stays.",
        ],
        Kind::DynamicEntry { .. } => [
            "An entry of the dynamic section: a tag, and a number or an address.",
            "It leads to everything else: names, symbols, relocations, constructors.",
        ],
        Kind::Tables { .. } => [
            "The tables were checked: each lies inside one segment, so no search can run off its end.",
            "The hash table also tells how many symbols there are; no entry of the dynamic section does.",
        ],
        Kind::Needed { .. } => [
            "A DT_NEEDED was settled: it means this object.",
            "Adopted: in the process before. New: mapped by this load. Shared: somebody here needed it already.",
        ],
        Kind::Version { .. } => [
            "The library was linked with this version of a dependency; is it there?",
            "Better to refuse now than to fail at the first symbol that is missing.",
        ],
        Kind::Scope { .. } => [
            "Where symbols are looked for, in this order: the first definition wins.",
            "First what the program started with, then the opened library and its dependencies.",
        ],
        Kind::Pass { .. } => [
            "A pass over the relocations of all new objects, dependencies first.",
            "Pass 1 needs none of their code; pass 2 asks their IFUNC resolvers, functions that choose a function.",
        ],
        Kind::Lookup { .. } => [
            "A symbol was looked for by name and version, object by object.",
            "In each a bloom filter comes first: one look at memory, and most answer \"certainly not here\".",
        ],
        Kind::Relocation { .. } => [
            "A relocation: this word gets the result of this formula.",
            "B is the load bias, S the symbol's address, A the entry's addend, P the place, Z the symbol's size.",
        ],
        Kind::Deferred { .. } => [
            "The value is for an IFUNC resolver of a new object to say, so it waits for pass 2.",
            "The resolver may use slots of its own library that are not filled yet.",
        ],
        Kind::LazyGot { .. } => [
            "Calls into other libraries wait for their first time, so the PLT must find the way to the loader.",
            "GOT[1] says whose call it is, GOT[2] where to jump; GOT[0] is the file's own.",
        ],
        Kind::LeftForCall { .. } => [
            "This function is not looked up now: its slot points back into the PLT.",
            "The code there pushes the number of the relocation and asks the loader.",
        ],
        Kind::FirstCall { .. } => [
            "A function was called for the first time, through a slot that is not bound yet.",
            "From the second call on the slot leads straight to the function.",
        ],
        Kind::Relocated { .. } => [
            "Every relocation of the object that this pass can do is done.",
            "A symbol that several relocations in a row name was looked for once.",
        ],
        Kind::Store { .. } => [
            "A word of memory was written: what stood there, and what stands there now.",
            "For a private page the first store makes the kernel copy it.",
        ],
        Kind::StaticTls { .. } => [
            "The library's code wants its thread-local variables at a fixed distance from the thread pointer.",
            "So it gets a part of the arena that every thread has had since its start (initial exec).",
        ],
        Kind::InstallTls { .. } => [
            "The first values of those variables were written into every running thread.",
            "They also went into the template from which the C library fills the threads to come.",
        ],
        Kind::Publish { .. } => [
            "The new objects are part of the namespace: other loads may find them.",
            "Until here a failure would have undone everything.",
        ],
        Kind::RegisterFrames { .. } => [
            "The unwinder was told where the object's unwind tables are.",
            "Otherwise no exception and no backtrace would find its way through the object's code.",
        ],
        Kind::Order { .. } => [
            "The order in which objects get their constructors (or destructors) called.",
            "What an object needs is started before it, and stopped after it.",
        ],
        Kind::Call { purpose, .. } => match purpose {
            Purpose::Init | Purpose::InitArray(_) => [
                "A constructor is called: from here on code of the library runs.",
                "It gets argc, argv and envp, as main does.",
            ],
            Purpose::Fini | Purpose::FiniArray(_) => [
                "A destructor is called, while everything that it may use is still there.",
                "DT_FINI_ARRAY from the last to the first, then DT_FINI: the constructors' order reversed.",
            ],
            Purpose::Resolver => [
                "An IFUNC resolver is asked: which function suits this processor?",
                "So code of the library that has it runs before the relocations are done.",
            ],
        },
        Kind::Return { .. } => [
            "The code that was called has returned.",
            "A resolver returns the address of the function that suits this processor.",
        ],
        Kind::Changed { .. } => [
            "The code that was called has changed these bytes of an object.",
            "Not the loader's doing: it compared the object's memory before and after the call.",
        ],
        Kind::Release { .. } => [
            "One use of the library ended; it stays as long as there is another.",
            "Opening twice gives the same object, so it must be closed twice.",
        ],
        Kind::Unneeded { .. } => [
            "Nothing refers to these objects any more, so their destructors run.",
            "An object that others need, or are bound to, stays.",
        ],
        Kind::Unmap { .. } => {
            ["munmap(2): the address space goes back to the kernel.", "A pointer into it is now a pointer to nothing."]
        }
        Kind::Host { .. } => [
            "The objects that the system's loader mapped when this program started.",
            "The way in is the debugger's: _r_debug and its list of link_maps.",
        ],
        Kind::Adopt { .. } => [
            "An object of the host is used as it is: its bias, and its thread-local block.",
            "It is only read; nothing of it is changed or unmapped.",
        ],
    }
}

/// What a relocation of this type is for.
pub fn of_relocation(kind: &str) -> &'static str {
    match kind {
        "R_X86_64_NONE" => "nothing to do",
        "R_X86_64_64" => "a pointer to a named symbol, in data",
        "R_X86_64_PC32" => "the distance from here to a symbol",
        "R_X86_64_GLOB_DAT" => "the address of a variable or function, in the GOT",
        "R_X86_64_JUMP_SLOT" => "a call through the PLT lands here",
        "R_X86_64_RELATIVE" | "R_X86_64_RELATIVE64" => "this word holds an address inside the library",
        "R_X86_64_32" => "the address of a symbol, in 32 bits",
        "R_X86_64_COPY" => "a variable that moves into the program; a library cannot have it",
        "R_X86_64_DTPMOD64" => "which module has the thread-local variable",
        "R_X86_64_DTPOFF64" => "where in its module's block the thread-local variable is",
        "R_X86_64_TPOFF64" => "how far from the thread pointer the thread-local variable is",
        "R_X86_64_SIZE32" | "R_X86_64_SIZE64" => "the size of a symbol",
        "R_X86_64_TLSDESC" => "a function that finds the thread-local variable, and its argument",
        "R_X86_64_IRELATIVE" => "what the library's own IFUNC resolver answers",
        _ => "",
    }
}

/// A theme of the dynamic section, and its tags in the order to tell them.
pub const DYNAMIC: [(&str, &[&str]); 11] = [
    ("its name", &["DT_SONAME"]),
    ("needs", &["DT_NEEDED"]),
    ("searches for them in", &["DT_RPATH", "DT_RUNPATH"]),
    ("names", &["DT_STRTAB", "DT_STRSZ"]),
    ("symbols", &["DT_SYMTAB", "DT_SYMENT"]),
    ("how to find them", &["DT_GNU_HASH", "DT_HASH"]),
    ("their versions", &["DT_VERSYM", "DT_VERDEF", "DT_VERDEFNUM", "DT_VERNEED", "DT_VERNEEDNUM"]),
    ("relocations", &["DT_RELA", "DT_RELASZ", "DT_RELAENT", "DT_RELACOUNT", "DT_RELR", "DT_RELRSZ", "DT_RELRENT"]),
    ("calls to others (PLT)", &["DT_JMPREL", "DT_PLTRELSZ", "DT_PLTREL", "DT_PLTGOT"]),
    ("start and stop", &["DT_INIT", "DT_INIT_ARRAY", "DT_INIT_ARRAYSZ", "DT_FINI", "DT_FINI_ARRAY", "DT_FINI_ARRAYSZ"]),
    ("wishes", &["DT_FLAGS", "DT_FLAGS_1", "DT_SYMBOLIC", "DT_TEXTREL", "DT_BIND_NOW"]),
];

#[cfg(test)]
mod tests;

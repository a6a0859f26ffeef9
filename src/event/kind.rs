//! The kinds of event, in the order in which a load meets them.

use super::*;

/// What happened. In JSON the kind is the field `event`, in snake case.
#[derive(Clone, Debug)]
#[cfg_attr(feature = "serde", derive(serde::Serialize), serde(tag = "event", rename_all = "snake_case"))]
pub enum Kind {
    // ── a request, from its first event to its last ──────────────────────────────────────────────
    /// A request begins.
    Begin {
        /// What was asked for.
        request: Asked,
        /// The library or symbol, as the caller named it.
        name: String,
        /// On whose behalf it is searched: the object whose `RPATH` or `RUNPATH` count.
        caller: Option<Tag>,
    },
    /// The request is over.
    End {
        /// The first line of the error, if it failed.
        error: Option<String>,
    },

    /// Here a load would end. This one is only inspected ([`Loader::inspect`](crate::Loader::inspect)): it goes on
    /// without what it could not have.
    Fault {
        /// Why.
        error: Arc<crate::error::Error>,
    },

    // ── 1 find ───────────────────────────────────────────────────────────────────────────────────
    /// The name is already known in this namespace or in the host: nothing is opened.
    Known {
        /// The name asked for.
        name: String,
        /// What told that it is the same.
        by: SameBy,
    },
    /// A search begins: what for.
    Search {
        /// The name.
        name: String,
        /// The object whose `DT_NEEDED` has it; `None` if the user asked for it.
        needed_by: Option<Tag>,
    },
    /// The list of directories of one rule, before they are tried; of the cache, the paths that it has.
    Rule {
        /// The rule.
        rule: Rule,
        /// Its directories in order, after `$ORIGIN` and the like were replaced. Empty: the rule gives none.
        dirs: Vec<String>,
    },
    /// A path was tried.
    Try {
        /// The path.
        path: String,
        /// The rule that named it.
        rule: Rule,
        /// What came of it.
        outcome: Outcome,
    },
    /// `openat(2)`, for a library or the cache.
    Open {
        /// The path as given to the kernel.
        path: String,
        /// The descriptor, or the name of the error.
        fd: Result<i32, String>,
    },
    /// `fstat(2)`: tells the length of the file and its identity.
    Stat {
        /// The descriptor.
        fd: i32,
        /// Device number.
        device: u64,
        /// Inode number.
        inode: u64,
        /// Length in bytes.
        length: u64,
    },
    /// `memfd_create(2)`: a file without a name, for a library that was given as bytes.
    MemoryFile {
        /// The name shown in `/proc/self/maps`.
        name: String,
        /// The descriptor.
        fd: i32,
        /// How many bytes were written to it.
        length: u64,
    },
    /// `mmap(2)`: the cache of ld.so as a read-only view.
    View {
        /// Where.
        address: Addr,
        /// How much, in bytes.
        length: u64,
        /// The descriptor.
        fd: i32,
    },
    /// `close(2)`.
    CloseFile {
        /// The descriptor.
        fd: i32,
    },

    // ── 2 read ───────────────────────────────────────────────────────────────────────────────────
    /// `pread64(2)`: bytes of the headers.
    Read {
        /// The descriptor.
        fd: i32,
        /// From where in the file.
        offset: FileOffset,
        /// How many bytes were asked for.
        asked: u64,
        /// How many came.
        got: u64,
    },
    /// The file header was accepted.
    Header {
        /// `e_type`, `ET_DYN`.
        e_type: String,
        /// `e_machine`, `EM_X86_64`.
        e_machine: String,
        /// Where the program headers lie.
        e_phoff: FileOffset,
        /// How many there are.
        e_phnum: u16,
        /// Length of the file in bytes.
        file_length: u64,
    },
    /// One program header, as read.
    ProgramHeader {
        /// Its name: `PT_LOAD`.
        name: &'static str,
        /// Where it stands in the file.
        header_offset: FileOffset,
        /// Its fields.
        #[cfg_attr(feature = "serde", serde(flatten))]
        segment: Segment,
    },

    // ── 3 plan ───────────────────────────────────────────────────────────────────────────────────
    /// What will be mapped where, before anything is.
    Planned {
        /// The steps.
        plan: Arc<Plan>,
    },

    // ── 4 map: effects on memory ─────────────────────────────────────────────────────────────────
    /// `mmap(2)`: address space for the whole object, without access.
    Reserve {
        /// Where the kernel put it.
        address: Addr,
        /// How much, in bytes.
        length: u64,
    },
    /// `mmap(2)`: address space for the whole object, filled with the file as its first segment wants it.
    MapWhole {
        /// Where the kernel put it.
        address: Addr,
        /// How much, in bytes.
        length: u64,
        /// With which rights.
        prot: Prot,
        /// The descriptor.
        fd: i32,
        /// From where in the file.
        offset: FileOffset,
    },
    /// The load bias is decided: every `p_vaddr` of this object plus this is an address.
    Placed {
        /// `B`.
        bias: Bias,
        /// The first byte of the span that the object uses.
        address: Addr,
        /// Its length in bytes.
        length: u64,
    },
    /// `mmap(2)`: pages of the file over the reservation.
    Map {
        /// Where.
        address: Addr,
        /// How much, in bytes.
        length: u64,
        /// With which rights.
        prot: Prot,
        /// The descriptor.
        fd: i32,
        /// From where in the file.
        offset: FileOffset,
        /// Its pages were made the process's own at once: they will be written to.
        populate: bool,
    },
    /// `mmap(2)`: zero pages over the reservation.
    MapZero {
        /// Where.
        address: Addr,
        /// How much, in bytes.
        length: u64,
        /// With which rights.
        prot: Prot,
    },
    /// Bytes set to zero by plain stores.
    Zero {
        /// Where.
        address: Addr,
        /// How much, in bytes.
        length: u64,
    },
    /// `madvise(2)`: pages that are about to be written to are made the process's own at once. Their content stays.
    Populate {
        /// Where.
        address: Addr,
        /// How much, in bytes.
        length: u64,
        /// Why the kernel refused, if it did; the pages then come one by one.
        error: Option<String>,
    },
    /// `mprotect(2)`.
    Protect {
        /// Where.
        address: Addr,
        /// How much, in bytes.
        length: u64,
        /// The rights from now on.
        prot: Prot,
        /// Why.
        reason: ProtectReason,
    },

    // ── 5 dynamic ────────────────────────────────────────────────────────────────────────────────
    /// One entry of the dynamic section.
    DynamicEntry {
        /// Where it stands.
        vaddr: Vaddr,
        /// `DT_NEEDED`, `DT_SYMTAB`, … or the number of an unknown one.
        tag: String,
        /// `d_val` or `d_ptr`, as it stands there.
        value: Word,
        /// The string that it names, for `DT_NEEDED`, `DT_SONAME`, `DT_RPATH`, `DT_RUNPATH`.
        text: Option<String>,
    },
    /// The symbol tables were checked and can be searched.
    Tables {
        /// Which hash tables there are: `DT_GNU_HASH`, `DT_HASH`.
        hash: &'static str,
        /// How many entries the dynamic symbol table has, as far as the hash table tells.
        symbols: u64,
        /// The versions that this object defines (`DT_VERDEF`).
        versions: Vec<String>,
    },

    // ── 6 needed ─────────────────────────────────────────────────────────────────────────────────
    /// A dependency was settled.
    Needed {
        /// The name in `DT_NEEDED`.
        name: String,
        /// The object that it means. In JSON `dependency`: `object` is whoever needs it.
        #[cfg_attr(feature = "serde", serde(rename = "dependency"))]
        object: Tag,
        /// How it came here.
        how: Arrival,
    },

    // ── 7 versions ───────────────────────────────────────────────────────────────────────────────
    /// A version that the object needs was looked for in its provider.
    Version {
        /// The version.
        version: String,
        /// The object that should have it.
        provider: Tag,
        /// What came of it.
        outcome: VersionOutcome,
    },

    // ── 8 relocate ───────────────────────────────────────────────────────────────────────────────
    /// The scope: where symbols are looked for, in this order.
    Scope {
        /// The objects that are there for everybody: start-up objects, then `RTLD_GLOBAL` ones.
        global: Vec<Tag>,
        /// The opened library and its dependencies, breadth first.
        local: Vec<Tag>,
    },
    /// A relocation pass begins.
    Pass {
        /// 1: what needs no code of a new library. 2: IFUNC resolvers.
        pass: u8,
        /// The objects in the order in which they are relocated.
        objects: Vec<Tag>,
    },
    /// A symbol was looked for.
    Lookup {
        /// Its name.
        name: String,
        /// The version asked for.
        version: Option<String>,
        /// The GNU hash of the name.
        hash: u32,
        /// The objects asked, in order, each with what its hash table said.
        candidates: Vec<Candidate>,
        /// What it was bound to; `None` where nothing defines it.
        found: Option<Binding>,
    },
    /// A relocation was computed. The [`Kind::Store`] (or [`Kind::Call`]) that follows carries it out.
    Relocation {
        /// `DT_RELA`, `DT_JMPREL` or `DT_RELR`.
        table: &'static str,
        /// Its place in the table, from 0.
        index: usize,
        /// Where the entry stands in the file.
        entry: FileOffset,
        /// `r_offset`: the slot.
        place: Vaddr,
        /// `R_X86_64_RELATIVE`, …
        kind: String,
        /// The formula of the psABI, in its letters.
        formula: &'static str,
        /// `r_info`'s symbol index, if not 0.
        symbol: Option<u32>,
        /// Its name.
        name: Option<String>,
        /// `B`.
        b: Bias,
        /// `S`, where the formula has it.
        s: Option<Word>,
        /// `A`.
        a: i64,
    },
    /// A relocation was put off to pass 2: it needs the answer of a loaded library's IFUNC resolver.
    Deferred {
        /// `DT_RELA` or `DT_JMPREL`.
        table: &'static str,
        /// Its place in the table, from 0.
        index: usize,
        /// `r_offset`: the slot.
        place: Vaddr,
        /// The object whose resolver must be asked.
        resolver_of: Tag,
    },
    /// The object's calls into others are left for their first time (`RTLD_LAZY`). The two [`Kind::Store`]s that
    /// follow put the way to the loader into the first words of its PLT's table.
    LazyGot {
        /// `DT_PLTGOT`: `GOT[0]`.
        place: Vaddr,
        /// `GOT[1]`: tells the loader whose call it is.
        word: Addr,
        /// `GOT[2]`: where such a call enters the loader.
        trampoline: Addr,
    },
    /// A `R_X86_64_JUMP_SLOT` is not looked up now: the [`Kind::Store`] that follows lets it point into the PLT,
    /// to the code that asks the loader.
    LeftForCall {
        /// Its place in `DT_JMPREL`, from 0.
        index: usize,
        /// Where the entry stands in the file.
        entry: FileOffset,
        /// `r_offset`: the slot.
        place: Vaddr,
        /// `r_info`'s symbol index.
        symbol: u32,
        /// Its name.
        name: Option<String>,
        /// `B`, which is added to the word that stands there.
        b: Bias,
    },
    /// Such a slot was called for the first time. The lookup follows, and the store of the function's address.
    FirstCall {
        /// The place of its relocation in `DT_JMPREL`, from 0.
        index: usize,
        /// `r_offset`: the slot.
        place: Vaddr,
        /// The symbol's name.
        name: String,
        /// Where the call will return to: behind the call instruction.
        from: Addr,
    },
    /// An object has been through a pass.
    Relocated {
        /// 1 or 2, as in [`Kind::Pass`].
        pass: u8,
        /// How often a symbol was asked for; relocations of one symbol that follow each other ask once.
        symbols: u64,
        /// Nanoseconds from each question to its answer, together; `None` unless the probe wants [`Detail::Lookups`].
        /// Reading the clock is part of it.
        looking_up: Option<u64>,
    },
    /// One word of memory was written.
    Store {
        /// Where.
        address: Addr,
        /// What stood there.
        before: Word,
        /// What stands there now.
        after: Word,
        /// How many bytes of them count: 4 or 8.
        size: u8,
    },

    // ── thread-local storage (runtime/tls) ───────────────────────────────────────────────────────
    /// A library got room in every thread's arena: its code wants its variables at a fixed distance from the
    /// thread pointer.
    StaticTls {
        /// Bytes from the thread pointer to its block; negative.
        offset: i64,
        /// `p_memsz` of `PT_TLS`.
        length: u64,
        /// `p_align` of `PT_TLS`.
        align: u64,
        /// Bytes of the arena that are left.
        left: u64,
    },
    /// The initial image of such a library was written into every thread.
    InstallTls {
        /// Bytes from the thread pointer to its block; negative.
        offset: i64,
        /// How many bytes.
        length: u64,
        /// Where it was written for threads to come: in the initial image of dlscope's own module.
        template: Addr,
        /// How many other threads were running.
        threads: usize,
    },

    // ── 10 publish ───────────────────────────────────────────────────────────────────────────────
    /// The objects are part of the namespace from here on.
    Publish {
        /// In the order of loading.
        objects: Vec<Tag>,
    },

    /// The object's unwind table was given to the unwinder (`__register_frame`).
    RegisterFrames {
        /// Where `.eh_frame` begins.
        address: Addr,
    },

    // ── 11 init, and every other call of foreign code ────────────────────────────────────────────
    /// The order of constructors or destructors.
    Order {
        /// The objects, first to run first.
        objects: Vec<Tag>,
    },
    /// Foreign code is about to be called.
    Call {
        /// Where.
        address: Addr,
        /// What for.
        purpose: Purpose,
    },
    /// It came back.
    Return {
        /// Where it had been called.
        address: Addr,
        /// What it returned, for a resolver.
        value: Option<Addr>,
    },

    /// Foreign code that was called has changed these bytes of an object. Follows its [`Kind::Return`].
    Changed {
        /// Where.
        address: Addr,
        /// What stood there before the call.
        before: Hex,
        /// What stands there now.
        after: Hex,
    },

    // ── close ────────────────────────────────────────────────────────────────────────────────────
    /// One use of a library ended.
    Release {
        /// How many opens of it are left.
        opens: usize,
    },
    /// These objects are needed by nothing any more.
    Unneeded {
        /// In the order of their destructors.
        objects: Vec<Tag>,
    },
    /// `munmap(2)`: the object, or a part of a reservation that alignment left over, is gone.
    Unmap {
        /// Where it was.
        address: Addr,
        /// How much, in bytes.
        length: u64,
        /// Why the kernel refused, if it did; the range was then made inaccessible.
        error: Option<String>,
    },

    // ── host ─────────────────────────────────────────────────────────────────────────────────────
    /// The objects that were in the process before are known from here on.
    Host {
        /// Those of start-up, in the order of the global scope.
        objects: Vec<Tag>,
    },
    /// Where an object of the host lies, and its thread-local block.
    Adopt {
        /// Its load bias.
        bias: Bias,
        /// Its first page.
        address: Addr,
        /// From there to the end of its last page, in bytes.
        length: u64,
        /// Bytes between the thread pointer and its TLS block below it, where it has a static one.
        tls_offset: Option<u64>,
    },
}

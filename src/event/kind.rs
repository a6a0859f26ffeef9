//! The kinds of event, in the order in which a load tells them.

use super::*;

/// What an event tells. In JSON the kind is the field `event`, in snake case.
#[derive(Clone, Debug)]
#[cfg_attr(feature = "serde", derive(serde::Serialize), serde(tag = "event", rename_all = "snake_case"))]
#[non_exhaustive]
pub enum Kind {
    // ── a request, from its first event to its last ──────────────────────────────────────────────
    /// A request begins.
    Begin {
        /// What was asked for.
        request: Asked,
        /// The library or symbol, as the caller named it.
        name: String,
        /// The object whose `DT_RPATH` and `DT_RUNPATH` count in the search.
        caller: Option<Tag>,
    },
    /// The request has ended.
    End {
        /// The first line of the error, if the request failed.
        error: Option<String>,
    },

    /// A load would end here. This one is only inspected ([`Loader::inspect`](crate::Loader::inspect)), so it
    /// goes on without what is missing.
    Fault {
        /// Why the load would end.
        error: Arc<crate::error::Error>,
    },

    // ── 1 find ───────────────────────────────────────────────────────────────────────────────────
    /// The name means an object that is already here, in this namespace or in the host. No file is opened.
    Known {
        /// The name asked for.
        name: String,
        /// How that was recognised.
        by: SameBy,
    },
    /// The search for a file begins.
    Search {
        /// The name.
        name: String,
        /// The object whose `DT_NEEDED` has the name; `None` if the user asked for it.
        needed_by: Option<Tag>,
    },
    /// The directories that one rule gives, before they are tried. For the cache: the paths that it has for
    /// the name.
    Rule {
        /// The rule.
        rule: Rule,
        /// The directories in order, after `$ORIGIN` and the like were replaced. Empty if the rule gives
        /// none.
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
        /// The path, as given to the kernel.
        path: String,
        /// The descriptor, or the name of the error.
        fd: Result<i32, String>,
    },
    /// `fstat(2)`: the length of the file and its identity.
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
        /// The name that `/proc/self/maps` shows.
        name: String,
        /// The descriptor.
        fd: i32,
        /// How many bytes were written to it.
        length: u64,
    },
    /// `mmap(2)` of a file that the loader itself reads: `/etc/ld.so.cache`, or the part of a library that has tables
    /// in a writable segment.
    View {
        /// The address of the first byte.
        address: Addr,
        /// The length in bytes.
        length: u64,
        /// The descriptor.
        fd: i32,
        /// The place in the file of the first byte.
        offset: FileOffset,
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
        /// The place in the file.
        offset: FileOffset,
        /// How many bytes were asked for.
        asked: u64,
        /// How many bytes came.
        got: u64,
    },
    /// The file header was checked and accepted.
    Header {
        /// `e_type`, `ET_DYN`.
        e_type: String,
        /// `e_machine`, `EM_X86_64`.
        e_machine: String,
        /// Where the program headers lie.
        e_phoff: FileOffset,
        /// How many program headers there are.
        e_phnum: u16,
        /// Length of the file in bytes.
        file_length: u64,
    },
    /// One program header, as read.
    ProgramHeader {
        /// The name of its type: `PT_LOAD`.
        name: &'static str,
        /// Where the program header stands in the file.
        header_offset: FileOffset,
        /// Its fields.
        #[cfg_attr(feature = "serde", serde(flatten))]
        segment: Segment,
    },

    // ── 3 plan ───────────────────────────────────────────────────────────────────────────────────
    /// The mapping steps are decided; none is taken yet.
    Planned {
        /// The steps.
        plan: Arc<Plan>,
    },

    // ── 4 map: effects on memory ─────────────────────────────────────────────────────────────────
    /// `mmap(2)` that reserves the addresses of the whole object, without access.
    Reserve {
        /// Where the kernel put it.
        address: Addr,
        /// The length in bytes.
        length: u64,
    },
    /// `mmap(2)` of the file over the whole object, as its first segment wants it.
    MapWhole {
        /// Where the kernel put it.
        address: Addr,
        /// The length in bytes.
        length: u64,
        /// The access rights.
        prot: Prot,
        /// The descriptor.
        fd: i32,
        /// The place in the file.
        offset: FileOffset,
    },
    /// The load bias is decided: a `p_vaddr` of this object plus the bias is an address.
    Placed {
        /// `B`.
        bias: Bias,
        /// The first byte of the span that the object uses.
        address: Addr,
        /// Its length in bytes.
        length: u64,
    },
    /// `mmap(2)` of pages of the file over the reservation.
    Map {
        /// The address of the first byte.
        address: Addr,
        /// The length in bytes.
        length: u64,
        /// The access rights.
        prot: Prot,
        /// The descriptor.
        fd: i32,
        /// The place in the file.
        offset: FileOffset,
        /// Whether its pages were copied for this process at once, because they will be written to.
        populate: bool,
    },
    /// `mmap(2)` of zero pages over the reservation.
    MapZero {
        /// The address of the first byte.
        address: Addr,
        /// The length in bytes.
        length: u64,
        /// The access rights.
        prot: Prot,
    },
    /// Bytes are set to zero by plain stores.
    Zero {
        /// The address of the first byte.
        address: Addr,
        /// The length in bytes.
        length: u64,
    },
    /// `madvise(2)`: the pages of a range that will be written to are copied for this process at once. Their
    /// bytes stay.
    Populate {
        /// The address of the first byte.
        address: Addr,
        /// The length in bytes.
        length: u64,
        /// Why the kernel refused, if it did. Each page is then copied at its first write.
        error: Option<String>,
    },
    /// `mprotect(2)`.
    Protect {
        /// The address of the first byte.
        address: Addr,
        /// The length in bytes.
        length: u64,
        /// The new rights.
        prot: Prot,
        /// Why the rights are changed.
        reason: ProtectReason,
    },

    // ── 5 dynamic ────────────────────────────────────────────────────────────────────────────────
    /// One entry of the dynamic section.
    DynamicEntry {
        /// Where the entry stands.
        vaddr: Vaddr,
        /// The tag by name, or as a number if it is unknown.
        tag: String,
        /// `d_val` or `d_ptr`, as it stands in the entry.
        value: Word,
        /// The string that the value is an offset of, for `DT_NEEDED`, `DT_SONAME`, `DT_RPATH`, `DT_RUNPATH`.
        text: Option<String>,
    },
    /// The symbol tables are checked, and can be searched.
    Tables {
        /// The hash tables that the object has: `DT_GNU_HASH`, `DT_HASH`.
        hash: &'static str,
        /// How many symbols the object has, as far as the hash table tells.
        symbols: u64,
        /// The versions that this object defines (`DT_VERDEF`).
        versions: Vec<String>,
    },

    // ── 6 needed ─────────────────────────────────────────────────────────────────────────────────
    /// One `DT_NEEDED` is settled.
    Needed {
        /// The name in `DT_NEEDED`.
        name: String,
        /// The object that the name means. In JSON this is `dependency`, because `object` is the one that
        /// needs it.
        #[cfg_attr(feature = "serde", serde(rename = "dependency"))]
        object: Tag,
        /// How that object came here.
        how: Arrival,
    },

    // ── 7 versions ───────────────────────────────────────────────────────────────────────────────
    /// A version that the object needs was looked for in its provider.
    Version {
        /// The version.
        version: String,
        /// The object that should define the version.
        provider: Tag,
        /// What came of it.
        outcome: VersionOutcome,
    },

    // ── 8 relocate ───────────────────────────────────────────────────────────────────────────────
    /// The objects in which symbols are looked for, in order.
    Scope {
        /// Everybody's objects: those of start-up, then those opened with `RTLD_GLOBAL`.
        global: Vec<Tag>,
        /// The opened library and its dependencies, breadth first.
        local: Vec<Tag>,
    },
    /// A relocation pass begins.
    Pass {
        /// 1: relocations that need no code of a new library. 2: those that need an IFUNC resolver.
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
        /// The objects that were searched, in order, each with what its hash table said.
        candidates: Vec<Candidate>,
        /// The definition; `None` if no object has one.
        found: Option<Binding>,
    },
    /// A relocation was computed. The [`Kind::Store`] (or [`Kind::Call`]) that follows carries it out.
    Relocation {
        /// `DT_RELA`, `DT_JMPREL` or `DT_RELR`.
        table: &'static str,
        /// The number of the entry in the table, from 0.
        index: usize,
        /// Where the entry stands in the file.
        entry: FileOffset,
        /// `r_offset`: the slot.
        place: Vaddr,
        /// `R_X86_64_RELATIVE`, …
        kind: String,
        /// The formula, in the letters of the psABI.
        formula: &'static str,
        /// `r_info`'s symbol index, if not 0.
        symbol: Option<u32>,
        /// Its name.
        name: Option<String>,
        /// `B`.
        b: Bias,
        /// `S`, if the formula has it.
        s: Option<Word>,
        /// `A`.
        a: i64,
    },
    /// A relocation waits for pass 2, because it needs the answer of an IFUNC resolver of a new library.
    Deferred {
        /// `DT_RELA` or `DT_JMPREL`.
        table: &'static str,
        /// The number of the entry in the table, from 0.
        index: usize,
        /// `r_offset`: the slot.
        place: Vaddr,
        /// The object whose resolver must be called.
        resolver_of: Tag,
    },
    /// The functions that the object calls in others will be looked up at their first call (`RTLD_LAZY`). The
    /// two [`Kind::Store`]s that follow write the way into the loader to `GOT[1]` and `GOT[2]`.
    LazyGot {
        /// `DT_PLTGOT`: `GOT[0]`.
        place: Vaddr,
        /// `GOT[1]`: tells the loader which object is calling.
        word: Addr,
        /// `GOT[2]`: the address at which such a call enters the loader.
        trampoline: Addr,
    },
    /// An `R_X86_64_JUMP_SLOT` is not looked up now. The [`Kind::Store`] that follows lets the slot point
    /// into the PLT, to the code that enters the loader.
    LeftForCall {
        /// The number of the entry in `DT_JMPREL`, from 0.
        index: usize,
        /// Where the entry stands in the file.
        entry: FileOffset,
        /// `r_offset`: the slot.
        place: Vaddr,
        /// `r_info`'s symbol index.
        symbol: u32,
        /// Its name.
        name: Option<String>,
        /// `B`, which is added to the word in the slot.
        b: Bias,
    },
    /// A function whose slot was left is called for the first time. The lookup follows, and the store of the
    /// function's address.
    FirstCall {
        /// The number of its relocation in `DT_JMPREL`, from 0.
        index: usize,
        /// `r_offset`: the slot.
        place: Vaddr,
        /// The symbol's name.
        name: String,
        /// The address that the call will return to, behind the call instruction.
        from: Addr,
    },
    /// A relocation pass is done for one object.
    Relocated {
        /// 1 or 2, as in [`Kind::Pass`].
        pass: u8,
        /// How often a symbol was looked for. Relocations of one symbol that follow each other count once.
        symbols: u64,
        /// How many nanoseconds all these lookups took, the reading of the clock included. `None` unless the
        /// probe wants [`Detail::Lookups`].
        looking_up: Option<u64>,
    },
    /// A word of memory was written.
    Store {
        /// The address of the word.
        address: Addr,
        /// The word that stood there before.
        before: Word,
        /// The word that stands there now.
        after: Word,
        /// How many bytes were written: 4 or 8.
        size: u8,
    },

    // ── thread-local storage (runtime/tls) ───────────────────────────────────────────────────────
    /// A library got a place in every thread's arena, because its code expects its variables at a fixed
    /// distance from the thread pointer.
    StaticTls {
        /// Bytes from the thread pointer to its block; negative.
        offset: i64,
        /// `p_memsz` of `PT_TLS`.
        length: u64,
        /// `p_align` of `PT_TLS`.
        align: u64,
        /// How many bytes of the arena are left.
        left: u64,
    },
    /// The initial image of such a library was written into the arena of every thread.
    InstallTls {
        /// Bytes from the thread pointer to its block; negative.
        offset: i64,
        /// How many bytes.
        length: u64,
        /// Where it was written for threads that are yet to be made: in the initial image of dlscope's own
        /// module.
        template: Addr,
        /// How many other threads stood in the lists of glibc: those that run, that begin, and that ended and were not
        /// joined.
        threads: usize,
    },

    // ── 10 publish ───────────────────────────────────────────────────────────────────────────────
    /// The new objects are members of the namespace from here on.
    Publish {
        /// The objects, in the order of loading.
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
        /// The address that is called.
        address: Addr,
        /// What for.
        purpose: Purpose,
    },
    /// The foreign code returned.
    Return {
        /// The address that was called.
        address: Addr,
        /// What a resolver returned; `None` for other code.
        value: Option<Addr>,
    },

    /// Foreign code that was called has changed these bytes of an object. This follows the call's
    /// [`Kind::Return`].
    Changed {
        /// The address of the first byte.
        address: Addr,
        /// The bytes before the call.
        before: Hex,
        /// The bytes after the call.
        after: Hex,
    },

    // ── close ────────────────────────────────────────────────────────────────────────────────────
    /// One use of a library ended.
    Release {
        /// How many uses of it are left.
        opens: usize,
    },
    /// The last use of a library ended, and it stays nevertheless.
    Stays {
        /// Why.
        why: Stay,
    },
    /// Nothing needs these objects any more.
    Unneeded {
        /// The objects, in the order of their destructors.
        objects: Vec<Tag>,
    },
    /// `munmap(2)` of an object, or of a part of a reservation that alignment left over.
    Unmap {
        /// Where it was.
        address: Addr,
        /// The length in bytes.
        length: u64,
        /// Why the kernel refused, if it did. The range is then made inaccessible.
        error: Option<String>,
    },

    // ── host ─────────────────────────────────────────────────────────────────────────────────────
    /// The objects that were in the process before are known from here on.
    Host {
        /// The objects of start-up, in the order of the global scope.
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
        /// How many bytes its thread-local block lies below the thread pointer, if it has a static one.
        tls_offset: Option<u64>,
    },
}

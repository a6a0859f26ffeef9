//! One mapped ELF file: ours or the host's.

use std::ffi::{CString, OsStr, OsString, c_char};
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::ptr;
use std::sync::atomic::AtomicUsize;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use goblin::elf64::program_header::ProgramHeader;
use goblin::elf64::reloc::Rela;

use crate::elf::addr::{Bias, FileOffset, Vaddr, Word};
use crate::elf::dynamic::{Dynamic, Entry, SIZEOF_DYN};
use crate::elf::gnu_hash::GnuHash;
use crate::elf::image::{Image, Segment};
use crate::elf::plan::Plan;
use crate::elf::symbol::SymbolTable;
use crate::error::{ErrorKind, Result};
use crate::event::{Kind, Probe, Report, Request, Silent, Stage, Tag};
use crate::link::search::{self, OpenFile};
use crate::lock::made_once;
use crate::memory::Memory;
use crate::runtime::{gdb, lazy, tls, unwind};

mod tables;
mod wants;
use tables::Tables;
use wants::string;
pub(crate) use wants::{SearchPaths, Wants};

/// Device and inode: what makes two names the same file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct FileId {
    pub device: u64,
    pub inode: u64,
}

/// The beginning of glibc's `struct link_map`, which callers of `dlopen` expect behind a handle (`<link.h>`).
#[repr(C)]
pub(crate) struct LinkMap {
    pub l_addr: u64,
    pub l_name: *const c_char,
    pub l_ld: u64,
    pub l_next: *mut LinkMap,
    pub l_prev: *mut LinkMap,
}

/// What a handle of one of our objects points to.
struct Handle {
    map: LinkMap,
    /// What `map.l_name` points to.
    name: CString,
}

impl Handle {
    fn new(path: &OsStr, bias: Bias, section: Vaddr) -> Box<Handle> {
        let name = CString::new(path.as_bytes()).unwrap_or_default();
        let (l_addr, l_name, l_ld) = (bias.0, name.as_ptr(), (bias + section).0);
        let map = LinkMap { l_addr, l_name, l_ld, l_next: ptr::null_mut(), l_prev: ptr::null_mut() };
        Box::new(Handle { map, name })
    }
}

/// What only objects have that the system's loader mapped.
#[derive(Clone, Copy, Debug)]
pub(crate) struct HostPart {
    /// In the process when our start-up code ran, so in everybody's scope.
    pub startup: bool,
    /// The executable.
    pub program: bool,
    /// glibc's own `link_map` of it.
    pub link_map: usize,
}

/// One ELF file in memory with its tables checked. Never changes once it is built, except for its memory.
pub(crate) struct Object {
    pub tag: Tag,
    /// Where it was found, if that is more than the text of its tag can say.
    odd_path: Option<OsString>,
    pub file: Option<FileId>,
    pub image: Image,
    pub dynamic: Dynamic,
    pub soname: Option<Arc<str>>,
    wants: OnceLock<Wants>,
    pub host: Option<HostPart>,
    /// Its unwind table, while the unwinder knows it.
    pub frames: Mutex<Option<unwind::Registered>>,
    /// Its thread-local variables, if it is ours and has some.
    pub tls: Option<tls::Owned>,
    /// Destructors of thread-local variables that wait for the end of their thread: they keep the object here.
    pub thread_destructors: AtomicUsize,
    /// What the first calls of its lazily bound functions need, if there are any.
    pub lazy: OnceLock<Box<lazy::Binder>>,
    /// What its TLS descriptors point to.
    descriptors: Mutex<Vec<tls::Argument>>,
    tables: Tables,
    /// Dropped before its name and its memory.
    _debugger: Option<gdb::Told>,
    /// `None`: the system's loader has made one.
    handle: Option<Box<Handle>>,
    /// Dropped last: `tables` refer to it.
    pub memory: Memory,
}

// SAFETY: the raw pointers are `handle.map.l_name` (its own string) and the unused list links; nothing writes
// through them. Tables are read-only.
unsafe impl Send for Object {}
// SAFETY: as above.
unsafe impl Sync for Object {}

impl Object {
    /// Stages 3 to 5: plan, map, dynamic. The file is closed once it is mapped.
    pub(crate) fn load<P: Probe + ?Sized>(
        file: OpenFile,
        loaded_by: Option<&Object>,
        probe: Option<Arc<dyn Probe>>,
        report: Report<'_, P>,
    ) -> Result<Object> {
        let OpenFile { path, fd, id, image } = file;
        let tag = Tag::new(&path.to_string_lossy());
        let name = tag.name.clone();
        let at = |stage| {
            let name = &*name;
            move |kind: ErrorKind| kind.of(name, stage)
        };
        let mapped = {
            let report = report.about(&tag);
            plan(&image, report.at(Stage::Plan)).map_err(at(Stage::Plan)).and_then(|plan| {
                Memory::map(&plan, &image, fd.as_fd(), &tag, probe, report.at(Stage::Map)).map_err(at(Stage::Map))
            })
        };
        search::close(fd, report.at(Stage::Map).about(&tag));
        let built = tag.clone();
        let report = report.at(Stage::Dynamic).about(&built);
        Object::build(path, id, image, tag, mapped?, None, loaded_by, &Vaddr, report).map_err(at(Stage::Dynamic))
    }

    /// An object that the system's loader mapped.
    pub(crate) fn adopt(tag: Tag, path: OsString, bias: Bias, image: Image, host: HostPart) -> Result<Object> {
        let memory = Memory::of_host(bias, &image);
        let pointer = crate::elf::dynamic::host_pointer(bias, memory.span());
        let name = tag.name.clone();
        let silent = Request::current();
        Object::build(path, None, image, tag, memory, Some(host), None, &pointer, silent.report(&Silent, Stage::Host))
            .map_err(|kind| kind.of(&*name, Stage::Host))
    }

    #[expect(clippy::too_many_arguments, reason = "the two ways in, and nobody else, meet here")]
    fn build<P: Probe + ?Sized>(
        path: OsString,
        file: Option<FileId>,
        image: Image,
        tag: Tag,
        memory: Memory,
        host: Option<HostPart>,
        loaded_by: Option<&Object>,
        pointer: &dyn Fn(u64) -> Vaddr,
        report: Report<'_, P>,
    ) -> Result<Object, ErrorKind> {
        let section = image.dynamic().map_or(Vaddr(0), |s| s.vaddr);
        let dynamic = Dynamic::new(dynamic_entries(&image, &memory)?, section, pointer)?;
        let (tables, wants) = match host {
            // What the system's loader has accepted is looked at only when somebody asks.
            Some(_) => (Tables::of_host(&dynamic, &memory), OnceLock::new()),
            None => {
                let tables = Tables::new(&dynamic, &memory)?;
                check_code(&dynamic, &image)?;
                let symbols = tables.symbols(&dynamic, &memory);
                let string = |offset, field| string(symbols, offset, field, section);
                let wants = Wants::new(&dynamic, &string, &tag, &path, loaded_by)?;
                (tables, OnceLock::from(wants))
            }
        };
        let soname = match (dynamic.soname, host) {
            (None, _) => None,
            (Some(offset), Some(_)) => tables::host_string(&dynamic, &memory, offset),
            (Some(offset), None) => Some(string(tables.symbols(&dynamic, &memory), offset, "DT_SONAME", section)?),
        };
        if report.closely() {
            tell_entries(dynamic_entries(&image, &memory)?, section, tables.symbols(&dynamic, &memory), report);
        }
        let handle = host.is_none().then(|| Handle::new(&path, memory.bias(), section));
        let tls = match image.tls().filter(|_| host.is_none()) {
            Some(segment) => Some(thread_locals(segment, &image, &memory)?),
            None => None,
        };
        Ok(Object {
            _debugger: handle.as_ref().map(|handle| gdb::tell(&handle.name, memory.bias())),
            tls,
            frames: Mutex::default(),
            thread_destructors: AtomicUsize::new(0),
            lazy: OnceLock::new(),
            descriptors: Mutex::default(),
            odd_path: (path != *tag.name).then_some(path),
            tag,
            file,
            image,
            dynamic,
            soname,
            wants,
            host,
            tables,
            handle,
            memory,
        })
    }

    /// Where it was found.
    pub(crate) fn path(&self) -> &OsStr {
        self.odd_path.as_deref().unwrap_or(OsStr::new(&*self.tag.name))
    }

    /// What it says about other files.
    pub(crate) fn wants(&self) -> &Wants {
        made_once(&self.wants, || {
            // Only a host's object gets here: its strings alone are read, not the tables of its symbols.
            let string = |offset, _| Ok(tables::host_string(&self.dynamic, &self.memory, offset).unwrap_or_default());
            let program = self.host.filter(|h| h.program).map(|_| crate::host::program_path(true));
            let path = program.as_deref().unwrap_or(self.path());
            let wants = Wants::new(&self.dynamic, &string, &self.tag, path, None);
            wants.unwrap_or_default()
        })
    }

    /// Where names are found.
    #[inline]
    pub(crate) fn symbols(&self) -> &SymbolTable<'_> {
        self.tables.symbols(&self.dynamic, &self.memory)
    }

    /// Its newer hash table: what says "no" to most names.
    #[inline]
    pub(crate) fn gnu_hash(&self) -> Option<GnuHash<'_>> {
        self.tables.gnu
    }

    /// `DT_RELA`.
    pub(crate) fn rela(&self) -> &[Rela] {
        self.tables.rela
    }

    /// `DT_JMPREL`.
    pub(crate) fn jmprel(&self) -> &[Rela] {
        self.tables.jmprel
    }

    /// `DT_RELR`.
    pub(crate) fn relr(&self) -> &[u64] {
        self.tables.relr
    }

    /// How many relocations refer to a symbol, about: the linker says how many do not.
    pub(crate) fn reference_count(&self) -> usize {
        (self.rela().len() + self.jmprel().len()).saturating_sub(self.dynamic.relative_count as usize)
    }

    /// `B`.
    #[inline]
    pub(crate) fn bias(&self) -> Bias {
        self.memory.bias()
    }

    /// Keeps what a TLS descriptor points to as long as the object.
    pub(crate) fn keep_descriptor(&self, argument: Option<tls::Argument>) {
        self.descriptors.lock().unwrap_or_else(PoisonError::into_inner).extend(argument);
    }

    /// In the process before us.
    pub(crate) fn is_host(&self) -> bool {
        self.host.is_some()
    }

    /// In everybody's scope already.
    pub(crate) fn is_startup(&self) -> bool {
        self.host.is_some_and(|h| h.startup)
    }

    /// What a C caller of `dlopen` gets: points at a `link_map`.
    pub(crate) fn handle(&self) -> *const LinkMap {
        match (&self.handle, self.host) {
            (Some(handle), _) => &raw const handle.map,
            (None, Some(host)) => ptr::with_exposed_provenance(host.link_map),
            (None, None) => ptr::null(),
        }
    }

    /// Its program headers in memory, for those who ask as in C; empty where no segment holds them.
    pub(crate) fn program_headers(&self) -> &[ProgramHeader] {
        let length = usize::from(self.image.e_phnum) * size_of::<ProgramHeader>();
        let holds = |s: &&Segment| {
            s.offset <= self.image.e_phoff
                && self.image.e_phoff.0 + length as u64 <= s.offset.0 + s.filesz
                && s.flags.readable()
                && !s.flags.writable()
        };
        let Some(segment) = self.image.loads().find(holds) else { return &[] };
        let at = Vaddr(segment.vaddr.0 + (self.image.e_phoff.0 - segment.offset.0));
        // SAFETY: the slice is lent no longer than the object, which keeps the memory.
        let bytes = unsafe { self.memory.constant_tail(at) };
        bytes.and_then(|b| plain::slice_from_bytes(b.get(..length)?).ok()).unwrap_or_default()
    }

    /// Where in the file the byte at `at` came from.
    pub(crate) fn file_offset(&self, at: Vaddr) -> Option<FileOffset> {
        let holds = |s: &&Segment| at >= s.vaddr && at.0 - s.vaddr.0 < s.filesz;
        self.image.loads().find(holds).map(|s| FileOffset(at.0 - s.vaddr.0 + s.offset.0))
    }

    /// Every definition has an address; this is the object's own word for a library: path, else soname.
    pub(crate) fn label(&self) -> String {
        self.tag.name.to_string()
    }
}

fn plan<P: Probe + ?Sized>(image: &Image, report: Report<'_, P>) -> Result<Plan, ErrorKind> {
    refuse_executable_stack(image)?;
    let plan = Plan::new(image)?;
    report.tell(|| Kind::Planned { plan: Arc::new(plan.clone()) });
    Ok(plan)
}

fn refuse_executable_stack(image: &Image) -> Result<(), ErrorKind> {
    if !image.wants_executable_stack() {
        return Ok(());
    }
    Err(ErrorKind::Policy {
        what: "PT_GNU_STACK".into(),
        found: "p_flags RWX, an executable stack,".into(),
        reason: "it would make every stack of the process executable; relink with -z noexecstack, and give assembly files a .note.GNU-stack section".into(),
    })
}

/// `PT_DYNAMIC`, word by word: it lies in memory that relocations write to.
#[inline(never)] // a stage: see docs/gdb.md
fn dynamic_entries(image: &Image, memory: &Memory) -> Result<impl Iterator<Item = Entry>, ErrorKind> {
    let segment = image
        .dynamic()
        .ok_or_else(|| ErrorKind::malformed("PT_DYNAMIC", Vaddr(0), "none", "one", "gABI, \"Dynamic Section\""))?;
    let words = segment.vaddr.span(segment.memsz & !(SIZEOF_DYN - 1)).and_then(|range| memory.words(range));
    let mut words = words.ok_or_else(|| {
        let found = format!("{} with {:#x} bytes", segment.vaddr, segment.memsz);
        let rule = "the dynamic section is read from memory (gABI, \"Dynamic Section\")";
        ErrorKind::malformed("PT_DYNAMIC", segment.vaddr, found, "a range inside one readable PT_LOAD", rule)
    })?;
    let entries = std::iter::from_fn(move || Some(Entry { tag: words.next()?, value: words.next()? }));
    Ok(entries.take_while(|e| e.tag != 0))
}

/// Checks `PT_TLS`, and takes note of it.
fn thread_locals(segment: &Segment, image: &Image, memory: &Memory) -> Result<tls::Owned, ErrorKind> {
    let rule = "ELF Handling For Thread-Local Storage, \"Program Header\"";
    let bad = |field: &str, found: String, expected: &str| {
        Err(ErrorKind::malformed(format!("PT_TLS: {field}"), segment.vaddr, found, expected, rule))
    };
    if segment.filesz > segment.memsz {
        return bad("p_filesz", format!("{:#x}", segment.filesz), "at most p_memsz");
    }
    if segment.align > 1 && !segment.align.is_power_of_two() || segment.align > 1 << 20 {
        return bad("p_align", format!("{:#x}", segment.align), "a power of two up to 1 MiB");
    }
    if segment.memsz > 1 << 30 {
        return bad("p_memsz", format!("{:#x}", segment.memsz), "at most 1 GiB in every thread");
    }
    let holds = |s: &Segment| {
        segment.vaddr >= s.vaddr
            && s.flags.readable()
            && s.memsz - (segment.vaddr.0 - s.vaddr.0).min(s.memsz) >= segment.filesz
    };
    if segment.filesz > 0 && !image.loads().any(holds) {
        return bad("p_vaddr", segment.vaddr.to_string(), "an image inside one readable PT_LOAD");
    }
    Ok(tls::Module::register(segment, memory.bias() + segment.vaddr))
}

/// Constructors and destructors lie in executable memory of the object, their arrays inside a segment.
fn check_code(dynamic: &Dynamic, image: &Image) -> Result<(), ErrorKind> {
    let rule = "gABI, \"Initialization and Termination Functions\"";
    let holds = |s: &Segment, at: Vaddr, length: u64| {
        at >= s.vaddr && at.0 - s.vaddr.0 < s.memsz && s.memsz - (at.0 - s.vaddr.0) >= length
    };
    for (tag, at) in [("DT_INIT", dynamic.init), ("DT_FINI", dynamic.fini)] {
        if let Some(at) = at.filter(|&at| !image.loads().any(|s| s.flags.executable() && holds(s, at, 1))) {
            return Err(ErrorKind::malformed(tag, at, at, "an address in an executable PT_LOAD", rule));
        }
    }
    for (tag, array) in [("DT_INIT_ARRAY", dynamic.init_array), ("DT_FINI_ARRAY", dynamic.fini_array)] {
        if let Some(table) = array.filter(|t| !image.loads().any(|s| s.flags.readable() && holds(s, t.at, t.length))) {
            let found = format!("{} with {:#x} bytes", table.at, table.length);
            return Err(ErrorKind::malformed(tag, table.at, found, "a range inside one readable PT_LOAD", rule));
        }
    }
    Ok(())
}

fn tell_entries<P: Probe + ?Sized>(
    entries: impl Iterator<Item = Entry>,
    section: Vaddr,
    symbols: &SymbolTable<'_>,
    report: Report<'_, P>,
) {
    for (index, entry) in entries.enumerate() {
        report.tell_each(|| Kind::DynamicEntry {
            vaddr: Vaddr(section.0 + index as u64 * SIZEOF_DYN),
            tag: entry.tag_name(),
            value: Word(entry.value),
            text: entry
                .names_string()
                .then(|| symbols.string(entry.value).map(String::from_utf8_lossy))
                .flatten()
                .map(Into::into),
        });
    }
    report.tell(|| Kind::Tables {
        hash: symbols.hash_tables(),
        symbols: symbols.count().into(),
        versions: symbols.versions.defined.iter().map(|v| String::from_utf8_lossy(v.text).into_owned()).collect(),
    });
}

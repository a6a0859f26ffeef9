//! One mapped ELF file, ours or the host's, with its tables.
//!
//! What an object learns, and when:
//!
//! | what | an object of ours | an object of the host |
//! |---|---|---|
//! | program headers, dynamic section | when it is mapped | when it is first seen |
//! | symbols, hash tables, versions | when it is mapped, and every table is checked | when a name is looked for that the object may have |
//! | relocations | when it is mapped | never: the system's loader has applied them |
//! | `DT_NEEDED`, `DT_RPATH` and the like | when it is mapped | when they are first asked for |
//! | where files are looked for on its behalf | when it is mapped | when that is first asked for |

use std::ffi::{CStr, CString, OsStr, OsString, c_char};
use std::os::unix::ffi::OsStrExt;
use std::ptr;
use std::sync::atomic::AtomicUsize;
use std::sync::{Arc, OnceLock};

use goblin::elf64::program_header::{PT_NOTE, ProgramHeader};
use goblin::elf64::reloc::Rela;

use crate::elf::addr::{Bias, FileOffset, Vaddr};
use crate::elf::dynamic::{Dynamic, DynamicEntry, SIZEOF_DYN};
use crate::elf::gnu_hash::GnuHash;
use crate::elf::image::{Image, Segment};
use crate::elf::property::{PT_GNU_PROPERTY, isa_needed};
use crate::elf::symbol::SymbolTable;
use crate::error::{ErrorKind, Result, Where};
use crate::event::Tag;
use crate::lock::made_once;
use crate::memory::{Memory, Source};

mod tables;
mod wants;
use tables::{Segments, Tables};
use wants::string;
pub(crate) use wants::{SearchPaths, Wants};

/// Device and inode, by which two names are recognised as one file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct FileId {
    pub device: u64,
    pub inode: u64,
}

/// The beginning of glibc's `struct link_map`. C code that calls `dlopen` expects one behind the handle
/// (`<link.h>`).
#[repr(C)]
pub(crate) struct LinkMap {
    pub l_addr: u64,
    pub l_name: *const c_char,
    pub l_ld: u64,
    pub l_next: *mut LinkMap,
    pub l_prev: *mut LinkMap,
}

/// What the handle of an object that we mapped points to.
struct Handle {
    map: LinkMap,
    /// The string that `map.l_name` points to.
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

/// What only objects of the host have.
#[derive(Debug)]
pub(crate) struct HostPart {
    /// Whether the object was in the process when our start-up code ran. Then it is in everybody's scope.
    pub startup: bool,
    /// Whether it is the executable.
    pub program: bool,
    /// The address of glibc's own `link_map` of the object.
    pub link_map: usize,
    /// The address of its program headers.
    pub headers: usize,
    /// The content of its `PT_NOTE`s, if it can be closed: what tells two builds of one file apart.
    pub build_id: Box<[u8]>,
}

/// What is known of an object before its tables are read.
pub(crate) struct Origin {
    pub tag: Tag,
    pub path: OsString,
    pub file: Option<FileId>,
    /// `None` for an object that we mapped.
    pub host: Option<HostPart>,
    pub image: Image,
    pub memory: Memory,
}

/// One ELF file in memory. It never changes once it is built, except for its memory and what is filled in
/// once.
pub(crate) struct Object {
    pub tag: Tag,
    /// The path that the object was found at, if the text of its tag cannot hold it exactly.
    odd_path: Option<OsString>,
    pub file: Option<FileId>,
    pub image: Image,
    pub dynamic: Dynamic,
    pub soname: Option<Arc<str>>,
    wants: OnceLock<Wants>,
    /// The directories in which files are looked for on the object's behalf. `load::find::paths` fills them
    /// in.
    pub paths: OnceLock<SearchPaths>,
    pub host: Option<HostPart>,
    /// The module id of the object's thread-local storage, if the object is ours and has some. glibc:
    /// `l_tls_modid`.
    pub tls_module: Option<u64>,
    /// How many destructors of thread-local variables still wait for the end of their thread. While there are
    /// any, the object stays mapped.
    pub thread_destructors: AtomicUsize,
    tables: Tables,
    /// `None` for an object of the host: the system's loader has made its handle.
    handle: Option<Box<Handle>>,
    /// Dropped after `tables`, which refer to it.
    pub memory: Memory,
}

// SAFETY: the raw pointers are `handle.map.l_name` (its own string) and the unused list links; nothing writes
// through them. Tables are read-only.
unsafe impl Send for Object {}
// SAFETY: as above.
unsafe impl Sync for Object {}

impl Object {
    /// An object that the system's loader mapped. That loader has accepted its tables, so they are read only
    /// when somebody needs them.
    pub(crate) fn adopt(origin: Origin) -> Result<Object, ErrorKind> {
        let Origin { image, memory, .. } = &origin;
        let pointer = crate::elf::dynamic::host_pointer(memory.bias(), memory.span());
        let dynamic = Dynamic::new(&mut dynamic_entries(image, memory)?, section(image), &pointer)?;
        let tables = Tables::of_host(&dynamic, Segments::new(&dynamic, memory, image, None));
        let soname = dynamic.soname.and_then(|offset| tables::host_string(&dynamic, memory, image, offset));
        Ok(Object::of(origin, dynamic, tables, soname))
    }

    /// An object that we mapped from the file `source`. Its dynamic section and every table that the section names are checked.
    ///
    /// # Errors
    /// [`ErrorKind::Malformed`] with the tag whose value no loader can work with.
    pub(crate) fn new(origin: Origin, source: Source<'_>) -> Result<Object, ErrorKind> {
        let Origin { image, memory, .. } = &origin;
        let section = section(image);
        let dynamic = Dynamic::new(&mut dynamic_entries(image, memory)?, section, &Vaddr)?;
        if let Some(at) = dynamic.android {
            return Err(ErrorKind::Unsuitable {
                field: "DT_ANDROID_REL, DT_ANDROID_RELA or DT_ANDROID_RELR".into(),
                at: Where::Memory(at),
                found: "there".into(),
                expected: "DT_RELA or DT_RELR".into(),
                reason: "only Android's loader reads these relocations; link without --pack-dyn-relocs=android".into(),
            });
        }
        let tables = Tables::new(&dynamic, Segments::new(&dynamic, memory, image, Some(source)))?;
        check_code(&dynamic, image)?;
        let symbols = tables.symbols(&dynamic, memory, image);
        let wants = Wants::new(&dynamic, &|offset, field| string(symbols, offset, field, section))?;
        let soname = dynamic.soname.map(|offset| string(symbols, offset, "DT_SONAME", section)).transpose()?;
        let object = Object::of(origin, dynamic, tables, soname);
        let _ = object.wants.set(wants);
        Ok(object)
    }

    fn of(origin: Origin, dynamic: Dynamic, tables: Tables, soname: Option<Arc<str>>) -> Object {
        let Origin { tag, path, file, host, image, memory } = origin;
        Object {
            handle: host.is_none().then(|| Handle::new(&path, memory.bias(), section(&image))),
            tls_module: None,
            thread_destructors: AtomicUsize::new(0),
            odd_path: (path != *tag.name).then_some(path),
            tag,
            file,
            image,
            dynamic,
            soname,
            wants: OnceLock::new(),
            paths: OnceLock::new(),
            host,
            tables,
            memory,
        }
    }

    /// The path that the object was found at.
    pub(crate) fn path(&self) -> &OsStr {
        self.odd_path.as_deref().unwrap_or(OsStr::new(&*self.tag.name))
    }

    /// What the object says about other files.
    pub(crate) fn wants(&self) -> &Wants {
        made_once(&self.wants, || {
            // Only an object of the host gets here. Its strings are read without the tables of its symbols.
            let string = |offset, _| {
                let string = tables::host_string(&self.dynamic, &self.memory, &self.image, offset);
                Ok(string.unwrap_or_default())
            };
            Wants::new(&self.dynamic, &string).unwrap_or_default()
        })
    }

    /// The object's symbol table, by which names are found.
    #[inline]
    pub(crate) fn symbols(&self) -> &SymbolTable<'_> {
        self.tables.symbols(&self.dynamic, &self.memory, &self.image)
    }

    /// The object's `DT_GNU_HASH`, which says "no" to most names.
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

    /// About how many relocations refer to a symbol. The linker says in `DT_RELACOUNT` how many do not.
    pub(crate) fn reference_count(&self) -> usize {
        (self.rela().len() + self.jmprel().len()).saturating_sub(self.dynamic.relative_count as usize)
    }

    /// `B`.
    #[inline]
    pub(crate) fn bias(&self) -> Bias {
        self.memory.bias()
    }

    /// Whether the object was in the process before us: the system's loader mapped it.
    pub(crate) fn is_host(&self) -> bool {
        self.host.is_some()
    }

    /// Whether the object was there when the program started, and so is in everybody's scope.
    pub(crate) fn is_startup(&self) -> bool {
        self.host.as_ref().is_some_and(|h| h.startup)
    }

    /// The path of an object of ours as a C string, which lives as long as the object.
    pub(crate) fn c_path(&self) -> &CStr {
        self.handle.as_ref().map_or(c"", |handle| &handle.name)
    }

    /// What C code gets from `dlopen` for this object: a pointer to a `link_map`.
    pub(crate) fn handle(&self) -> *const LinkMap {
        match (&self.handle, &self.host) {
            (Some(handle), _) => &raw const handle.map,
            (None, Some(host)) => ptr::with_exposed_provenance(host.link_map),
            (None, None) => ptr::null(),
        }
    }

    /// The program headers of a file that we mapped, in its memory, for C code that asks for them. Empty if no read-only
    /// segment holds them.
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

    /// The levels of x86_64 processors that the object says it needs, a bit for each, and where it says so.
    pub(crate) fn isa_needed(&self) -> Option<(u32, Vaddr)> {
        // From the last segment back, as glibc: `PT_GNU_PROPERTY` comes behind the `PT_NOTE` with the same bytes.
        let notes = self.image.segments.iter().rev().filter(|s| match s.p_type {
            PT_GNU_PROPERTY => true,
            PT_NOTE => s.align == 8,
            _ => false,
        });
        let mut said = notes.filter_map(|s| {
            let bytes = self.memory.copy(s.vaddr.span(s.memsz)?)?;
            Some((isa_needed(&bytes)?, s.vaddr))
        });
        said.next()
    }

    /// The place in the file that the byte at `at` came from.
    pub(crate) fn file_offset(&self, at: Vaddr) -> Option<FileOffset> {
        let holds = |s: &&Segment| at >= s.vaddr && at.0 - s.vaddr.0 < s.filesz;
        self.image.loads().find(holds).map(|s| FileOffset(at.0 - s.vaddr.0 + s.offset.0))
    }

    /// The name of the object in errors: the path that it was found at, or the name that it was given.
    pub(crate) fn label(&self) -> String {
        self.tag.name.to_string()
    }
}

/// The `p_vaddr` of the dynamic section.
fn section(image: &Image) -> Vaddr {
    image.dynamic().map_or(Vaddr(0), |segment| segment.vaddr)
}

/// The entries of `PT_DYNAMIC`, read word by word, because relocations write to the memory that they lie in.
#[inline(never)] // a stage: see docs/gdb.md
pub(crate) fn dynamic_entries(image: &Image, memory: &Memory) -> Result<impl Iterator<Item = DynamicEntry>, ErrorKind> {
    let segment = image
        .dynamic()
        .ok_or_else(|| ErrorKind::malformed("PT_DYNAMIC", Vaddr(0), "none", "one", "gABI, \"Dynamic Section\""))?;
    let words = segment.vaddr.span(segment.memsz & !(SIZEOF_DYN - 1)).and_then(|range| memory.words(range));
    let mut words = words.ok_or_else(|| {
        let found = format!("{} with {:#x} bytes", segment.vaddr, segment.memsz);
        let rule = "the dynamic section is read from memory (gABI, \"Dynamic Section\")";
        ErrorKind::malformed("PT_DYNAMIC", segment.vaddr, found, "a range inside one readable PT_LOAD", rule)
    })?;
    let entries = std::iter::from_fn(move || Some(DynamicEntry { tag: words.next()?, value: words.next()? }));
    Ok(entries.take_while(|e| e.tag != 0))
}

/// Checks that constructors and destructors lie in executable memory of the object, and their arrays inside a
/// readable segment.
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

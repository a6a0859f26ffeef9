//! The start-up objects as they lie in memory: found and asked without a lock and without allocating.
//!
//! glibc `dlsym` allocates nothing where it finds something. Programs rely on it: an allocator that wraps another one asks
//! for the real one by `dlsym` when it is called for the first time, which may be by us. Signal handlers and constructors
//! that run before all others ask, too. Start-up objects never go away, so their part of the list stands still.

use std::ffi::CStr;
use std::sync::atomic::{AtomicPtr, AtomicUsize, Ordering};

use goblin::elf64::dynamic::{
    DT_FLAGS, DT_GNU_HASH, DT_HASH, DT_STRSZ, DT_STRTAB, DT_SYMBOLIC, DT_SYMTAB, DT_VERDEF, DT_VERDEFNUM, DT_VERNEED,
    DT_VERNEEDNUM, DT_VERSYM, Dyn,
};
use goblin::elf64::program_header::{PT_LOAD, ProgramHeader};

use super::real::{self, DlFindObject};
use super::start::{last_at_start, list_head, loader_base};
use super::{C_LIBRARY, KERNELS};
use crate::elf::addr::{Addr, Bias, PAGE, Vaddr};
use crate::elf::dynamic::{Dynamic, DynamicEntry, host_pointer};
use crate::elf::symbol::{Bytes, Class, Symbol, SymbolTable, Want, Wanted};
use crate::elf::sysv_hash;
use crate::elf::version::{Name, name_of};
use crate::object::LinkMap;
use crate::thread::Buffer;

/// The list of the start-up objects, the executable first.
pub(crate) fn maps() -> impl Iterator<Item = &'static LinkMap> {
    let last = last_at_start();
    // SAFETY: nobody changes this part of the list.
    let first = unsafe { list_head() };
    let next = move |map: &&'static LinkMap| {
        let ends = std::ptr::eq(*map, last);
        // SAFETY: null or the next element, which stays for good.
        if ends { None } else { unsafe { map.l_next.as_ref() } }
    };
    // SAFETY: as above.
    let all = std::iter::successors(first.and_then(|map| unsafe { map.as_ref() }), next);
    // The kernel's object has no file, and programs reach it through libc.
    all.filter(|map| !name(map).starts_with(KERNELS.as_bytes()))
}

/// The path of the file; empty for the executable.
pub(crate) fn name(map: &LinkMap) -> &'static [u8] {
    // SAFETY: glibc keeps a C string there, for a start-up object for good.
    if map.l_name.is_null() { &[] } else { unsafe { CStr::from_ptr(map.l_name) }.to_bytes() }
}

/// Whether it is a part of the C library itself.
pub(crate) fn is_c_library(map: &LinkMap) -> bool {
    let file = name(map).rsplit(|&byte| byte == b'/').next().unwrap_or_default();
    // A program can name its interpreter as it likes, and `/usr/bin/ld.so PROGRAM` runs by a link to it.
    C_LIBRARY.iter().any(|soname| soname.as_bytes() == file) || map.l_addr == loader_base()
}

/// The start-up objects with their tables, the executable first. Found out once, into pages of their own. None are known
/// where there is no memory, or where one is not as usual.
pub(crate) fn all() -> &'static [Startup] {
    static ALL: AtomicPtr<Startup> = AtomicPtr::new(std::ptr::null_mut());
    static COUNT: AtomicUsize = AtomicUsize::new(0);
    let known = ALL.load(Ordering::Acquire);
    if !known.is_null() {
        // SAFETY: `COUNT` of them were written before `ALL` said so, and they stay for good.
        return unsafe { std::slice::from_raw_parts(known, COUNT.load(Ordering::Relaxed)) };
    }
    // Without that, objects that are not of start-up would count.
    if last_at_start().is_null() {
        return &[];
    }
    let count = maps().count();
    let pages = Buffer::map(count * size_of::<Startup>());
    if pages.at.is_null() {
        return &[];
    }
    let start = pages.at.cast::<Startup>();
    for (index, map) in maps().enumerate() {
        let Some(object) = start_of(map).and_then(|start| Startup::of(map, start)) else {
            pages.unmap();
            return &[];
        };
        // SAFETY: there is room for `count`, on whole pages.
        unsafe { start.add(index).write(object) };
    }
    // Whoever comes at the same time finds out the same.
    COUNT.store(count, Ordering::Relaxed);
    if ALL.compare_exchange(std::ptr::null_mut(), start, Ordering::AcqRel, Ordering::Acquire).is_err() {
        pages.unmap();
    }
    all()
}

/// The start-up object that `address` lies in.
pub(crate) fn owner(address: Addr) -> Option<&'static Startup> {
    let (map, _) = find_object(address)?;
    all().iter().find(|object| std::ptr::from_ref(object.map).addr() as u64 == map)
}

/// Whether `address` lies in an object of the host, also in one that glibc opened later.
pub(crate) fn is_of_host(address: Addr) -> bool {
    find_object(address).is_some()
}

/// Where the first segment of an object begins.
fn start_of(map: &LinkMap) -> Option<u64> {
    let (own, start) = find_object(Addr(map.l_ld))?;
    (own == std::ptr::from_ref(map).addr() as u64).then_some(start)
}

/// The `link_map` of the host's object that `address` lies in, and where its first segment begins.
fn find_object(address: Addr) -> Option<(u64, u64)> {
    let mut found = DlFindObject::default();
    // SAFETY: room for the answer.
    let result = unsafe { real::find_object(std::ptr::with_exposed_provenance_mut(address.0 as usize), &mut found) };
    (result == 0).then_some((found.dlfo_link_map, found.dlfo_map_start))
}

/// One of them, with its tables.
pub(crate) struct Startup {
    pub map: &'static LinkMap,
    pub bias: Bias,
    /// The address of its first segment.
    pub start: Addr,
    /// It was linked with `-Bsymbolic`.
    pub is_symbolic: bool,
    /// Without versions: they take memory.
    pub symbols: SymbolTable<'static>,
    segments: Segments,
    /// `DT_VERDEF` and `DT_VERNEED`, and how many entries they have.
    versions: [Option<(Vaddr, u64)>; 2],
}

impl Startup {
    /// The object of `map`, whose first segment begins at `start`. `None`: it does not begin with its ELF header, or its
    /// tables are not as usual.
    pub(crate) fn of(map: &'static LinkMap, start: u64) -> Option<Startup> {
        let segments = Segments::of(map, start)?;
        let entry = |index| {
            // SAFETY: the dynamic section, which ends in a tag of 0; `take_while` stops there.
            let Dyn { d_tag, d_val } = unsafe { (map.l_ld as *const Dyn).add(index).read() };
            DynamicEntry { tag: d_tag, value: d_val }
        };
        let wanted = |entry: &DynamicEntry| match entry.tag {
            DT_SYMTAB | DT_STRTAB | DT_STRSZ | DT_GNU_HASH | DT_HASH => true,
            DT_VERSYM | DT_VERDEF | DT_VERDEFNUM | DT_VERNEED | DT_VERNEEDNUM | DT_SYMBOLIC | DT_FLAGS => true,
            // Some take memory.
            _ => false,
        };
        let mut entries = (0..).map(entry).take_while(|entry| entry.tag != 0).filter(wanted);
        let pointer = host_pointer(segments.bias, segments.span());
        let dynamic = Dynamic::new(&mut entries, Vaddr(0), &pointer).ok()?;
        let symbols = SymbolTable::without_versions(&dynamic, &segments).ok()?;
        let versions = [dynamic.verdef, dynamic.verneed];
        let (bias, is_symbolic) = (segments.bias, dynamic.symbolic);
        Some(Startup { map, bias, start: Addr(start), is_symbolic, symbols, segments, versions })
    }

    /// The definition that an unversioned `dlsym`, or `dlvsym` with a version, gets of this object.
    pub(crate) fn find(&self, wanted: &Wanted<'_>, version: Option<&Name<'_>>) -> Option<Symbol<'static>> {
        match version {
            None => self.symbols.find(wanted, &mut ()).map(|(_, symbol)| symbol),
            Some(version) => self.symbols.find_where(wanted, |index| self.has_version(index, version)),
        }
    }

    fn has_version(&self, index: u32, wanted: &Name<'_>) -> bool {
        let Some(own) = self.symbols.version_index(index) else { return true };
        let table = |place: Option<(Vaddr, u64)>| place.and_then(|(at, count)| Some((self.segments.tail(at)?, count)));
        let [definitions, needs] = self.versions.map(table);
        let strings = |offset| self.symbols.string(offset);
        name_of(own, definitions, needs, strings).is_some_and(|has| has.same(wanted))
    }
}

/// The segments of an object, as the program headers in its memory give them.
struct Segments {
    bias: Bias,
    headers: &'static [ProgramHeader],
}

impl Segments {
    fn of(map: &'static LinkMap, start: u64) -> Option<Segments> {
        // SAFETY: the first page of a start-up object, which is mapped, readable and constant.
        let page = unsafe { std::slice::from_raw_parts(start as *const u8, PAGE as usize) };
        let [e_phoff, e_phentsize, e_phnum] = [(32, 8), (54, 2), (56, 2)].map(|(at, size): (usize, usize)| {
            let mut word = [0; 8];
            word[..size].copy_from_slice(&page[at..at + size]);
            u64::from_le_bytes(word) as usize
        });
        if !page.starts_with(b"\x7fELF") || e_phentsize != size_of::<ProgramHeader>() {
            return None;
        }
        let end = e_phoff.checked_add(e_phnum * e_phentsize)?;
        let headers = plain::slice_from_bytes(page.get(e_phoff..end)?).ok()?;
        Some(Segments { bias: Bias(map.l_addr), headers })
    }

    fn loads(&self) -> impl Iterator<Item = &ProgramHeader> {
        self.headers.iter().filter(|header| header.p_type == PT_LOAD)
    }

    fn span(&self) -> std::ops::Range<Vaddr> {
        let start = self.loads().map(|header| header.p_vaddr).min().unwrap_or(0);
        let end = self.loads().map(|header| header.p_vaddr.wrapping_add(header.p_memsz)).max().unwrap_or(0);
        Vaddr(start)..Vaddr(end)
    }
}

impl Bytes<'static> for Segments {
    fn tail(&self, at: Vaddr) -> Option<&'static [u8]> {
        let behind = |header: &ProgramHeader| at.0.checked_sub(header.p_vaddr).filter(|&off| off < header.p_filesz);
        let left = self.loads().find_map(|header| Some(header.p_filesz - behind(header)?))?;
        let start = (self.bias + at).0 as *const u8;
        // SAFETY: the rest of a segment that glibc mapped. What is read of it are tables, which do not change any more.
        Some(unsafe { std::slice::from_raw_parts(start, left as usize) })
    }
}

/// What is known of a name.
pub(crate) enum Answer {
    /// Its address, or that of its resolver.
    At { address: Addr, is_ifunc: bool, object: &'static Startup },
    /// No start-up object of the scope defines it.
    Missing,
    /// What it means takes more to find out.
    NotEnough,
}

/// Looks `symbol` up in these objects, the end of [`all`] of them.
pub(crate) fn find(symbol: &[u8], version: Option<&[u8]>, scope: &'static [Startup]) -> Answer {
    let wanted = Wanted::new(symbol, Want::Newest, Class::Address);
    let version = version.map(|text| Name { text, hash: sysv_hash::hash(text), hidden: true });
    for object in scope {
        match object.find(&wanted, version.as_ref()) {
            None => {}
            // One in each thread.
            Some(symbol) if symbol.is_tls() => return Answer::NotEnough,
            Some(symbol) => {
                return Answer::At { address: symbol.address(object.bias), is_ifunc: symbol.is_ifunc(), object };
            }
        }
    }
    Answer::Missing
}

//! The contenders that share the main program: glibc, `elf_loader`, dlscope, and the floor.

use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::time::Instant;

use dlscope::elf::symbol::SymbolType;
use elf_loader::arch::NativeArch;
use elf_loader::input::{Path as ElfPath, PathBuf as ElfPathBuf};
use elf_loader::linker::{LdCache, LoadResult, SearchConfig, SearchPathResolver};
use elf_loader::tls::DefaultTlsResolver;
use elf_loader::{AddressSpaceId, Domain, GraphModule, LinkContext, Linker, Loader, host};
use versus::contender::{Contender, Name};
use versus::{process, sample};

/// Measures as `args` (`WHO WHAT LIB …`) say, and ends the process.
pub fn run(args: &[String]) -> ! {
    let [who, what, library, more @ ..] = args else { panic!("sample WHO WHAT LIB") };
    match (&**who, &**what) {
        ("glibc", "constructors") => tell(constructors(&more[0])),
        ("glibc", _) => sample::run(|| Ok(Glibc(libc::RTLD_NOW)), what, library, more),
        ("glibc-lazy", _) => sample::run(|| Ok(Glibc(libc::RTLD_LAZY)), what, library, more),
        ("elf_loader", _) => sample::run(ElfLoader::new, what, library, more),
        ("dlscope", "objects") => tell(objects(library)),
        ("dlscope", "names") => tell(names(library, &more[0])),
        ("dlscope", _) => sample::run(|| Ok(Dlscope(Way::Find)), what, library, more),
        ("dlscope-get", _) => sample::run(|| Ok(Dlscope(Way::Get)), what, library, more),
        ("dlscope-lazy", _) => sample::run(|| Ok(Dlscope(Way::Lazy)), what, library, more),
        ("dlscope-c", _) => sample::run(|| Ok(DlscopeC), what, library, more),
        ("floor", "cold") => tell(floor(more)),
        _ => panic!("nobody is called {who}, or it cannot {what}"),
    }
}

fn tell(result: Result<Vec<String>, String>) -> ! {
    match &result {
        Ok(values) => sample::answer(values),
        Err(why) => eprintln!("{why}"),
    }
    sample::finish(result.is_ok())
}

// ── glibc ────────────────────────────────────────────────────────────────────────────────────────────────

/// `dlopen` with this flag.
struct Glibc(c_int);

impl Contender for Glibc {
    type Library = *mut c_void;

    fn open(&mut self, path: &str) -> Result<*mut c_void, String> {
        let path = CString::new(path).map_err(|e| e.to_string())?;
        // SAFETY: the libraries measured have constructors that may run anywhere.
        let handle = unsafe { libc::dlopen(path.as_ptr(), self.0 | libc::RTLD_LOCAL) };
        if !handle.is_null() {
            return Ok(handle);
        }
        // SAFETY: after a failure it is a string, or null.
        let text = unsafe { libc::dlerror() };
        // SAFETY: as above, and it is not null.
        let why = (!text.is_null()).then(|| unsafe { CStr::from_ptr(text) }.to_string_lossy().into_owned());
        Err(why.unwrap_or_default())
    }

    fn close(&mut self, library: *mut c_void) {
        // SAFETY: opened once, closed once.
        unsafe { libc::dlclose(library) };
    }

    fn find(&self, library: &*mut c_void, name: &Name) -> bool {
        // SAFETY: an open handle and a C string.
        !unsafe { libc::dlsym(*library, name.c.as_ptr()) }.is_null()
    }
}

/// ns from the first constructor's begin to the last one's end, when glibc loads this library, which
/// `generated::around` made.
fn constructors(library: &str) -> Result<Vec<String>, String> {
    process::confine();
    let handle = Glibc(libc::RTLD_NOW).open(library)?;
    let time = |name: &CStr| {
        // SAFETY: both libraries that were made export it as a number.
        unsafe { libc::dlsym(handle, name.as_ptr()).cast::<u64>().as_ref() }.copied().ok_or("no time was noted")
    };
    Ok(vec![time(c"versus_last")?.saturating_sub(time(c"versus_first")?).to_string()])
}

// ── elf_loader ───────────────────────────────────────────────────────────────────────────────────────────

type Resolved = Linker<NativeArch, Loader<(), NativeArch>, SearchPathResolver>;

/// As in the crate's own benchmark: the search cache is read, and the host's libraries are imported, before the clock
/// runs.
struct ElfLoader {
    linker: Resolved,
    context: LinkContext<(), NativeArch, DefaultTlsResolver>,
}

/// The host's libraries by its own benchmark's list.
const HOST: &[&str] =
    &["libc.so.6", "libm.so.6", "libdl.so.2", "libpthread.so.0", "librt.so.1", "libgcc_s.so.1", "ld-linux-x86-64.so.2"];

impl ElfLoader {
    fn new() -> Result<ElfLoader, String> {
        ElfLoader::try_new().map_err(|e| e.to_string())
    }

    fn try_new() -> elf_loader::Result<ElfLoader> {
        let cache = LdCache::load_system()?;
        let domain = Domain::native(AddressSpaceId::PROCESS).with_tls(DefaultTlsResolver::new())?;
        let mut context = LinkContext::new(domain.clone());
        for soname in HOST {
            // The cache may name files for other machines as well; the system's own loader takes the right one.
            let paths: Vec<_> = cache.candidates(soname).map(|path| path.as_bytes().to_vec()).collect();
            let opened = paths.iter().find_map(|path| {
                // SAFETY: these libraries are in the process, or belong to its libc.
                unsafe { host::open(&domain, ElfPath::new(&path[..]), *soname) }.ok()
            });
            if let Some(module) = opened {
                context.insert_batch([GraphModule::new((*soname).to_string(), module)])?;
            }
        }
        let folders =
            ["/lib/x86_64-linux-gnu", "/usr/lib/x86_64-linux-gnu", "/lib64", "/usr/lib64", "/lib", "/usr/lib"];
        let search = SearchConfig::new().cache(cache).default_dirs(folders);
        let linker = Linker::new().with_loader(Loader::new()).with_resolver(SearchPathResolver::with_config(search));
        Ok(ElfLoader { linker, context })
    }
}

impl Contender for ElfLoader {
    type Library = LoadResult;

    fn open(&mut self, path: &str) -> Result<LoadResult, String> {
        self.linker.run().load(&mut self.context, ElfPathBuf::from(path)).map_err(|e| e.to_string())
    }

    fn close(&mut self, library: LoadResult) {
        drop(library.release(&mut self.context));
    }

    fn find(&self, library: &LoadResult, name: &Name) -> bool {
        let Ok(module) = self.context.module(library.root()) else { return false };
        // SAFETY: the symbol is not used.
        matches!(unsafe { module.get::<*const ()>(&name.text) }, Ok(Some(_)))
    }
}

// ── dlscope ──────────────────────────────────────────────────────────────────────────────────────────────

struct Dlscope(Way);

/// Which of its ways is taken.
#[derive(PartialEq)]
enum Way {
    /// `Library::find`: a name that is not there is no error, as with `elf_loader`.
    Find,
    /// `Library::get`.
    Get,
    /// `Bind::Lazy`.
    Lazy,
}

impl Contender for Dlscope {
    type Library = dlscope::Library;

    fn open(&mut self, path: &str) -> Result<dlscope::Library, String> {
        // SAFETY: the libraries measured have constructors that may run anywhere.
        let opened = unsafe {
            match self.0 {
                Way::Lazy => dlscope::Loader::new().bind(dlscope::Bind::Lazy).open(path),
                _ => dlscope::Library::open(path),
            }
        };
        opened.map_err(|e| e.to_string())
    }

    fn close(&mut self, library: dlscope::Library) {
        drop(library);
    }

    fn find(&self, library: &dlscope::Library, name: &Name) -> bool {
        // SAFETY: the symbol is not used.
        unsafe {
            match self.0 {
                Way::Get => library.get::<*const ()>(&name.text).is_ok(),
                _ => library.find::<*const ()>(&name.text).is_some(),
            }
        }
    }
}

/// As C programs have it.
struct DlscopeC;

impl Contender for DlscopeC {
    type Library = *mut c_void;

    fn open(&mut self, path: &str) -> Result<*mut c_void, String> {
        let path = CString::new(path).map_err(|e| e.to_string())?;
        // SAFETY: as above.
        let handle = unsafe { dlscope::capi::dlopen(path.as_ptr(), libc::RTLD_NOW) };
        if handle.is_null() { Err("dlopen failed".into()) } else { Ok(handle) }
    }

    fn close(&mut self, library: *mut c_void) {
        // SAFETY: opened once, closed once.
        unsafe { dlscope::capi::dlclose(library) };
    }

    fn find(&self, library: &*mut c_void, name: &Name) -> bool {
        // SAFETY: an open handle and a C string.
        !unsafe { dlscope::capi::dlsym(*library, name.c.as_ptr()) }.is_null()
    }
}

/// The objects that a load brings into the process, breadth first.
fn objects(library: &str) -> Result<Vec<String>, String> {
    let opened = Dlscope(Way::Find).open(library)?;
    let new = opened.objects().into_iter().filter(|o| !o.of_host);
    let paths = new.map(|o| o.path.to_string_lossy().into_owned()).collect();
    std::mem::forget(opened);
    Ok(paths)
}

/// Writes the names that a library exports into a file, one a line.
fn names(library: &str, file: &str) -> Result<Vec<String>, String> {
    let prepared = dlscope::Loader::new().prepare(library).map_err(|e| e.to_string())?;
    // Resolvers of indirect functions would be timed, and thread-local variables are not addresses.
    let plain = |kind| !matches!(kind, SymbolType::ThreadLocal | SymbolType::IndirectFunction);
    let exports = prepared.symbols().filter(|symbol| symbol.default && plain(symbol.kind));
    // A version's own name is a symbol whose value is 0, which `dlsym` cannot tell from none.
    let exports = exports.filter(|symbol| symbol.version.as_ref() != Some(&symbol.name));
    let mut names: Vec<_> = exports.map(|symbol| symbol.name).collect();
    names.sort_unstable();
    names.dedup();
    std::fs::write(file, names.join("\n")).map_err(|e| e.to_string())?;
    Ok(vec![names.len().to_string()])
}

// ── the floor ────────────────────────────────────────────────────────────────────────────────────────────

unsafe extern "C" {
    /// `c/floor.c`.
    fn versus_floor(paths: *const *const c_char, count: usize) -> c_int;
}

fn floor(paths: &[String]) -> Result<Vec<String>, String> {
    process::confine();
    let paths: Vec<_> = paths.iter().filter_map(|path| CString::new(&**path).ok()).collect();
    let pointers: Vec<_> = paths.iter().map(|path| path.as_ptr()).collect();
    let start = Instant::now();
    // SAFETY: as many C strings as it is told. It maps new memory and writes only there.
    let result = unsafe { versus_floor(pointers.as_ptr(), pointers.len()) };
    let time = start.elapsed().as_nanos();
    if result == 0 { Ok(vec![time.to_string()]) } else { Err("a file cannot be mapped".into()) }
}

//! Real libraries, which nobody here wrote: they load, they give right answers when called, and every export
//! lies where the system's loader says.

mod common;

use std::collections::BTreeMap;
use std::ffi::{CStr, CString, c_char, c_int, c_uint, c_ulong, c_void};
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::{env, ptr};

use common::{in_own_process, library};
use dlscope::event::Kind;
use dlscope::{Library, Loader, Recorder};

/// Opens `name` and makes sure that it is our copy: nothing of it was in the process before, and it lies where
/// our own events say that we mapped it.
fn open(name: &str) -> Library {
    assert!(!common::maps().iter().any(|line| line.contains(name)), "{name} was here before");
    let recorder = Arc::new(Recorder::with_capacity(1 << 16));
    // SAFETY: a library of the system, whose constructors any program may run.
    let library = unsafe { Loader::new().probe(recorder.clone()).open(name) }.unwrap_or_else(|e| panic!("{e}"));
    let events = recorder.take();
    let ours = |e: &dlscope::Event| matches!(e.kind, Kind::Placed { bias, .. } if bias == library.load_bias());
    assert!(events.iter().any(ours), "{name} was not mapped by us");
    library
}

macro_rules! function {
    ($library:expr, $name:literal: $type:ty) => {
        // SAFETY: the signature is that of the library's header.
        unsafe { *$library.get::<$type>($name).unwrap() }
    };
}

#[test]
fn libm_computes() {
    in_own_process("libm_computes", || {
        let libm = open("libm.so.6");
        let cos = function!(libm, "cos": unsafe extern "C" fn(f64) -> f64);
        let pow = function!(libm, "pow": unsafe extern "C" fn(f64, f64) -> f64);
        // SAFETY: the signatures of math.h.
        unsafe {
            assert_eq!(cos(0.0), 1.0);
            assert_eq!(pow(2.0, 10.0), 1024.0);
            assert!(pow(-1.0, 0.5).is_nan(), "and errno is set in the host's own TLS");
        }
        assert_eq!(std::io::Error::last_os_error().raw_os_error(), Some(33), "EDOM from our libm in the host's errno");
    });
}

#[test]
fn libz_compresses_a_megabyte_and_gives_it_back() {
    in_own_process("libz_compresses_a_megabyte_and_gives_it_back", || {
        type Code = unsafe extern "C" fn(*mut u8, *mut c_ulong, *const u8, c_ulong) -> c_int;
        let libz = open("libz.so.1");
        let (compress, uncompress) = (function!(libz, "compress": Code), function!(libz, "uncompress": Code));
        let bound = function!(libz, "compressBound": unsafe extern "C" fn(c_ulong) -> c_ulong);
        let text: Vec<u8> = (0..1_u32 << 20).map(|n| (n.wrapping_mul(n) >> 7) as u8 & 0x3f).collect();
        // SAFETY: zlib.h; the buffers have the lengths that are passed.
        unsafe {
            let mut packed = vec![0; bound(text.len() as c_ulong) as usize];
            let mut packed_length = packed.len() as c_ulong;
            assert_eq!(compress(packed.as_mut_ptr(), &mut packed_length, text.as_ptr(), text.len() as c_ulong), 0);
            assert!((packed_length as usize) < text.len(), "it became smaller");
            let mut unpacked = vec![0; text.len()];
            let mut length = unpacked.len() as c_ulong;
            assert_eq!(uncompress(unpacked.as_mut_ptr(), &mut length, packed.as_ptr(), packed_length), 0);
            assert_eq!((length as usize, unpacked == text), (text.len(), true));
        }
        libz.close().unwrap();
        assert!(!common::maps().iter().any(|line| line.contains("libz.so")), "it is unmapped");
    });
}

#[test]
fn libsqlite3_creates_inserts_and_selects() {
    in_own_process("libsqlite3_creates_inserts_and_selects", || {
        type Row = unsafe extern "C" fn(*mut c_void, c_int, *mut *mut c_char, *mut *mut c_char) -> c_int;
        type Exec =
            unsafe extern "C" fn(*mut c_void, *const c_char, Option<Row>, *mut c_void, *mut *mut c_char) -> c_int;
        unsafe extern "C" fn collect(
            rows: *mut c_void,
            columns: c_int,
            values: *mut *mut c_char,
            _: *mut *mut c_char,
        ) -> c_int {
            // SAFETY: sqlite3.h: `columns` strings in `values`; `rows` is the vector below.
            unsafe {
                for column in 0..columns as usize {
                    let value = CStr::from_ptr(*values.add(column)).to_string_lossy().into_owned();
                    (*rows.cast::<Vec<String>>()).push(value);
                }
            }
            0
        }
        let sqlite = open("libsqlite3.so.0");
        let open_db = function!(sqlite, "sqlite3_open": unsafe extern "C" fn(*const c_char, *mut *mut c_void) -> c_int);
        let exec = function!(sqlite, "sqlite3_exec": Exec);
        let close_db = function!(sqlite, "sqlite3_close": unsafe extern "C" fn(*mut c_void) -> c_int);
        let mut rows: Vec<String> = Vec::new();
        // SAFETY: sqlite3.h.
        unsafe {
            let mut db = ptr::null_mut();
            assert_eq!(open_db(c":memory:".as_ptr(), &mut db), 0);
            for sql in [
                c"create table t(n integer, word text)",
                c"insert into t values (1, 'one'), (2, 'two'), (3, 'three')",
                c"select sum(n), group_concat(word, '-'), round(avg(n) * sqrt(4), 1) from t where n > 1",
            ] {
                assert_eq!(
                    exec(db, sql.as_ptr(), Some(collect), (&raw mut rows).cast(), ptr::null_mut()),
                    0,
                    "{sql:?}"
                );
            }
            assert_eq!(close_db(db), 0);
        }
        assert_eq!(rows, ["5", "two-three", "5.0"]);
    });
}

#[test]
fn libcrypto_hashes_a_known_vector() {
    in_own_process("libcrypto_hashes_a_known_vector", || {
        let crypto = open("libcrypto.so.3");
        let sha256 = function!(crypto, "SHA256": unsafe extern "C" fn(*const u8, usize, *mut u8) -> *mut u8);
        let mut digest = [0; 32];
        // SAFETY: openssl/sha.h.
        unsafe { sha256(b"abc".as_ptr(), 3, digest.as_mut_ptr()) };
        let hex: String = digest.iter().map(|b| format!("{b:02x}")).collect();
        assert_eq!(hex, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad", "FIPS 180-2, appendix B.1");
    });
}

#[test]
fn libzstd_compresses_and_gives_it_back() {
    in_own_process("libzstd_compresses_and_gives_it_back", || {
        if library("libzstd.so.1").is_none() {
            return;
        }
        let zstd = open("libzstd.so.1");
        let compress =
            function!(zstd, "ZSTD_compress": unsafe extern "C" fn(*mut u8, usize, *const u8, usize, c_int) -> usize);
        let decompress =
            function!(zstd, "ZSTD_decompress": unsafe extern "C" fn(*mut u8, usize, *const u8, usize) -> usize);
        let text = b"to be or not to be, that is the question; ".repeat(1000);
        let (mut packed, mut unpacked) = (vec![0; text.len()], vec![0; text.len()]);
        // SAFETY: zstd.h; the buffers have the lengths that are passed.
        let length = unsafe {
            let length = compress(packed.as_mut_ptr(), packed.len(), text.as_ptr(), text.len(), 3);
            decompress(unpacked.as_mut_ptr(), unpacked.len(), packed.as_ptr(), length)
        };
        assert!(length == text.len() && unpacked == text);
    });
}

#[test]
fn libpng_knows_its_version() {
    in_own_process("libpng_knows_its_version", || {
        if library("libpng16.so.16").is_none() {
            return;
        }
        let png = open("libpng16.so.16");
        let number = function!(png, "png_access_version_number": unsafe extern "C" fn() -> c_uint);
        let text = function!(png, "png_get_libpng_ver": unsafe extern "C" fn(*const c_void) -> *const c_char);
        // SAFETY: png.h.
        let (number, text) = unsafe { (number(), CStr::from_ptr(text(ptr::null())).to_str().unwrap()) };
        assert_eq!(format!("{}.{}.{}", number / 10000, number / 100 % 100, number % 100), text);
        assert!(png.dependencies().iter().any(|path| path.ends_with("libz.so.1")), "it brought libz along");
    });
}

#[test]
fn a_library_from_bytes_works_like_one_from_a_path() {
    in_own_process("a_library_from_bytes_works_like_one_from_a_path", || {
        let bytes = std::fs::read(library("libz.so.1").unwrap()).unwrap();
        // SAFETY: zlib's constructors do no harm.
        let libz = unsafe { Library::from_bytes("libz-in-memory", &bytes) }.unwrap();
        let crc32 = function!(libz, "crc32": unsafe extern "C" fn(c_ulong, *const u8, c_uint) -> c_ulong);
        // SAFETY: zlib.h.
        assert_eq!(unsafe { crc32(0, b"123456789".as_ptr(), 9) }, 0xcbf4_3926);
        assert_eq!(libz.path(), Path::new("libz-in-memory"));
        assert!(!common::maps().iter().any(|line| line.contains("libz.so")), "nothing was opened by name");
    });
}

#[test]
fn two_loaders_hold_two_copies() {
    in_own_process("two_loaders_hold_two_copies", || {
        let one = open("libz.so.1");
        // SAFETY: zlib's constructors do no harm.
        let (two, again) = unsafe { (Loader::new().open("libz.so.1").unwrap(), Library::open("libz.so.1").unwrap()) };
        assert_ne!(one.load_bias(), two.load_bias());
        assert_ne!(again.load_bias(), two.load_bias());
        // SAFETY: as above.
        let same = unsafe { Library::open(library("libz.so.1").unwrap()) }.unwrap();
        assert_eq!(same.load_bias(), again.load_bias(), "one loader has one copy, by whatever name");
    });
}

#[test]
fn a_defined_symbol_comes_before_all_others() {
    unsafe extern "C" fn no_memory(_: usize) -> *mut c_void {
        ptr::null_mut()
    }
    in_own_process("a_defined_symbol_comes_before_all_others", || {
        // SAFETY: zlib's constructors do no harm.
        let libz = unsafe { Loader::new().define("malloc", no_memory as *const ()).open("libz.so.1") }.unwrap();
        let init = function!(libz, "deflateInit_": unsafe extern "C" fn(*mut [usize; 14], c_int, *const c_char, c_int) -> c_int);
        let mut stream = [0_usize; 14];
        // SAFETY: zlib.h: a `z_stream` is 112 bytes; a null `zalloc` means malloc.
        let status = unsafe { init(&mut stream, 6, c"1.2.11".as_ptr(), 112) };
        assert_eq!(status, -4, "Z_MEM_ERROR: our malloc was asked");
    });
}

// ── every export, held against the system ────────────────────────────────────────────────────────────────

/// The libraries whose exports are compared one by one.
const COMPARED: [&str; 6] =
    ["libm.so.6", "libz.so.1", "libsqlite3.so.0", "libcrypto.so.3", "libpng16.so.16", "libzstd.so.1"];

/// What one loader says: "name version" → offset from the load bias.
type Offsets = BTreeMap<String, String>;

/// Prints `name version offset` for each export, from whichever loader the environment names.
#[test]
fn print_offsets() {
    let (Ok(loader), Ok(name)) = (env::var("PRINT_OFFSETS_OF"), env::var("PRINT_OFFSETS_IN")) else { return };
    // Both children take the list from the file, which `prepare` reads without running any of it.
    let listed = Loader::new().prepare(&name).unwrap();
    let wanted: Vec<_> = listed.symbols().map(|e| (e.name, e.version, e.kind)).collect();
    drop(listed);
    let thread_local = dlscope::elf::symbol::SymbolType::ThreadLocal;
    let wanted = wanted.into_iter().filter(|(.., kind)| *kind != thread_local);
    match &*loader {
        "dlscope" => {
            let library = open(&name);
            for (symbol, version, _) in wanted {
                // SAFETY: the address is printed, nothing else.
                let found = unsafe {
                    match &version {
                        Some(version) => library.get_version::<*mut c_void>(&symbol, version),
                        None => library.get::<*mut c_void>(&symbol),
                    }
                };
                let address = found.unwrap_or_else(|e| panic!("{e}")).as_raw_ptr() as u64;
                if address < 0x1000 {
                    // SHN_ABS: a number, not a place. The names of versions are such symbols.
                    println!("export\t{symbol}@{}\tabsolute {address:#x}", version.as_deref().unwrap_or("-"));
                    continue;
                }
                print_offset(&symbol, version.as_deref(), address, library.load_bias().0, library.path());
            }
        }
        _ => {
            // SAFETY: a library of the system.
            let handle = unsafe { libloading::os::unix::Library::open(Some(&name), 2) }.unwrap().into_raw();
            for (symbol, version, _) in wanted {
                let c_symbol = CString::new(symbol.clone()).unwrap();
                let c_version = version.clone().map(|v| CString::new(v).unwrap());
                // SAFETY: an open handle, C strings, and room for the answer.
                unsafe {
                    let address = match &c_version {
                        Some(version) => nix_dlvsym(handle, c_symbol.as_ptr(), version.as_ptr()),
                        None => nix::libc::dlsym(handle, c_symbol.as_ptr()),
                    };
                    let mut info: nix::libc::Dl_info = std::mem::zeroed();
                    if nix::libc::dladdr(address, &mut info) == 0 {
                        println!(
                            "export\t{symbol}@{}\tabsolute {:#x}",
                            version.as_deref().unwrap_or("-"),
                            address as u64
                        );
                        continue;
                    }
                    let path = CStr::from_ptr(info.dli_fname).to_string_lossy().into_owned();
                    print_offset(&symbol, version.as_deref(), address as u64, info.dli_fbase as u64, Path::new(&path));
                }
            }
        }
    }
}

unsafe extern "C" {
    #[link_name = "dlvsym"]
    fn nix_dlvsym(handle: *mut c_void, name: *const c_char, version: *const c_char) -> *mut c_void;
}

fn print_offset(name: &str, version: Option<&str>, address: u64, base: u64, path: &Path) {
    let file = path.file_name().unwrap().to_string_lossy();
    println!("export\t{name}@{}\t{file}+{:#x}", version.unwrap_or("-"), address.wrapping_sub(base));
}

fn offsets(loader: &str, name: &str) -> Offsets {
    let mut command = Command::new(env::current_exe().unwrap());
    command
        .args(["print_offsets", "--exact", "--nocapture"])
        .env("PRINT_OFFSETS_OF", loader)
        .env("PRINT_OFFSETS_IN", name);
    let output = command.output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{loader} {name}: {text}{}", String::from_utf8_lossy(&output.stderr));
    let parts = |line: &str| {
        // The first one stands behind libtest's own words.
        let (_, line) = line.split_once("export\t")?;
        let (symbol, place) = line.split_once('\t')?;
        Some((symbol.to_string(), place.to_string()))
    };
    text.lines().filter_map(parts).collect()
}

#[test]
fn every_export_lies_where_the_system_says() {
    for name in COMPARED {
        if library(name).is_none() {
            continue;
        }
        let (ours, theirs) = (offsets("dlscope", name), offsets("system", name));
        assert!(ours.len() > 50, "{name}: only {} exports", ours.len());
        let different: Vec<_> = theirs.iter().filter(|(symbol, place)| ours.get(*symbol) != Some(place)).collect();
        assert!(
            different.is_empty() && ours.len() == theirs.len(),
            "{name}: {} of {} differ, the first: {:?}, ours {:?}",
            different.len(),
            theirs.len(),
            different.first(),
            different.first().and_then(|(symbol, _)| ours.get(*symbol))
        );
    }
}

//! `dlinfo`: what the loader knows of an object. glibc `dlfcn/dlinfo.c`.

use std::ffi::{CString, OsString, c_char, c_int, c_long, c_uint, c_void};
use std::os::unix::ffi::OsStrExt;
use std::ptr;
use std::sync::Arc;

use nix::libc;

use super::errors::{fail, forget, wording};
use super::{is, not_meanwhile, open};
use crate::host::{self, Host};
use crate::load::find::tokens::directory;
use crate::load::find::{default_dirs, search_paths};
use crate::lock::{Lock, without_fork};
use crate::namespace::namespaces;
use crate::object::{LinkMap, Object};
use crate::runtime::tls;
use crate::text::unescape;

/// The requests `RTLD_DI_…` of `<dlfcn.h>`.
const LMID: c_int = 1;
const LINKMAP: c_int = 2;
const SERINFO: c_int = 4;
const SERINFOSIZE: c_int = 5;
const ORIGIN: c_int = 6;
const TLS_MODID: c_int = 9;
const TLS_DATA: c_int = 10;
const PHDR: c_int = 11;

/// `Dl_serpath`.
#[repr(C)]
struct SerPath {
    name: *mut c_char,
    flags: c_uint,
}

/// The head of a `Dl_serinfo`. `count` entries [`SerPath`] stand behind it, then their strings. `size` is the whole
/// size in bytes.
#[repr(C)]
struct SerInfo {
    size: usize,
    count: c_uint,
}

/// `dlinfo`: 0, or the number of program headers for `RTLD_DI_PHDR`. An error is −1, with a message for `dlerror`.
///
/// # Safety
/// `argument` is what `request` wants it to be: see dlinfo(3).
pub unsafe extern "C" fn dlinfo(handle: *mut c_void, request: c_int, argument: *mut c_void) -> c_int {
    forget();
    // SAFETY: the caller says that `argument` is what `request` wants.
    let result = not_meanwhile().map_err(String::from).and_then(|()| unsafe {
        let lock = Lock::acquire();
        info(handle, request, argument, &lock)
    });
    result.unwrap_or_else(|message| {
        fail(message);
        -1
    })
}

unsafe fn info(handle: *mut c_void, request: c_int, argument: *mut c_void, lock: &Lock) -> Result<c_int, String> {
    let host = host::look_silently(lock).map_err(|e| wording(&e))?;
    let mut number = 0;
    let own = namespaces(lock).into_iter().find_map(|namespace| {
        number = open::number_of(&namespace, lock);
        namespace.members(lock).iter().find(|m| is(&m.object, handle)).map(|m| m.object.clone())
    });
    if own.is_none() {
        number = 0;
    }
    let object = own.or_else(|| host.find(|o| is(o, handle), lock)).ok_or("invalid handle")?;
    // SAFETY: the caller passes what the request wants: a place for the answer.
    unsafe {
        match request {
            LMID => argument.cast::<c_long>().write(number),
            LINKMAP => argument.cast::<*const LinkMap>().write(object.handle()),
            ORIGIN => {
                let origin = CString::new(unescape(search_paths(&object).origin()).as_bytes()).unwrap_or_default();
                let bytes = origin.as_bytes_with_nul();
                ptr::copy_nonoverlapping(bytes.as_ptr(), argument.cast(), bytes.len());
            }
            SERINFOSIZE | SERINFO => search_info(&search_path(&object, &host), request == SERINFO, argument.cast()),
            TLS_MODID => argument.cast::<usize>().write(module(&object, &host).unwrap_or(0) as usize),
            TLS_DATA => argument.cast::<*mut c_void>().write(block(&object, &host)),
            PHDR => {
                let (at, count) = match &object.host {
                    Some(host) => (ptr::with_exposed_provenance(host.headers), usize::from(object.image.e_phnum)),
                    None => (object.program_headers().as_ptr().cast(), object.program_headers().len()),
                };
                argument.cast::<*const c_void>().write(at);
                return Ok(count as c_int);
            }
            _ => return Err("unsupported dlinfo request".into()),
        }
    }
    Ok(0)
}

/// The TLS module of the object, by the number that dlscope or glibc gave it.
fn module(object: &Object, host: &Host) -> Option<u64> {
    object.tls_module.or_else(|| host.tls_module(object))
}

/// The calling thread's TLS block of the object; null if the thread has none yet.
fn block(object: &Object, host: &Host) -> *mut c_void {
    match object.tls_module {
        Some(module) => tls::existing(module).cast(),
        None => match host.tls_offset(object) {
            Some(offset) => tls::below_thread_pointer(offset).cast(),
            None => host.tls_module(object).map_or(ptr::null_mut(), |module| block_of_glibc(module as usize)),
        },
    }
}

/// The calling thread's TLS block of a library that glibc opened itself; null before the thread's first use of it.
fn block_of_glibc(module: usize) -> *mut c_void {
    unsafe extern "C" fn visit(info: *mut libc::dl_phdr_info, _: usize, wanted: *mut c_void) -> c_int {
        // SAFETY: glibc passes a valid `info`, and the caller below its pair.
        let (info, (module, block)) = unsafe { (&*info, &mut *wanted.cast::<(usize, *mut c_void)>()) };
        let found = info.dlpi_tls_modid == *module;
        if found {
            *block = info.dlpi_tls_data;
        }
        c_int::from(found)
    }
    let mut wanted = (module, ptr::null_mut());
    // SAFETY: the callback takes this argument, and calls nothing.
    without_fork(|| unsafe { host::real::iterate()(Some(visit), (&raw mut wanted).cast()) });
    wanted.1
}

/// The directories in which files that the object needs are searched for, in order. glibc `_dl_rtld_di_serinfo`.
fn search_path(object: &Arc<Object>, host: &Host) -> Vec<OsString> {
    let paths = search_paths(object);
    let executable = host.startup().first().map(|o| search_paths(o));
    let mut found = Vec::new();
    // Of a folder that a list names twice, glibc knows only the first (`fillin_rpath`).
    let mut add = |dirs: &mut dyn Iterator<Item = String>| {
        let list = found.len();
        for dir in dirs {
            if !found[list..].contains(&dir) {
                found.push(dir);
            }
        }
    };
    if paths.runpath.is_none() {
        let own = paths.rpath.iter();
        let executable = executable.iter().flat_map(|e| &e.rpath).filter(|rpath| !paths.rpath.contains(rpath));
        own.chain(executable).for_each(|(_, dirs)| add(&mut dirs.iter().cloned()));
    }
    let origin = executable.map_or("", |e| e.origin());
    let list = host::ld_library_path();
    add(&mut list.iter().flat_map(|l| l.split([':', ';'])).map(|dir| directory(dir, origin)));
    add(&mut paths.runpath.iter().flatten().cloned());
    if !paths.no_default_dirs {
        add(&mut default_dirs().iter().map(|dir| dir.to_string()));
    }
    found.iter().map(|dir| unescape(dir).into_owned()).collect()
}

/// Writes a `Dl_serinfo`: only its size and its count, or with `all` the paths as well.
///
/// # Safety
/// `info` has room for the head of a `Dl_serinfo`; with `all`, for as many bytes as the size that was written before.
unsafe fn search_info(paths: &[OsString], all: bool, info: *mut SerInfo) {
    let strings: usize = paths.iter().map(|p| p.len() + 1).sum();
    let size = size_of::<SerInfo>() + paths.len() * size_of::<SerPath>() + strings;
    if !all {
        // SAFETY: the caller has room for the head.
        unsafe { info.write(SerInfo { size, count: paths.len() as c_uint }) };
        return;
    }
    // SAFETY: the caller has `size` bytes there: the header, the paths, then the strings.
    unsafe {
        let mut entry = info.add(1).cast::<SerPath>();
        let mut text = entry.add(paths.len()).cast::<u8>();
        for path in paths {
            entry.write(SerPath { name: text.cast(), flags: 0 });
            ptr::copy_nonoverlapping(path.as_bytes().as_ptr(), text, path.len());
            text.add(path.len()).write(0);
            text = text.add(path.len() + 1);
            entry = entry.add(1);
        }
    }
}

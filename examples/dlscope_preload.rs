//! The C ABI as a library for `LD_PRELOAD`: any program's `dlopen` becomes dlscope's.
//!
//! ```text
//! cargo build --release --example dlscope_preload
//! LD_PRELOAD=$PWD/target/release/examples/libdlscope_preload.so python3 -c 'import ssl'
//! ```
//!
//! `dlscope exec -- PROGRAM` does the same. `DLSCOPE_TRACE=FILE` writes the events of every load in the process: as
//! JSON lines if FILE ends in `.json` or `.jsonl`, else as text; `-` is standard error, `%p` the process id.
//!
//! Each function here is a C name for a plain function of `dlscope::capi`. Those that must know who called jump on
//! with the return address, and leave the stack as it is.

use std::arch::naked_asm;
use std::ffi::{CStr, c_char, c_int, c_long, c_void};
use std::io::Write;
use std::sync::{Arc, Mutex, PoisonError};

use dlscope::{Event, Loader, Probe, capi};
use nix::libc;

dlscope::interpose!();

/// Never the program's: it may ask `dlsym` for the real one, be in the middle of its work when a signal comes, or have
/// nothing left.
#[global_allocator]
static HEAP: capi::Heap = capi::Heap;

// ── who called ───────────────────────────────────────────────────────────────────────────────────────────

/// `dlopen(file, mode)`.
#[unsafe(naked)]
#[unsafe(no_mangle)]
unsafe extern "C" fn dlopen(file: *const c_char, mode: c_int) -> *mut c_void {
    naked_asm!(".cfi_startproc", "mov rdx, [rsp]", "jmp {inner}", ".cfi_endproc", inner = sym open)
}

unsafe extern "C-unwind" fn open(file: *const c_char, mode: c_int, from: *const c_void) -> *mut c_void {
    capi::before_first_use(start_trace);
    // SAFETY: the caller's.
    unsafe { capi::dlopen_from(file, mode, from) }
}

/// `dlmopen(namespace, file, mode)`.
#[unsafe(naked)]
#[unsafe(no_mangle)]
unsafe extern "C" fn dlmopen(namespace: c_long, file: *const c_char, mode: c_int) -> *mut c_void {
    naked_asm!(".cfi_startproc", "mov rcx, [rsp]", "jmp {inner}", ".cfi_endproc", inner = sym open_in)
}

unsafe extern "C-unwind" fn open_in(
    space: c_long,
    file: *const c_char,
    mode: c_int,
    from: *const c_void,
) -> *mut c_void {
    capi::before_first_use(start_trace);
    // SAFETY: the caller's.
    unsafe { capi::dlmopen_from(space, file, mode, from) }
}

/// `dlsym(handle, name)`.
#[unsafe(naked)]
#[unsafe(no_mangle)]
unsafe extern "C" fn dlsym(handle: *mut c_void, name: *const c_char) -> *mut c_void {
    naked_asm!(".cfi_startproc", "jmp {inner}", ".cfi_endproc", inner = sym capi::dlsym)
}

/// `dlvsym(handle, name, version)`.
#[unsafe(naked)]
#[unsafe(no_mangle)]
unsafe extern "C" fn dlvsym(handle: *mut c_void, name: *const c_char, version: *const c_char) -> *mut c_void {
    naked_asm!(".cfi_startproc", "jmp {inner}", ".cfi_endproc", inner = sym capi::dlvsym)
}

/// `__tls_get_addr(index)`. Some compilers call it with a misaligned stack.
#[unsafe(naked)]
#[unsafe(no_mangle)]
unsafe extern "C" fn __tls_get_addr(index: *const c_void) -> *mut c_void {
    naked_asm!(".cfi_startproc", "jmp {inner}", ".cfi_endproc", inner = sym capi::tls_get_addr)
}

// ── the others ───────────────────────────────────────────────────────────────────────────────────────────

/// The same function under its C name.
macro_rules! c_name {
    ($($name:ident($($argument:ident: $type:ty),*) -> $result:ty = $function:path;)*) => {$(
        #[unsafe(no_mangle)]
        unsafe extern "C" fn $name($($argument: $type),*) -> $result {
            // SAFETY: the caller's.
            #[allow(unused_unsafe)]
            unsafe { $function($($argument),*) }
        }
    )*};
}

type Start = extern "C" fn(*mut c_void) -> *mut c_void;
type StartOfC11 = extern "C" fn(*mut c_void) -> c_int;
type Destructor = unsafe extern "C-unwind" fn(*mut c_void);

c_name! {
    dlclose(handle: *mut c_void) -> c_int = capi::dlclose;
    dlerror() -> *const c_char = capi::dlerror;
    dladdr(address: *const c_void, info: *mut libc::Dl_info) -> c_int = capi::dladdr;
    dladdr1(address: *const c_void, info: *mut libc::Dl_info, extra: *mut *mut c_void, flags: c_int) -> c_int = capi::dladdr1;
    backtrace_symbols(addresses: *const *mut c_void, size: c_int) -> *mut *mut c_char = capi::backtrace_symbols;
    backtrace_symbols_fd(addresses: *const *mut c_void, size: c_int, fd: c_int) -> () = capi::backtrace_symbols_fd;
    dlinfo(handle: *mut c_void, request: c_int, argument: *mut c_void) -> c_int = capi::dlinfo;
    __cxa_thread_atexit(destructor: Destructor, argument: *mut c_void, dso: *const c_void) -> c_int = capi::thread_atexit;
    __cxa_thread_atexit_impl(destructor: Destructor, argument: *mut c_void, dso: *const c_void) -> c_int = capi::thread_atexit_impl;
    thrd_create(thread: *mut libc::pthread_t, start: StartOfC11, argument: *mut c_void) -> c_int = capi::thrd_create;
    pthread_create(thread: *mut libc::pthread_t, attributes: *const libc::pthread_attr_t, start: Start, argument: *mut c_void) -> c_int = capi::pthread_create;
}

// ── DLSCOPE_TRACE ────────────────────────────────────────────────────────────────────────────────────────

/// Writes each event where `DLSCOPE_TRACE` says.
struct Trace {
    file: String,
}

impl Probe for Trace {
    fn event(&self, event: &Event) {
        let Ok(json) = serde_json::to_value(event) else { return };
        let is_json = self.file.ends_with(".json") || self.file.ends_with(".jsonl");
        let mut line = if is_json { json.to_string() } else { text(event, &json) };
        line.push('\n');
        // One write a line, so that several threads and processes share a file. And a descriptor only for that moment:
        // programs close those that they do not know.
        let _ = match self.file.as_str() {
            "-" => std::io::stderr().write_all(line.as_bytes()),
            file => {
                let file = file.replace("%p", &std::process::id().to_string());
                let opened = std::fs::OpenOptions::new().append(true).create(true).open(file);
                opened.and_then(|mut file| file.write_all(line.as_bytes()))
            }
        };
    }
}

/// `load 2  #17  relocate  libz.so.1  store  address=0x… …`: the system call as strace prints it, or the fields.
fn text(event: &Event, json: &serde_json::Value) -> String {
    let field = |name: &str| match &json[name] {
        serde_json::Value::String(text) => text.clone(),
        serde_json::Value::Null => String::new(),
        other => other.to_string(),
    };
    let object = match &json["object"] {
        serde_json::Value::Object(tag) => tag.get("name").and_then(|n| n.as_str()).unwrap_or_default().to_string(),
        _ => field("object"),
    };
    let name = object.rsplit('/').next().unwrap_or_default();
    let what = event.kind.strace().unwrap_or_else(|| {
        const HEAD: [&str; 10] =
            ["version", "v", "seq", "load", "parent", "thread", "stage", "object", "event", "source"];
        let fields = json.as_object().into_iter().flatten().filter(|(key, _)| !HEAD.contains(&key.as_str()));
        let fields: Vec<String> = fields.map(|(key, value)| format!("{key}={value}")).collect();
        fields.join(" ")
    });
    format!(
        "load {} #{} {:<9} {name:<20} {:<14} {what}",
        field("load"),
        field("seq"),
        field("stage"),
        event.kind.name()
    )
}

/// What `DLSCOPE_TRACE` said at the start, and how long it is.
static FILE: Mutex<([u8; 4096], usize)> = Mutex::new(([0; 4096], 0));

/// Nothing is allocated here: an allocator that the program brings along may not work yet.
#[used]
#[unsafe(link_section = ".init_array")]
static AT_START: extern "C" fn(c_int, *const *const c_char, *const *const c_char) = at_start;

extern "C" fn at_start(_: c_int, _: *const *const c_char, envp: *const *const c_char) {
    let mut at = envp;
    // SAFETY: glibc hands constructors the process's own environment: an array of C strings that ends in null.
    while let Some(variable) = unsafe { at.as_ref() }.filter(|variable| !variable.is_null()) {
        // SAFETY: as above.
        let variable = unsafe { CStr::from_ptr(*variable) }.to_bytes();
        if let Some(file) = variable.strip_prefix(b"DLSCOPE_TRACE=").filter(|file| (1..=4096).contains(&file.len())) {
            let (bytes, length) = &mut *FILE.lock().unwrap_or_else(PoisonError::into_inner);
            bytes[..file.len()].copy_from_slice(file);
            *length = file.len();
        }
        // SAFETY: as above.
        at = unsafe { at.add(1) };
    }
    // The first `dlsym` may make a namespace that tells nobody.
    capi::before_first_use(start_trace);
}

/// Before the first load. Whoever calls may be a constructor that runs before ours.
fn start_trace() {
    let file = {
        let (bytes, length) = &*FILE.lock().unwrap_or_else(PoisonError::into_inner);
        String::from_utf8_lossy(&bytes[..*length]).into_owned()
    };
    let file = if file.is_empty() { std::env::var("DLSCOPE_TRACE").unwrap_or_default() } else { file };
    if !file.is_empty() {
        Loader::new().probe(Arc::new(Trace { file })).make_process_wide();
    }
}

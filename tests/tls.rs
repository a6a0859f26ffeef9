//! Thread-local storage of loaded libraries: every model, in the opening thread, in threads that ran before and
//! in threads that came after; what glibc refuses; destructors; and that threads cost what they cost before.

mod common;

use std::ffi::{c_int, c_void};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicI32, Ordering};
use std::sync::{Arc, Barrier, Mutex};
use std::time::Duration;
use std::{env, fs, thread};

use common::{in_own_process, library, maps};
use dlscope::event::{Event, Kind};
use dlscope::{ErrorKind, Library, Loader, Probe};
use nix::errno::Errno;
use nix::libc;

/// Compiles a C (or C++) library for one test; `None` where there is no such compiler.
fn compile(name: &str, source: &str, flags: &[&str]) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("tls");
    fs::create_dir_all(&folder).unwrap();
    let (source_file, library) = (folder.join(format!("{name}.c")), folder.join(format!("lib{name}.so")));
    fs::write(&source_file, source).unwrap();
    let compiler = env::var("CC").unwrap_or_else(|_| "cc".into());
    let mut command = Command::new(compiler);
    command.args(["-shared", "-fPIC", "-O1", "-o"]).arg(&library).arg(&source_file).args(flags);
    assert!(command.status().unwrap().success(), "{name}");
    library
}

/// Three variables: with a value, without one, and aligned; each thread must find its own, fresh.
const VARIABLES: &str = r#"
static __thread int answer = 42;
static __thread int zero;
static __thread char aligned[64] __attribute__((aligned(64)));
int look(void) {
    int first = answer == 42 && zero == 0 && aligned[0] == 0 && ((unsigned long)aligned & 63) == 0;
    answer = 1; zero = 2; aligned[0] = 3;
    return first && answer == 1 && zero == 2;
}
"#;

/// One model in main, in a thread that was there before the load, and in new threads, while others churn.
fn every_thread_finds_its_own(name: &'static str, flags: &[&str]) {
    let path = compile(name, VARIABLES, flags);
    let start = Arc::new(Barrier::new(2));
    let loaded = Arc::new(Barrier::new(2));
    let stop = Arc::new(AtomicBool::new(false));
    static LOOK: std::sync::OnceLock<unsafe extern "C" fn() -> c_int> = std::sync::OnceLock::new();
    // SAFETY: `look` of the library, which stays open to the end.
    let look = || unsafe { LOOK.get().unwrap()() };
    let old = {
        let (start, loaded) = (start.clone(), loaded.clone());
        thread::spawn(move || {
            start.wait();
            loaded.wait();
            look()
        })
    };
    let churn = {
        let stop = stop.clone();
        thread::spawn(move || {
            while !stop.load(Ordering::Relaxed) {
                thread::spawn(|| {}).join().unwrap();
            }
        })
    };
    start.wait();
    // SAFETY: the library above.
    let library = unsafe { Library::open(&path) }.unwrap_or_else(|e| panic!("{e}"));
    // SAFETY: its only function.
    LOOK.set(unsafe { *library.get("look").unwrap() }).unwrap();
    loaded.wait();
    assert_eq!(look(), 1, "the opening thread");
    assert_eq!(old.join().unwrap(), 1, "the thread that was there before");
    for _ in 0..3 {
        assert_eq!(thread::spawn(look).join().unwrap(), 1, "a new thread");
    }
    stop.store(true, Ordering::Relaxed);
    churn.join().unwrap();
    library.close().unwrap();
}

macro_rules! model {
    ($name:ident, $flags:expr) => {
        #[test]
        fn $name() {
            in_own_process(stringify!($name), || every_thread_finds_its_own(stringify!($name), &$flags));
        }
    };
}

model!(general_dynamic_variables_are_each_threads_own, ["-ftls-model=global-dynamic"]);
model!(local_dynamic_variables_are_each_threads_own, ["-ftls-model=local-dynamic"]);
model!(initial_exec_variables_are_each_threads_own, ["-ftls-model=initial-exec"]);
model!(variables_behind_descriptors_are_each_threads_own, ["-mtls-dialect=gnu2"]);

#[test]
fn a_descriptor_keeps_every_vector_register() {
    in_own_process("a_descriptor_keeps_every_vector_register", || {
        if !std::arch::is_x86_feature_detected!("avx") {
            return;
        }
        // Too large for the part of the arena that descriptors get: the dynamic way, slow in each new thread.
        let source = r#"
            #include <immintrin.h>
            __thread char big[8192];
            int check(void) {
                register __m256d a asm("ymm5") = _mm256_set_pd(1, 2, 3, 4);
                register __m256d b asm("ymm15") = _mm256_set_pd(5, 6, 7, 8);
                asm volatile("" : "+x"(a), "+x"(b));
                char *place;
                asm volatile("lea big@tlsdesc(%%rip), %%rax\n\tcall *big@tlscall(%%rax)\n\tadd %%fs:0, %%rax"
                             : "=a"(place), "+x"(a), "+x"(b) : : "cc", "memory");
                double x[4], y[4];
                _mm256_storeu_pd(x, a); _mm256_storeu_pd(y, b);
                place[0]++; place[8191]++;
                return x[0] == 4 && x[3] == 1 && y[0] == 8 && y[3] == 5 && place[0] == place[8191];
            }
        "#;
        let path = compile("descriptor", source, &["-mtls-dialect=gnu2", "-mavx"]);
        // SAFETY: the library above.
        let library = unsafe { Library::open(&path) }.unwrap_or_else(|e| panic!("{e}"));
        // SAFETY: its only function.
        let check: unsafe extern "C" fn() -> c_int = unsafe { *library.get("check").unwrap() };
        for _ in 0..3 {
            // SAFETY: as above.
            assert_eq!(thread::spawn(move || unsafe { check() + check() }).join().unwrap(), 2);
        }
    });
}

#[test]
fn a_variable_found_by_name_is_the_calling_threads() {
    in_own_process("a_variable_found_by_name_is_the_calling_threads", || {
        let path = compile("named", "__thread int number = 7; int *where(void) { return &number; }", &[]);
        // SAFETY: the library above.
        let library = Arc::new(unsafe { Library::open(&path) }.unwrap());
        let ask = |library: &Library| {
            // SAFETY: the types of the source above.
            unsafe {
                let place = *library.get::<*mut c_int>("number").unwrap();
                assert_eq!(place, library.get::<unsafe extern "C" fn() -> *mut c_int>("where").unwrap()());
                assert_eq!(*place, 7);
                *place += 1;
                place as usize
            }
        };
        let here = ask(&library);
        let there = thread::spawn({
            let library = library.clone();
            move || ask(&library)
        })
        .join()
        .unwrap();
        assert_ne!(here, there);
    });
}

#[test]
fn jemalloc_which_glibc_refuses_serves_three_threads() {
    in_own_process("jemalloc_which_glibc_refuses_serves_three_threads", || {
        if library("libjemalloc.so.2").is_none() {
            return;
        }
        static FUNCTIONS: std::sync::OnceLock<[usize; 2]> = std::sync::OnceLock::new();
        let use_it = || {
            let [malloc, free] = *FUNCTIONS.get().unwrap();
            // SAFETY: malloc and free of stdlib.h, which jemalloc exports.
            unsafe {
                let malloc: unsafe extern "C" fn(usize) -> *mut u8 = std::mem::transmute(malloc);
                let free: unsafe extern "C" fn(*mut u8) = std::mem::transmute(free);
                let blocks: Vec<_> = (1..2000_usize).map(|n| (malloc(n), n)).collect();
                for &(block, n) in &blocks {
                    block.write_bytes(n as u8, n);
                }
                for (block, n) in blocks {
                    assert_eq!(*block.add(n - 1), n as u8);
                    free(block);
                }
            }
        };
        let (start, loaded) = (Arc::new(Barrier::new(2)), Arc::new(Barrier::new(2)));
        let old = thread::spawn({
            let (start, loaded) = (start.clone(), loaded.clone());
            move || {
                start.wait();
                loaded.wait();
                use_it();
            }
        });
        start.wait();
        // SAFETY: a library of the system.
        let jemalloc = unsafe { Library::open("libjemalloc.so.2") }.unwrap_or_else(|e| panic!("{e}"));
        // SAFETY: the addresses are used as what they are, above.
        let find = |name: &str| unsafe { jemalloc.get::<*const c_void>(name).unwrap().as_raw_ptr() as usize };
        FUNCTIONS.set(["malloc", "free"].map(find)).unwrap();
        loaded.wait();
        use_it();
        thread::spawn(use_it).join().unwrap();
        old.join().unwrap();
        std::mem::forget(jemalloc);
    });
}

#[test]
fn what_does_not_fit_is_refused_with_the_numbers() {
    in_own_process("what_does_not_fit_is_refused_with_the_numbers", || {
        let source = "static __thread char huge[100000]; char *where(void) { return huge; }";
        let path = compile("huge", source, &["-ftls-model=initial-exec"]);
        // SAFETY: the library above.
        let error = unsafe { Library::open(&path) }.map(drop).unwrap_err();
        assert!(matches!(error.kind, ErrorKind::StaticTls { asked: 100_000, left: 8192, .. }), "{error}");
        assert!(error.to_string().contains("cannot allocate memory in static TLS block"), "{error}");
        // A hundred libraries one after the other: their room is given back.
        let small = compile(
            "small",
            "static __thread char some[5000] = {1}; char *where(void) { return some; }",
            &["-ftls-model=initial-exec"],
        );
        for _ in 0..100 {
            // SAFETY: the library above.
            unsafe { Loader::new().open(&small) }.unwrap_or_else(|e| panic!("{e}")).close().unwrap();
        }
    });
}

#[test]
fn a_thread_with_a_small_stack_still_starts() {
    in_own_process("a_thread_with_a_small_stack_still_starts", || {
        extern "C" fn nothing(_: *mut c_void) -> *mut c_void {
            std::ptr::null_mut()
        }
        // SAFETY: plain use of pthread.h.
        unsafe {
            let mut attributes: libc::pthread_attr_t = std::mem::zeroed();
            libc::pthread_attr_init(&mut attributes);
            assert_eq!(libc::pthread_attr_setstacksize(&mut attributes, 16384), 0);
            let mut id = 0;
            assert_eq!(libc::pthread_create(&mut id, &attributes, nothing, std::ptr::null_mut()), 0);
            libc::pthread_join(id, std::ptr::null_mut());
        }
        drop(Loader::new().prepare("libz.so.1"));
    });
}

/// A C library that registers a destructor as a C++ compiler would.
const WITH_DESTRUCTOR: &str = r#"
extern int __cxa_thread_atexit_impl(void (*)(void *), void *, void *);
extern void *__dso_handle;
static void ends(void *count) { ++*(int *)count; }
void remember(int *count) { __cxa_thread_atexit_impl(ends, count, &__dso_handle); }
"#;

#[test]
fn a_destructor_runs_once_at_the_end_of_its_thread_and_the_library_waits_for_it() {
    in_own_process("a_destructor_runs_once_at_the_end_of_its_thread_and_the_library_waits_for_it", || {
        let path = compile("destructor", WITH_DESTRUCTOR, &[]);
        let mapped = || maps().iter().any(|line| line.contains("libdestructor.so"));
        // SAFETY: the library above.
        let library = unsafe { Library::open(&path) }.unwrap_or_else(|e| panic!("{e}"));
        let (registered, closed) = (Arc::new(Barrier::new(2)), Arc::new(Barrier::new(2)));
        static mut COUNT: c_int = 0;
        // SAFETY: the type of the source above.
        let remember: unsafe extern "C" fn(*mut c_int) = unsafe { *library.get("remember").unwrap() };
        let other = thread::spawn({
            let (registered, closed) = (registered.clone(), closed.clone());
            move || {
                // SAFETY: a static, which outlives the thread.
                unsafe { remember(&raw mut COUNT) };
                registered.wait();
                closed.wait();
            }
        });
        registered.wait();
        library.close().unwrap();
        assert!(mapped(), "a destructor waits in the other thread");
        closed.wait();
        other.join().unwrap();
        // SAFETY: the thread is over.
        assert_eq!(unsafe { COUNT }, 1);
        // As in glibc, it goes with the next close.
        let another = compile("another", "int another = 1;", &[]);
        // SAFETY: it has no code.
        unsafe { Library::open(&another) }.unwrap_or_else(|e| panic!("{e}")).close().unwrap();
        assert!(!mapped(), "nothing needs it any more");
    });
}

#[test]
fn unloading_and_loading_again_gives_fresh_variables() {
    in_own_process("unloading_and_loading_again_gives_fresh_variables", || {
        for (name, flags) in [("again_gd", "-ftls-model=global-dynamic"), ("again_ie", "-ftls-model=initial-exec")] {
            let path = compile(name, VARIABLES, &[flags]);
            for round in 0..20 {
                // SAFETY: the library above.
                let library = unsafe { Library::open(&path) }.unwrap_or_else(|e| panic!("{e}"));
                // SAFETY: its only function.
                let fresh = unsafe { library.get::<unsafe extern "C" fn() -> c_int>("look").unwrap()() };
                assert_eq!(fresh, 1, "{name}, round {round}");
            }
        }
    });
}

/// A probe that calls a function of a loaded library, which uses a thread-local variable for the first time in this
/// thread.
#[test]
fn a_probe_may_use_a_thread_local_variable_while_a_load_takes_room_in_the_arena() {
    in_own_process("a_probe_may_use_a_thread_local_variable_while_a_load_takes_room_in_the_arena", || {
        struct Uses {
            look: unsafe extern "C" fn() -> c_int,
            events: Mutex<Vec<(&'static str, c_int)>>,
        }
        impl Probe for Uses {
            fn event(&self, event: &Event) {
                let name = match event.kind {
                    Kind::StaticTls { .. } => "StaticTls",
                    Kind::InstallTls { .. } => "InstallTls",
                    _ => return,
                };
                // SAFETY: a function of the library below, which stays open.
                let fresh = unsafe { (self.look)() };
                self.events.lock().unwrap().push((name, fresh));
            }
        }
        // SAFETY: unistd.h. What waits for ever ends this process.
        unsafe { libc::alarm(60) };
        let dynamic = compile("of_probe", VARIABLES, &["-ftls-model=global-dynamic"]);
        // SAFETY: the library above.
        let library = unsafe { Library::open(&dynamic) }.unwrap_or_else(|e| panic!("{e}"));
        // SAFETY: its only function.
        let look = unsafe { *library.get::<unsafe extern "C" fn() -> c_int>("look").unwrap() };
        let probe = Arc::new(Uses { look, events: Mutex::default() });
        for (name, flags) in [("probed_ie", "-ftls-model=initial-exec"), ("probed_desc", "-mtls-dialect=gnu2")] {
            let path = compile(name, VARIABLES, &[flags]);
            // Each load in a thread of its own, where the probe is the first to ask.
            let loader = Loader::new().probe(probe.clone());
            // SAFETY: the library above.
            thread::spawn(move || unsafe { loader.open(&path) }.unwrap_or_else(|e| panic!("{e}"))).join().unwrap();
            // The second time they are used, and no longer fresh.
            let events = std::mem::take(&mut *probe.events.lock().unwrap());
            assert_eq!(events, [("StaticTls", 1), ("InstallTls", 0)], "{name}");
        }
    });
}

/// From here on the system call `number` of this thread, and of those that it makes, has the answer `action`.
fn filter(number: i64, action: u32, flags: u64) -> i64 {
    let instruction = |code: u32, jt, k| libc::sock_filter { code: code as u16, jt, jf: 0, k };
    let mut filter = [
        // The number of the call is the first word of `struct seccomp_data`.
        instruction(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0, 0),
        instruction(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, 1, number as u32),
        instruction(libc::BPF_RET | libc::BPF_K, 0, libc::SECCOMP_RET_ALLOW),
        instruction(libc::BPF_RET | libc::BPF_K, 0, action),
    ];
    let program = libc::sock_fprog { len: filter.len() as u16, filter: filter.as_mut_ptr() };
    // SAFETY: prctl(2) and seccomp(2): a filter of these instructions.
    let result = unsafe {
        assert_eq!(libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), 0);
        libc::syscall(libc::SYS_seccomp, libc::SECCOMP_SET_MODE_FILTER, flags, &raw const program)
    };
    assert!(result >= 0, "{}", std::io::Error::last_os_error());
    result
}

/// glibc's new threads tell the kernel of their list of robust mutexes with their first steps; a supervisor lets these
/// threads wait before they do.
#[test]
fn a_thread_that_has_not_begun_to_run_finds_its_own() {
    in_own_process("a_thread_that_has_not_begun_to_run_finds_its_own", || {
        let path = compile("unborn", VARIABLES, &["-ftls-model=initial-exec"]);
        static LISTENER: AtomicI32 = AtomicI32::new(-1);
        // Made before the filter, which it does not have.
        thread::spawn(|| {
            while LISTENER.load(Ordering::SeqCst) < 0 {
                thread::yield_now();
            }
            let listener = LISTENER.load(Ordering::SeqCst);
            loop {
                // SAFETY: seccomp_unotify(2); zeros are valid in both structures.
                unsafe {
                    let mut call: libc::seccomp_notif = std::mem::zeroed();
                    let mut answer: libc::seccomp_notif_resp = std::mem::zeroed();
                    if libc::ioctl(listener, libc::SECCOMP_IOCTL_NOTIF_RECV, &raw mut call) != 0 {
                        continue;
                    }
                    thread::sleep(Duration::from_millis(300));
                    answer.id = call.id;
                    answer.flags = libc::SECCOMP_USER_NOTIF_FLAG_CONTINUE as u32;
                    libc::ioctl(listener, libc::SECCOMP_IOCTL_NOTIF_SEND, &raw mut answer);
                }
            }
        });
        let flags = libc::SECCOMP_FILTER_FLAG_NEW_LISTENER;
        let listener = filter(libc::SYS_set_robust_list, libc::SECCOMP_RET_USER_NOTIF, flags);
        LISTENER.store(listener as i32, Ordering::SeqCst);
        for round in 0..5 {
            let (send, receive) = std::sync::mpsc::channel::<unsafe extern "C" fn() -> c_int>();
            // SAFETY: `look` of the library below, which stays open until the thread is over.
            let new = thread::spawn(move || unsafe { receive.recv().unwrap()() });
            // SAFETY: the library above.
            let library = unsafe { Loader::new().open(&path) }.unwrap_or_else(|e| panic!("{e}"));
            // SAFETY: its only function.
            send.send(unsafe { *library.get("look").unwrap() }).unwrap();
            assert_eq!(new.join().unwrap(), 1, "round {round}");
        }
    });
}

/// A thread that waits until it is given a function, and returns what the function said.
type Asked = (std::sync::mpsc::Sender<unsafe extern "C" fn() -> c_int>, thread::JoinHandle<c_int>);

fn waiting_thread() -> Asked {
    let (send, receive) = std::sync::mpsc::channel::<unsafe extern "C" fn() -> c_int>();
    // SAFETY: `look` of a library that stays open until the thread is over.
    (send, thread::spawn(move || unsafe { receive.recv().unwrap()() }))
}

/// `library` was loaded after this thread was made.
fn finds_its_own((send, thread): Asked, library: &Library) {
    // SAFETY: the library's only function.
    send.send(unsafe { *library.get("look").unwrap() }).unwrap();
    assert_eq!(thread.join().unwrap(), 1);
}

#[test]
fn other_threads_are_reached_where_a_sandbox_forbids_to_write_into_processes() {
    in_own_process("other_threads_are_reached_where_a_sandbox_forbids_to_write_into_processes", || {
        let path = compile("sandboxed", VARIABLES, &["-ftls-model=initial-exec"]);
        for (number, errno) in [
            (libc::SYS_get_robust_list, Errno::EPERM),
            (libc::SYS_process_vm_writev, Errno::ENOSYS),
            (libc::SYS_process_vm_readv, Errno::EPERM),
        ] {
            let other = waiting_thread();
            filter(number, libc::SECCOMP_RET_ERRNO | errno as u32, 0);
            // SAFETY: the library above.
            let library = unsafe { Library::open(&path) }.unwrap_or_else(|e| panic!("{number}: {e}"));
            finds_its_own(other, &library);
        }
    });
}

#[test]
fn a_load_ends_where_the_kernel_lets_nobody_reach_other_threads() {
    in_own_process("a_load_ends_where_the_kernel_lets_nobody_reach_other_threads", || {
        let path = compile("no_way", VARIABLES, &["-ftls-model=initial-exec"]);
        // Somebody must be there who would be missed.
        let (end, ended) = std::sync::mpsc::channel::<()>();
        let other = thread::spawn(move || ended.recv());
        filter(libc::SYS_process_vm_readv, libc::SECCOMP_RET_ERRNO | Errno::EPERM as u32, 0);
        filter(libc::SYS_pipe2, libc::SECCOMP_RET_ERRNO | Errno::EMFILE as u32, 0);
        // SAFETY: the library above.
        let error = unsafe { Library::open(&path) }.map(drop).unwrap_err();
        let ErrorKind::System { call, errno } = &error.kind else { panic!("{error}") };
        assert!(call.starts_with("pipe2(") && *errno == Errno::EMFILE, "{error}");
        assert!(!maps().iter().any(|line| line.contains("libno_way.so")), "nothing stays behind");
        drop(end);
        assert!(other.join().unwrap().is_err());
    });
}

/// A task that `clone` made without a thread pointer of its own is no thread of glibc, and has no variables.
#[test]
fn a_bare_task_is_not_waited_for() {
    in_own_process("a_bare_task_is_not_waited_for", || {
        extern "C" fn sleeps(_: *mut c_void) -> c_int {
            loop {
                // SAFETY: pause(2).
                unsafe { libc::syscall(libc::SYS_pause) };
            }
        }
        let path = compile("bare", VARIABLES, &["-ftls-model=initial-exec"]);
        let other = waiting_thread();
        let stack = Box::leak(vec![0_u128; 4096].into_boxed_slice());
        let flags = libc::CLONE_VM | libc::CLONE_FS | libc::CLONE_FILES | libc::CLONE_SIGHAND | libc::CLONE_THREAD;
        // SAFETY: a stack of 64 KiB for a function that never returns; the end of the process ends it.
        let task = unsafe { libc::clone(sleeps, stack.as_mut_ptr_range().end.cast(), flags, std::ptr::null_mut()) };
        assert!(task > 0, "{}", std::io::Error::last_os_error());
        // SAFETY: the library above.
        let library = unsafe { Library::open(&path) }.unwrap_or_else(|e| panic!("{e}"));
        finds_its_own(other, &library);
    });
}

//! The traps that loaders fall into, each as it bites in real programs: OpenMP's initial-exec variables, C++
//! `thread_local` in every order of close and thread end, exceptions and backtraces while libraries come and go
//! at the same address, and everything of which a process must have just one.

mod common;

use std::alloc::{GlobalAlloc, Layout, System};
use std::collections::BTreeSet;
use std::ffi::{c_char, c_int, c_void};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Barrier, Mutex};
use std::{env, fs, mem, ptr, thread};

use common::{in_own_process_with, maps};
use dlscope::{ErrorKind, Library, Loader};
use nix::libc;

dlscope::interpose!();

// ── helpers ──────────────────────────────────────────────────────────────────────────────────────────────

/// Whether libstdc++ is in the process from the start.
#[derive(Clone, Copy, PartialEq)]
enum LibStdCxx {
    /// A start-up object: the program was started with it.
    OfTheHost,
    /// Loaded by us, with the first library that needs it.
    Ours,
}

/// Runs `body` in a process of its own. What it compiles does not count for the watchdog, so it says itself when
/// that is done ([`watch`]).
fn trap(name: &str, libstdcxx: LibStdCxx, body: impl FnOnce()) {
    let preload = |command: &mut Command| {
        if libstdcxx == LibStdCxx::OfTheHost {
            command.env("LD_PRELOAD", "libstdc++.so.6");
        }
    };
    in_own_process_with(name, preload, || {
        let here = maps().iter().any(|line| line.contains("libstdc++.so.6"));
        assert_eq!(here, libstdcxx == LibStdCxx::OfTheHost);
        body();
    });
}

/// From here on the process has a minute.
fn watch() {
    // SAFETY: unistd.h; the signal's default action ends the process.
    unsafe { libc::alarm(60) };
}

/// Compiles C++ (or C, for a name that ends in `.c`) into `lib<name>.so`, in a folder of this process.
fn compile(name: &str, source: &str, flags: &[&str]) -> Option<PathBuf> {
    let compiler = if name.ends_with(".c") { "gcc" } else { "g++" };
    if Command::new(compiler).arg("--version").output().is_err() {
        assert!(env::var_os("CI").is_none(), "{compiler} is not installed");
        eprintln!("skipped: {compiler} is not installed");
        return None;
    }
    let stem = name.trim_end_matches(".c");
    let folder = folder();
    let file = folder.join(if name.ends_with(".c") { name.to_string() } else { format!("{name}.cc") });
    let library = folder.join(format!("lib{stem}.so"));
    fs::write(&file, source).unwrap();
    let mut command = Command::new(compiler);
    command.args(["-shared", "-fPIC", "-O1", "-o"]).arg(&library).arg(&file).arg("-L").arg(&folder);
    command.arg(format!("-Wl,-rpath,{}", folder.display())).args(flags).env_remove("LD_PRELOAD");
    assert!(command.status().unwrap().success(), "{name}");
    Some(library)
}

fn folder() -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("traps-{}", std::process::id()));
    fs::create_dir_all(&folder).unwrap();
    folder
}

fn open(path: &Path) -> Library {
    // SAFETY: a library of this test.
    unsafe { Library::open(path) }.unwrap_or_else(|e| panic!("{e}"))
}

/// A function of a library of this test, by the type in its source.
macro_rules! function {
    ($library:expr, $name:literal: $type:ty) => {
        // SAFETY: the type is that of the source above.
        unsafe { *$library.get::<$type>($name).unwrap_or_else(|e| panic!("{e}")) }
    };
}

fn is_mapped(path: &Path) -> bool {
    let file = path.file_name().unwrap().to_str().unwrap();
    maps().iter().any(|line| line.ends_with(&format!("/{file}")))
}

/// A test with libstdc++ from the host and loaded by us.
macro_rules! with_both {
    ($body:ident: $host:ident, $ours:ident) => {
        #[test]
        fn $host() {
            trap(stringify!($host), LibStdCxx::OfTheHost, $body);
        }

        #[test]
        fn $ours() {
            trap(stringify!($ours), LibStdCxx::Ours, $body);
        }
    };
}

/// A thread that does what it is told, one thing after the other.
struct Worker {
    orders: Sender<Box<dyn FnOnce() + Send>>,
    done: Receiver<()>,
    thread: thread::JoinHandle<()>,
}

impl Worker {
    fn start() -> Worker {
        let (orders, inbox) = channel::<Box<dyn FnOnce() + Send>>();
        let (reports, done) = channel();
        let thread = thread::spawn(move || {
            for order in inbox {
                order();
                reports.send(()).unwrap();
            }
        });
        Worker { orders, done, thread }
    }

    fn does(&self, order: impl FnOnce() + Send + 'static) {
        self.orders.send(Box::new(order)).unwrap();
        self.done.recv().unwrap();
    }

    fn ends(self) {
        drop(self.orders);
        self.thread.join().unwrap();
    }
}

// ── 1: static thread-local storage ───────────────────────────────────────────────────────────────────────

#[test]
fn openmp_runs_in_a_loaded_library() {
    let source = r#"
        #include <omp.h>
        static int mine = 42;
        #pragma omp threadprivate(mine)
        long sum(int threads) {
            long total = 0;
            int wrong = 0;
            #pragma omp parallel num_threads(threads) reduction(+ : total, wrong)
            {
                wrong += omp_get_num_threads() != threads;
                #pragma omp for schedule(dynamic, 16)
                for (int i = 1; i <= 10000; i++) total += i;
                #pragma omp critical
                mine++;
                wrong += mine <= 42;
            }
            return wrong ? -1 : total;
        }
    "#;
    trap("openmp_runs_in_a_loaded_library", LibStdCxx::Ours, || {
        let Some(path) = compile("openmp.c", source, &["-fopenmp"]) else { return };
        watch();
        static STOP: AtomicBool = AtomicBool::new(false);
        let churn = thread::spawn(|| {
            while !STOP.load(Ordering::Relaxed) {
                thread::spawn(|| {}).join().unwrap();
            }
        });
        let old = Worker::start();
        old.does(|| ());
        let library = open(&path);
        let gomp = library.objects().into_iter().find(|o| o.path.to_string_lossy().contains("libgomp")).unwrap();
        assert!(!gomp.of_host, "libgomp, which has initial-exec variables, is loaded by us");
        let sum = function!(library, "sum": unsafe extern "C" fn(c_int) -> i64);
        // SAFETY: the type of the source above.
        let check = move || unsafe { assert_eq!([sum(4), sum(1), sum(3)], [50_005_000; 3]) };
        check();
        old.does(check);
        (0..3).for_each(|_| thread::spawn(check).join().unwrap());
        old.ends();
        STOP.store(true, Ordering::Relaxed);
        churn.join().unwrap();
        // Its threads of the pool still wait inside it: as with the system's loader, it is not closed.
        mem::forget(library);
    });
}

/// A block that begins 8 bytes behind a 64-byte boundary, as the linker lays it out if told so.
#[test]
fn a_block_with_a_skew_is_aligned_in_every_thread() {
    let source = r#"
        static __thread long number = 42;
        static __thread char aligned[64] __attribute__((aligned(64)));
        static __thread char also[64] __attribute__((aligned(64))) = "text";
        int look(void) {
            int right = number == 42 && ((unsigned long)aligned & 63) == 0 && ((unsigned long)also & 63) == 0
                && ((unsigned long)&number & 7) == 0 && also[0] == 't' && also[3] == 't' && aligned[0] == 0;
            aligned[0] = 1; also[0] = 2; number = 3;
            return right;
        }
    "#;
    trap("a_block_with_a_skew_is_aligned_in_every_thread", LibStdCxx::Ours, || {
        let models: [(&str, &[&str]); 4] = [
            ("skew-gd.c", &["-ftls-model=global-dynamic"]),
            ("skew-ld.c", &["-ftls-model=local-dynamic"]),
            ("skew-ie.c", &["-ftls-model=initial-exec"]),
            ("skew-desc.c", &["-mtls-dialect=gnu2"]),
        ];
        let script = format!("-Wl,-T,{}", script_with_skew().display());
        for (name, flags) in models {
            let flags = [flags, &[&*script]].concat();
            let Some(path) = compile(name, source, &flags) else { return };
            watch();
            let old = Worker::start();
            old.does(|| ());
            let library = open(&path);
            let skew = skew_of(&fs::read(&path).unwrap());
            assert_eq!(skew, (8, 64), "{name}: the linker did what it was told");
            let look = function!(library, "look": unsafe extern "C" fn() -> c_int);
            // SAFETY: the type of the source above.
            let check = move || unsafe { assert_eq!(look(), 1, "{name}") };
            check();
            old.does(check);
            thread::spawn(check).join().unwrap();
            old.ends();
            library.close().unwrap();
            assert!(!is_mapped(&path));
        }
    });
}

/// The linker's own script, but for the place of the initial image.
fn script_with_skew() -> PathBuf {
    let output = Command::new("ld").args(["-shared", "--verbose"]).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let script = text.split("==================================================\n").nth(1).unwrap();
    let is_image = |line: &&str| line.starts_with("  .tdata");
    assert_eq!(script.lines().filter(is_image).count(), 1, "{script}");
    let change = |line| if is_image(&line) { "  .tdata (ALIGN(64) + 8) :" } else { line };
    let path = folder().join("skew.ld");
    fs::write(&path, script.lines().map(change).collect::<Vec<_>>().join("\n")).unwrap();
    path
}

/// `p_vaddr % p_align` and `p_align` of `PT_TLS`.
fn skew_of(file: &[u8]) -> (u64, u64) {
    let word = |at: usize| u64::from_le_bytes(file[at..at + 8].try_into().unwrap());
    let header = (0..usize::from(file[56])).map(|n| word(32) as usize + n * 56).find(|&at| file[at] == 7).unwrap();
    (word(header + 16) % word(header + 48), word(header + 48))
}

// ── 4: destructors of thread-local variables ─────────────────────────────────────────────────────────────

/// Each destructor reports to the host: which one it is.
const ENDS: &str = r#"
    typedef void (*Report)(int);
    struct Ends { Report report; int which; ~Ends() { if (report) report(which); } };
    static thread_local Ends variable;
    extern "C" void touch(Report report, int which) { variable.report = report; variable.which = which; }
"#;

type Touch = unsafe extern "C" fn(extern "C" fn(c_int), c_int);

static REPORTS: Mutex<Vec<c_int>> = Mutex::new(Vec::new());

extern "C" fn report(which: c_int) {
    REPORTS.lock().unwrap().push(which);
}

fn reports() -> Vec<c_int> {
    mem::take(&mut REPORTS.lock().unwrap())
}

fn touch_of(library: &Library) -> Touch {
    function!(library, "touch": Touch)
}

/// Whether a library whose thread has ended goes with the next close, as in glibc. Not before: destructors of pthread
/// keys run behind those of thread-local variables.
fn goes(path: &Path) -> bool {
    let Some(other) = compile("other", "int other = 1;", &[]) else { return false };
    open(&other).close().unwrap();
    !is_mapped(path)
}

with_both!(destructors_in_every_order:
    destructors_run_once_in_every_order_with_the_hosts_libstdcxx,
    destructors_run_once_in_every_order_with_a_loaded_libstdcxx);

fn destructors_in_every_order() {
    let Some(path) = compile("ends", ENDS, &[]) else { return };
    watch();
    for _ in 0..2 {
        // Close, then the thread ends.
        let (library, worker) = (open(&path), Worker::start());
        let touch = touch_of(&library);
        // SAFETY: the type of the source above; the library is mapped, as is checked.
        let with = |which| move || unsafe { touch(report, which) };
        worker.does(with(1));
        library.close().unwrap();
        assert!(is_mapped(&path), "a destructor waits");
        assert_eq!(reports(), []);
        worker.ends();
        assert_eq!(reports(), [1], "once");
        assert!(goes(&path), "nothing waits any more");

        // The thread ends, then close.
        let (library, worker) = (open(&path), Worker::start());
        let touch = touch_of(&library);
        // SAFETY: as above.
        let with = |which| move || unsafe { touch(report, which) };
        worker.does(with(2));
        worker.ends();
        assert_eq!(reports(), [2]);
        assert!(is_mapped(&path), "it is open");
        library.close().unwrap();
        assert_eq!(reports(), []);
        assert!(!is_mapped(&path));

        // Two threads, one of them before and one after the close.
        let (library, early, late) = (open(&path), Worker::start(), Worker::start());
        let touch = touch_of(&library);
        // SAFETY: as above.
        let with = |which| move || unsafe { touch(report, which) };
        early.does(with(3));
        late.does(with(4));
        early.ends();
        assert_eq!(reports(), [3]);
        library.close().unwrap();
        assert!(is_mapped(&path));
        late.ends();
        assert_eq!(reports(), [4]);
        assert!(goes(&path));

        // Opened again while a destructor waits: it is the same copy, and it stays open when the thread has ended.
        let (library, worker) = (open(&path), Worker::start());
        let touch = touch_of(&library);
        // SAFETY: as above.
        let with = |which| move || unsafe { touch(report, which) };
        worker.does(with(5));
        let place = library.load_bias();
        library.close().unwrap();
        let again = open(&path);
        assert_eq!(again.load_bias(), place);
        worker.ends();
        assert_eq!(reports(), [5]);
        assert!(is_mapped(&path));
        again.close().unwrap();
        assert!(!is_mapped(&path));

        // A thread that touched nothing keeps nothing.
        let (library, worker) = (open(&path), Worker::start());
        worker.does(|| ());
        library.close().unwrap();
        assert!(!is_mapped(&path));
        worker.ends();
        assert_eq!(reports(), []);
    }
}

with_both!(destructors_of_a_chain:
    a_dependency_waits_for_destructors_with_the_hosts_libstdcxx,
    a_dependency_waits_for_destructors_with_a_loaded_libstdcxx);

/// The upper library's destructor calls the lower one; each has a variable of its own.
fn destructors_of_a_chain() {
    let lower = r#"
        typedef void (*Report)(int);
        struct Ends { Report report; int which; ~Ends() { if (report) report(which); } };
        static thread_local Ends variable;
        extern "C" void touch_lower(Report report, int which) { variable.report = report; variable.which = which; }
        extern "C" void lower_says(Report report) { report(100); }
    "#;
    let upper = r#"
        typedef void (*Report)(int);
        extern "C" void lower_says(Report);
        extern "C" void touch_lower(Report, int);
        struct Late { Report report; ~Late() { if (report) report(300); } };
        static thread_local Late late;
        struct UpperEnds {
            Report report; int which;
            ~UpperEnds() { if (report) { lower_says(report); report(which); late.report = report; } }
        };
        static thread_local UpperEnds variable;
        extern "C" void touch(Report report, int which) {
            touch_lower(report, which + 1); variable.report = report; variable.which = which;
        }
    "#;
    let Some(lower) = compile("lower", lower, &[]) else { return };
    let Some(upper) = compile("upper", upper, &["-llower"]) else { return };
    watch();
    let (library, worker) = (open(&upper), Worker::start());
    let touch = touch_of(&library);
    // SAFETY: the type of the source above.
    worker.does(move || unsafe { touch(report, 200) });
    library.close().unwrap();
    assert!(is_mapped(&upper) && is_mapped(&lower), "both wait");
    worker.ends();
    // The last one made is destroyed first; what its destructor makes is destroyed next.
    assert_eq!(reports(), [100, 200, 300, 201]);
    assert!(goes(&upper) && goes(&lower));

    // Only the lower one has something to wait for.
    let (library, worker) = (open(&upper), Worker::start());
    let touch = function!(library, "touch_lower": Touch);
    // SAFETY: as above.
    worker.does(move || unsafe { touch(report, 7) });
    library.close().unwrap();
    assert!(!is_mapped(&upper) && is_mapped(&lower));
    worker.ends();
    assert_eq!(reports(), [7]);
    assert!(goes(&lower));
}

with_both!(a_destructor_closes_its_own_library:
    a_destructor_may_close_its_own_library_with_the_hosts_libstdcxx,
    a_destructor_may_close_its_own_library_with_a_loaded_libstdcxx);

fn a_destructor_closes_its_own_library() {
    static OPEN: Mutex<Option<Library>> = Mutex::new(None);
    extern "C" fn close(which: c_int) {
        report(which);
        let library = OPEN.lock().unwrap().take();
        library.unwrap().close().unwrap();
    }
    let Some(path) = compile("ends", ENDS, &[]) else { return };
    watch();
    let (library, worker) = (open(&path), Worker::start());
    let touch = touch_of(&library);
    *OPEN.lock().unwrap() = Some(library);
    // SAFETY: the type of the source above.
    worker.does(move || unsafe { touch(close, 9) });
    worker.ends();
    assert_eq!(reports(), [9]);
    assert!(goes(&path), "it stayed until its destructor had returned");
}

with_both!(many_threads_end_while_libraries_come_and_go:
    many_threads_end_while_libraries_come_and_go_with_the_hosts_libstdcxx,
    many_threads_end_while_libraries_come_and_go_with_a_loaded_libstdcxx);

fn many_threads_end_while_libraries_come_and_go() {
    static COUNT: AtomicUsize = AtomicUsize::new(0);
    extern "C" fn count(_: c_int) {
        COUNT.fetch_add(1, Ordering::SeqCst);
    }
    let Some(path) = compile("ends", ENDS, &[]) else { return };
    watch();
    const ROUNDS: usize = 50;
    const THREADS: usize = 4;
    for _ in 0..ROUNDS {
        let library = Arc::new(open(&path));
        let touched = Arc::new(Barrier::new(THREADS));
        let threads: Vec<_> = (0..THREADS)
            .map(|_| {
                let (library, touched) = (library.clone(), touched.clone());
                thread::spawn(move || {
                    // SAFETY: the type of the source above.
                    unsafe { touch_of(&library)(count, 0) };
                    touched.wait();
                    // The last of them closes it, and all end at about the same time.
                    drop(library);
                })
            })
            .collect();
        drop(library);
        threads.into_iter().for_each(|thread| thread.join().unwrap());
    }
    assert_eq!(COUNT.load(Ordering::SeqCst), ROUNDS * THREADS);
    // The library stays while the last thread ends, and the next close clears up.
    open(&path).close().unwrap();
    assert!(!is_mapped(&path));
}

/// A process whose exiting thread still has such a variable, in a library that is closed (`CLOSED`) or open.
#[test]
fn exits_with_a_variable() {
    let Ok(case) = env::var("EXITS_WITH_A_VARIABLE") else { return };
    extern "C" fn say(which: c_int) {
        println!("\nsaid {which}");
    }
    extern "C" fn at_exit() {
        println!("\nsaid 2");
    }
    let Some(path) = compile("ends", ENDS, &[]) else {
        println!("\nsaid 1\nsaid 2");
        return;
    };
    watch();
    // SAFETY: stdlib.h, and the type of the source above.
    unsafe {
        libc::atexit(at_exit);
        let library = open(&path);
        touch_of(&library)(say, 1);
        // Another thread, which is still there at the end: its variables are not destroyed.
        let worker = Worker::start();
        let touch = touch_of(&library);
        worker.does(move || touch(say, 99));
        mem::forget(worker);
        match &*case {
            "CLOSED" => library.close().unwrap(),
            _ => mem::forget(library),
        }
        assert!(is_mapped(&path));
        libc::exit(0);
    }
}

#[test]
fn destructors_of_the_exiting_thread_run_before_exit_handlers() {
    for (case, preload) in [("CLOSED", ""), ("OPEN", ""), ("CLOSED", "libstdc++.so.6"), ("OPEN", "libstdc++.so.6")] {
        let mut command = Command::new(env::current_exe().unwrap());
        command.args(["exits_with_a_variable", "--exact", "--nocapture", "--test-threads=1"]);
        let output = command.env("EXITS_WITH_A_VARIABLE", case).env("LD_PRELOAD", preload).output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout);
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{case} {preload}: {}\n{text}{errors}", output.status);
        let said: Vec<_> = text.lines().filter(|line| line.starts_with("said")).collect();
        assert_eq!(said, ["said 1", "said 2"], "{case} {preload}");
    }
}

// ── 6: nothing ran, nothing is left ──────────────────────────────────────────────────────────────────────

#[test]
fn a_refused_load_gives_back_its_thread_local_storage() {
    let constructor = r#"
        #include <stdlib.h>
        static __thread char block[5000] = {1};
        char *where(void) { return block; }
        __attribute__((constructor)) static void runs(void) { setenv("A_CONSTRUCTOR_RAN", "1", 1); }
    "#;
    let top = r#"
        char *where(void);
        void defined_nowhere(void);
        char *call(void) { defined_nowhere(); return where(); }
    "#;
    trap("a_refused_load_gives_back_its_thread_local_storage", LibStdCxx::Ours, || {
        let Some(block) = compile("block.c", constructor, &["-ftls-model=initial-exec"]) else { return };
        compile("last.c", top, &[]);
        let Some(first) = compile("first.c", "int first = 1;", &["-Wl,--no-as-needed", "-lblock", "-llast"]) else {
            return;
        };
        watch();
        let mut before = Vec::new();
        for round in 0..20 {
            // SAFETY: it will be refused.
            let error = unsafe { Loader::new().open(&first) }.map(drop).unwrap_err();
            assert!(matches!(error.kind, ErrorKind::UndefinedSymbol { .. }), "{error}");
            assert!(env::var_os("A_CONSTRUCTOR_RAN").is_none());
            if round == 2 {
                before = maps();
            }
        }
        assert_eq!(before, maps());
        // There is room for it just once.
        let library = open(&block);
        let block = function!(library, "where": unsafe extern "C" fn() -> *const c_char);
        // SAFETY: the type of the source above.
        unsafe { assert_eq!(*block(), 1) };
        assert!(env::var_os("A_CONSTRUCTOR_RAN").is_some());
    });
}

// ── 7: unwinding while libraries come and go ─────────────────────────────────────────────────────────────

unsafe extern "C" {
    fn backtrace(buffer: *mut *mut c_void, size: c_int) -> c_int;
}

static BACKTRACES: AtomicUsize = AtomicUsize::new(0);
static SHORT: AtomicUsize = AtomicUsize::new(0);

extern "C" fn takes_a_backtrace(_: c_int) {
    let mut buffer = [ptr::null_mut(); 64];
    // SAFETY: execinfo.h: room for 64 addresses.
    let count = unsafe { backtrace(buffer.as_mut_ptr(), 64) };
    BACKTRACES.fetch_add(1, Ordering::Relaxed);
    // The handler, the frame of the signal, what it interrupted, and at least the thread's first functions.
    if count < 6 {
        SHORT.fetch_add(1, Ordering::Relaxed);
    }
}

with_both!(exceptions_while_a_signal_handler_takes_backtraces:
    exceptions_and_backtraces_pass_reloaded_libraries_with_the_hosts_libstdcxx,
    exceptions_and_backtraces_pass_reloaded_libraries_with_a_loaded_libstdcxx);

fn exceptions_while_a_signal_handler_takes_backtraces() {
    let inner = r#"
        #include <stdexcept>
        struct Guard { int *count; ~Guard() { ++*count; } };
        extern "C" __attribute__((noinline)) int throws(int n, int *unwound) {
            Guard g{unwound};
            if (n == 0) throw std::runtime_error("zero");
            return throws(n - 1, unwound);
        }
    "#;
    let outer = r#"
        #include <exception>
        extern "C" int throws(int, int *);
        extern "C" int across(int depth) {
            int unwound = 0;
            try { throws(depth, &unwound); } catch (std::exception &e) { return e.what()[0] == 'z' ? unwound : -2; }
            return -1;
        }
        static int in_constructor = across(3);
        extern "C" int caught_in_constructor() { return in_constructor; }
        struct AtTheEnd { ~AtTheEnd() { in_constructor = across(2); } } at_the_end;
    "#;
    let Some(inner) = compile("inner", inner, &[]) else { return };
    let Some(outer) = compile("outer", outer, &["-linner"]) else { return };
    watch();
    // The first call of `backtrace` loads libgcc_s, which no signal handler should.
    takes_a_backtrace(0);
    // SAFETY: signal.h; the handler only takes a backtrace.
    let me = unsafe {
        let mut action: libc::sigaction = mem::zeroed();
        action.sa_sigaction = takes_a_backtrace as *const () as usize;
        action.sa_flags = libc::SA_RESTART;
        libc::sigaction(libc::SIGUSR1, &action, ptr::null_mut());
        libc::pthread_self()
    };
    static STOP: AtomicBool = AtomicBool::new(false);
    let sender = thread::spawn(move || {
        while !STOP.load(Ordering::Relaxed) {
            // SAFETY: the thread waits for this one at the end.
            unsafe { libc::pthread_kill(me, libc::SIGUSR1) };
            thread::sleep(std::time::Duration::from_micros(100));
        }
    });
    let (mut places, mut rounds) = (BTreeSet::new(), 0);
    // On a busy machine the sender gets its turns late: then it takes more rounds.
    while rounds < 60 || BACKTRACES.load(Ordering::Relaxed) <= 100 {
        let library = open(&outer);
        places.insert(library.load_bias().0);
        let across = function!(library, "across": unsafe extern "C" fn(c_int) -> c_int);
        let caught = function!(library, "caught_in_constructor": unsafe extern "C" fn() -> c_int);
        // SAFETY: the types of the sources above.
        unsafe {
            assert_eq!(caught(), 4, "inside a constructor");
            for depth in 0..20 {
                assert_eq!(across(depth), depth + 1, "from one library to another");
            }
        }
        library.close().unwrap();
        assert!(!is_mapped(&outer) && !is_mapped(&inner));
        rounds += 1;
    }
    STOP.store(true, Ordering::Relaxed);
    sender.join().unwrap();
    assert!(places.len() < rounds, "it came back to the same address");
    let (taken, short) = (BACKTRACES.load(Ordering::Relaxed), SHORT.load(Ordering::Relaxed));
    assert!(taken > 100, "only {taken} backtraces");
    println!("{taken} backtraces, {short} of them short, {} places in {rounds} rounds", places.len());
}

/// Where code of this program takes a backtrace in the middle of an allocation: as a profiler's signal would.
static AT_NEXT_ALLOCATION: AtomicBool = AtomicBool::new(false);
static FRAMES: [AtomicUsize; 64] = [const { AtomicUsize::new(0) }; 64];

struct Allocator;

#[global_allocator]
static ALLOCATOR: Allocator = Allocator;

// SAFETY: the system's allocator; `backtrace` allocates nothing after its first call.
unsafe impl GlobalAlloc for Allocator {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        if AT_NEXT_ALLOCATION.load(Ordering::Relaxed) && AT_NEXT_ALLOCATION.swap(false, Ordering::SeqCst) {
            let mut buffer = [ptr::null_mut(); 64];
            // SAFETY: execinfo.h: room for 64 addresses.
            unsafe { backtrace(buffer.as_mut_ptr(), 64) };
            FRAMES.iter().zip(buffer).for_each(|(frame, address)| frame.store(address as usize, Ordering::SeqCst));
        }
        // SAFETY: the caller's.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        // SAFETY: the caller's.
        unsafe { System.dealloc(block, layout) }
    }
}

#[test]
fn a_backtrace_passes_through_the_making_of_thread_local_blocks() {
    trap("a_backtrace_passes_through_the_making_of_thread_local_blocks", LibStdCxx::Ours, || {
        // Too large for the part of the arena that descriptors get.
        let source = "__thread char block[9000]; int first(void) { return block[0]++ + 1; }";
        let models: [(&str, &[&str]); 2] =
            [("called.c", &["-ftls-model=global-dynamic"]), ("described.c", &["-mtls-dialect=gnu2"])];
        // The first call of `backtrace` loads libgcc_s.
        takes_a_backtrace(0);
        for (name, flags) in models {
            let Some(path) = compile(name, source, flags) else { return };
            let library = open(&path);
            let first = function!(library, "first": unsafe extern "C" fn() -> c_int);
            AT_NEXT_ALLOCATION.store(true, Ordering::SeqCst);
            // SAFETY: the type of the source above.
            assert_eq!(unsafe { first() }, 1);
            assert!(!AT_NEXT_ALLOCATION.swap(false, Ordering::SeqCst), "{name}: a block was made");
            let frames = FRAMES.each_ref().map(|frame| frame.load(Ordering::SeqCst));
            let base = library.load_bias().0 as usize;
            let at = frames.iter().position(|&frame| frame > base && frame - base < 0x10000);
            let beyond = at.map_or(0, |at| frames[at..].iter().filter(|&&frame| frame != 0).count());
            assert!(beyond > 5, "{name}: {frames:x?} pass {base:x} and go on to main");
        }
    });
}

// ── 10: of which there is one ────────────────────────────────────────────────────────────────────────────

with_both!(one_of_each: a_process_has_one_of_each_with_the_hosts_libstdcxx, a_process_has_one_of_each_with_a_loaded_libstdcxx);

fn one_of_each() {
    let source = r#"
        #include <iostream>
        #include <cstdio>
        #include <cerrno>
        #include <stdexcept>
        #include <locale>
        struct Shared { static inline int counter = 0; int n; };
        template <class T> struct Generic { static int value; };
        template <class T> int Generic<T>::value = 5;
        inline int *function_static() { static int n = 1; return &n; }
        extern "C" const void *const *NAME(addresses)() {
            static const void *all[] = {
                &std::cout, &std::cerr, &stdout, stdout, &Shared::counter, &Generic<int>::value, function_static(),
                &errno, (const void *)&std::locale::classic(), (const void *)&malloc, &environ, nullptr,
            };
            return all;
        }
        extern "C" int NAME(bump)() { return ++Shared::counter; }
        extern "C" void NAME(says)(const char *text) { std::cout << text << ' '; printf("%s ", text); }
        extern "C" void NAME(throws)() { throw Shared{17}; }
        extern "C" int NAME(catches)(void (*f)()) { try { f(); } catch (Shared &s) { return s.n; } return -1; }
    "#;
    let source = format!("#include <unistd.h>\n#include <cstdlib>\n{source}");
    let Some(one) = compile("one", &source, &["-DNAME(x)=one_##x"]) else { return };
    let Some(two) = compile("two", &source, &["-DNAME(x)=two_##x"]) else { return };
    watch();
    let (one, two) = (open(&one), open(&two));
    type Addresses = unsafe extern "C" fn() -> *const *const c_void;
    let (of_one, of_two) = (function!(one, "one_addresses": Addresses), function!(two, "two_addresses": Addresses));
    let names = "cout cerr &stdout stdout inline-static template-static function-static errno locale malloc environ";
    unsafe extern "C" {
        static stdout: *mut c_void;
        static environ: *const *const c_char;
        fn malloc(size: usize) -> *mut c_void;
        fn __errno_location() -> *mut c_int;
    }
    // SAFETY: the types of the source above: as many addresses as there are names.
    let (of_one, of_two) = unsafe {
        let count = names.split(' ').count();
        (std::slice::from_raw_parts(of_one(), count), std::slice::from_raw_parts(of_two(), count))
    };
    for (at, name) in names.split(' ').enumerate() {
        // SAFETY: addresses of the host's own variables.
        let of_host = unsafe {
            match name {
                "&stdout" => Some((&raw const stdout).cast::<c_void>()),
                "stdout" => Some(stdout.cast_const()),
                "errno" => Some(__errno_location().cast_const().cast()),
                "malloc" => Some(malloc as *const c_void),
                "environ" => Some((&raw const environ).cast::<c_void>()),
                _ => None,
            }
        };
        assert_eq!(of_one[at], of_two[at], "{name} of two libraries, opened apart");
        assert!(of_host.is_none_or(|of_host| of_host == of_one[at]), "{name} of the host and of a library");
    }
    // SAFETY: the types of the source above.
    unsafe {
        let bump = |library: &Library, name: &str| library.get::<unsafe extern "C" fn() -> c_int>(name).unwrap()();
        assert_eq!([bump(&one, "one_bump"), bump(&two, "two_bump"), bump(&one, "one_bump")], [1, 2, 3]);
        // A type of one library is caught as the same type in the other.
        type Catches = unsafe extern "C-unwind" fn(*const c_void) -> c_int;
        let throws = two.get::<*const c_void>("two_throws").unwrap();
        assert_eq!(one.get::<Catches>("one_catches").unwrap()(throws.as_raw_ptr().cast()), 17);
    }
    // Both write through the one `std::cout` and the one `stdout`, in this order.
    let says = |library: &Library, name: &str, text: &std::ffi::CStr| {
        // SAFETY: as above.
        unsafe { library.get::<unsafe extern "C" fn(*const c_char)>(name).unwrap()(text.as_ptr()) }
    };
    let file = folder().join("said");
    // SAFETY: unistd.h, stdio.h; nobody else writes meanwhile.
    unsafe {
        libc::fflush(ptr::null_mut());
        let (kept, target) = (libc::dup(1), fs::File::create(&file).unwrap());
        libc::dup2(std::os::fd::AsRawFd::as_raw_fd(&target), 1);
        says(&one, "one_says", c"a");
        says(&two, "two_says", c"b");
        says(&one, "one_says", c"c");
        libc::fflush(ptr::null_mut());
        libc::dup2(kept, 1);
    }
    assert_eq!(fs::read_to_string(&file).unwrap(), "a a b b c c ");

    for name in ["libstdc++.so", "libgcc_s.so", "libc.so", "libm.so", "ld-linux-x86-64.so"] {
        // Each mapping of a file's first page is a copy of it.
        let copies = maps().iter().filter(|l| l.contains(name) && l.split(' ').nth(2) == Some("00000000")).count();
        assert_eq!(copies, 1, "{name}");
    }
    // Their unique symbols are in use: closing unloads neither, and the numbers stay.
    drop((one, two));
    assert!(maps().iter().any(|line| line.contains("libone.so")));
}

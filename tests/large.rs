//! The largest libraries of the system, each with many dependencies, threads and thread-local storage: they load,
//! a call into each gives a right answer, and they unload. The process must end with status 0 afterwards, so
//! what they leave to the end of the process runs, too.

mod common;

use std::collections::BTreeSet;
use std::ffi::{CStr, CString, c_char, c_double, c_int, c_uint, c_void};
use std::path::Path;
use std::process::Command;
use std::{env, fs, ptr};

use common::{in_own_process, in_own_process_with, library, maps, newest};
use dlscope::{Library, Loader};

/// Names with a number that differs between systems.
const LLVM: &[&str] = &["libLLVM-*.so.1", "libLLVM.so.*.1"];
const AVCODEC: &[&str] = &["libavcodec.so.*"];
const PYTHON: &[&str] = &["libpython3.*.so.1.0"];

fn open(name: &str) -> Library {
    assert!(!maps().iter().any(|line| line.contains(name)), "{name} was here before");
    // SAFETY: a library of the system, whose constructors any program may run.
    unsafe { Library::open(name) }.unwrap_or_else(|e| panic!("{e}"))
}

macro_rules! function {
    ($library:expr, $name:literal: $type:ty) => {
        // SAFETY: the signature is that of the library's header.
        unsafe { *$library.get::<$type>($name).unwrap_or_else(|e| panic!("{e}")) }
    };
}

/// Closes it and opens it again: what the first time left behind must not disturb the second.
fn close_and_open(library: Library, name: &str) -> Library {
    library.close().unwrap();
    // SAFETY: as the first time.
    unsafe { Library::open(name) }.unwrap_or_else(|e| panic!("{e}"))
}

#[test]
fn libstdcxx_demangles() {
    in_own_process("libstdcxx_demangles", || {
        type Demangle = unsafe extern "C" fn(*const c_char, *mut c_char, *mut usize, *mut c_int) -> *mut c_char;
        let mut library = open("libstdc++.so.6");
        for _ in 0..2 {
            let demangle = function!(library, "__cxa_demangle": Demangle);
            // SAFETY: cxxabi.h: without a buffer it answers with one of malloc's.
            unsafe {
                let mut status = 1;
                let name = c"_ZNSt6vectorIiSaIiEE9push_backERKi";
                let plain = demangle(name.as_ptr(), ptr::null_mut(), ptr::null_mut(), &mut status);
                assert_eq!(status, 0);
                assert_eq!(CStr::from_ptr(plain), c"std::vector<int, std::allocator<int> >::push_back(int const&)");
                nix::libc::free(plain.cast());
            }
            library = close_and_open(library, "libstdc++.so.6");
        }
        library.close().unwrap();
    });
}

#[test]
fn libllvm_parses_and_compiles_and_runs() {
    in_own_process("libllvm_parses_and_compiles_and_runs", || {
        let Some(name) = newest(LLVM) else { return };
        let source = c"define i32 @seven_times(i32 %n) {\n  %r = mul i32 %n, 7\n  ret i32 %r\n}\n";
        let mut llvm = open(name);
        for _ in 0..2 {
            // SAFETY: the signatures of llvm-c/Core.h, IRReader.h, ExecutionEngine.h and Target.h.
            unsafe { parse_and_run(&llvm, source) };
            llvm = close_and_open(llvm, name);
        }
        llvm.close().unwrap();
    });
}

/// Through the C API: text → module → its function's name → machine code → a call of it.
///
/// # Safety
/// `llvm` is libLLVM.
unsafe fn parse_and_run(llvm: &Library, source: &CStr) {
    type P = *mut c_void;
    let context = function!(llvm, "LLVMContextCreate": unsafe extern "C" fn() -> P);
    let dispose_context = function!(llvm, "LLVMContextDispose": unsafe extern "C" fn(P));
    type Buffer = unsafe extern "C" fn(*const c_char, usize, *const c_char) -> P;
    let buffer = function!(llvm, "LLVMCreateMemoryBufferWithMemoryRangeCopy": Buffer);
    let parse = function!(llvm, "LLVMParseIRInContext": unsafe extern "C" fn(P, P, *mut P, *mut *mut c_char) -> c_int);
    let first = function!(llvm, "LLVMGetFirstFunction": unsafe extern "C" fn(P) -> P);
    let name = function!(llvm, "LLVMGetValueName2": unsafe extern "C" fn(P, *mut usize) -> *const c_char);
    let verify = function!(llvm, "LLVMVerifyModule": unsafe extern "C" fn(P, c_int, *mut *mut c_char) -> c_int);
    let dispose_message = function!(llvm, "LLVMDisposeMessage": unsafe extern "C" fn(*mut c_char));
    type Engine = unsafe extern "C" fn(*mut P, P, *mut c_void, usize, *mut *mut c_char) -> c_int;
    let engine_for = function!(llvm, "LLVMCreateMCJITCompilerForModule": Engine);
    let address_of = function!(llvm, "LLVMGetFunctionAddress": unsafe extern "C" fn(P, *const c_char) -> u64);
    let dispose_engine = function!(llvm, "LLVMDisposeExecutionEngine": unsafe extern "C" fn(P));
    let initialise = [
        function!(llvm, "LLVMInitializeX86TargetInfo": unsafe extern "C" fn()),
        function!(llvm, "LLVMInitializeX86Target": unsafe extern "C" fn()),
        function!(llvm, "LLVMInitializeX86TargetMC": unsafe extern "C" fn()),
        function!(llvm, "LLVMInitializeX86AsmPrinter": unsafe extern "C" fn()),
        function!(llvm, "LLVMLinkInMCJIT": unsafe extern "C" fn()),
    ];
    // SAFETY: the caller's library, used as its headers say; every object is disposed of once.
    unsafe {
        let context = context();
        let (mut module, mut message) = (ptr::null_mut(), ptr::null_mut());
        let text = buffer(source.as_ptr(), source.count_bytes(), c"snippet".as_ptr());
        assert_eq!(parse(context, text, &mut module, &mut message), 0, "it parses");
        let mut length = 0;
        let bytes = name(first(module), &mut length);
        assert_eq!(std::slice::from_raw_parts(bytes.cast::<u8>(), length), b"seven_times");
        assert_eq!(verify(module, 2, &mut message), 0);
        dispose_message(message);
        // A wrong one is refused with a message, not taken.
        let (mut wrong, mut why) = (ptr::null_mut(), ptr::null_mut());
        let text = buffer(c"define nonsense".as_ptr(), 15, c"wrong".as_ptr());
        assert_eq!(parse(context, text, &mut wrong, &mut why), 1);
        assert!(CStr::from_ptr(why).to_string_lossy().contains("expected type"));
        dispose_message(why);

        initialise.iter().for_each(|f| f());
        let mut engine = ptr::null_mut();
        // Without options: those of `LLVMMCJITCompilerOptions` that are missing have their defaults.
        let status = engine_for(&mut engine, module, ptr::null_mut(), 0, &mut message);
        assert_eq!(status, 0, "there is an engine for this processor");
        let address = address_of(engine, c"seven_times".as_ptr());
        let seven_times: unsafe extern "C" fn(c_int) -> c_int = std::mem::transmute(address as usize);
        assert_eq!(seven_times(6), 42, "machine code made in a loaded library");
        dispose_engine(engine);
        dispose_context(context);
    }
}

#[test]
fn libqt5widgets_lists_its_styles() {
    let change = |command: &mut Command| {
        command.env("QT_QPA_PLATFORM", "offscreen");
    };
    in_own_process_with("libqt5widgets_lists_its_styles", change, || {
        /// `QArrayData` of Qt 5: what `QString` points to.
        #[repr(C)]
        struct Text {
            references: c_int,
            size: c_int,
            allocated: c_uint,
            offset: isize,
        }
        /// `QListData::Data` of Qt 5: what `QStringList` points to. The elements follow.
        #[repr(C)]
        struct List {
            references: c_int,
            allocated: c_int,
            begin: c_int,
            end: c_int,
        }
        if library("libQt5Widgets.so.5").is_none() {
            return;
        }
        let qt = open("libQt5Widgets.so.5");
        let version = function!(qt, "qVersion": unsafe extern "C" fn() -> *const c_char);
        // `QStringList QStyleFactory::keys()`: a class with a destructor is returned through a hidden pointer.
        let keys = function!(qt, "_ZN13QStyleFactory4keysEv": unsafe extern "C" fn(*mut *mut List) -> *mut *mut List);
        // SAFETY: Qt 5's headers (QtCore/qlist.h, qarraydata.h) for the layouts.
        let styles = unsafe {
            assert!(CStr::from_ptr(version()).to_str().unwrap().starts_with("5."), "from libQt5Core");
            let mut list = ptr::null_mut();
            keys(&mut list);
            let elements = list.add(1).cast::<*const Text>();
            let text = |at: c_int| {
                let text = *elements.add(at as usize);
                let characters = text.cast::<u8>().offset((*text).offset).cast::<u16>();
                String::from_utf16_lossy(std::slice::from_raw_parts(characters, (*text).size as usize))
            };
            ((*list).begin..(*list).end).map(text).collect::<Vec<_>>()
        };
        assert!(styles.iter().any(|s| s == "Fusion") && styles.iter().any(|s| s == "Windows"), "{styles:?}");
        if library("qt5/plugins/platforms/libqoffscreen.so").is_some() {
            // SAFETY: QtWidgets/qapplication.h.
            unsafe { make_a_window(&qt) };
        }
        qt.close().unwrap();
    });
}

/// An application with a window on the offscreen platform, which is a plugin: Qt itself opens it, through us.
///
/// # Safety
/// `qt` is libQt5Widgets.
unsafe fn make_a_window(qt: &Library) {
    type Application = unsafe extern "C" fn(*mut c_void, *mut c_int, *mut *mut c_char, c_int);
    type Widget = unsafe extern "C" fn(*mut c_void, *mut c_void, c_int);
    let application = function!(qt, "_ZN12QApplicationC1ERiPPci": Application);
    let end_application = function!(qt, "_ZN12QApplicationD1Ev": unsafe extern "C" fn(*mut c_void));
    let widget = function!(qt, "_ZN7QWidgetC1EPS_6QFlagsIN2Qt10WindowTypeEE": Widget);
    let end_widget = function!(qt, "_ZN7QWidgetD1Ev": unsafe extern "C" fn(*mut c_void));
    let show = function!(qt, "_ZN7QWidget4showEv": unsafe extern "C" fn(*mut c_void));
    let events = function!(qt, "_ZN16QCoreApplication13processEventsE6QFlagsIN10QEventLoop17ProcessEventsFlagEE": unsafe extern "C" fn(c_int));
    let at_least = function!(qt, "_ZN7QWidget14setMinimumSizeEii": unsafe extern "C" fn(*mut c_void, c_int, c_int));
    let size = function!(qt, "_ZNK7QWidget11minimumSizeEv": unsafe extern "C" fn(*const c_void) -> u64);
    let (mut argc, mut argv) = (1, [c"test".as_ptr().cast_mut(), ptr::null_mut()]);
    // More than enough room: a QApplication has 16 bytes, a QWidget 48.
    let (mut app, mut window) = ([0_u64; 16], [0_u64; 32]);
    let (app, window) = (app.as_mut_ptr().cast(), window.as_mut_ptr().cast());
    // SAFETY: each object is made, used and destroyed once, and argc and argv outlive the application.
    unsafe {
        application(app, &mut argc, argv.as_mut_ptr(), 0x50f00);
        assert!(maps().iter().any(|line| line.contains("libqoffscreen.so")), "the platform's plugin came along");
        widget(window, ptr::null_mut(), 0);
        at_least(window, 321, 123);
        show(window);
        events(0);
        let size = size(window);
        assert_eq!((size as u32, size >> 32), (321, 123));
        end_widget(window);
        end_application(app);
    }
}

#[test]
fn libgtk_knows_its_version_and_that_there_is_no_display() {
    let change = |command: &mut Command| {
        command.env_remove("DISPLAY").env_remove("WAYLAND_DISPLAY");
    };
    in_own_process_with("libgtk_knows_its_version_and_that_there_is_no_display", change, || {
        if library("libgtk-3.so.0").is_none() {
            return;
        }
        let gtk = open("libgtk-3.so.0");
        let major = function!(gtk, "gtk_get_major_version": unsafe extern "C" fn() -> c_uint);
        let check = function!(gtk, "gtk_check_version": unsafe extern "C" fn(c_uint, c_uint, c_uint) -> *const c_char);
        let init = function!(gtk, "gtk_init_check": unsafe extern "C" fn(*mut c_int, *mut *mut *mut c_char) -> c_int);
        // Of libglib, which it needs; variadic, with doubles.
        let printf = function!(gtk, "g_strdup_printf": unsafe extern "C" fn(*const c_char, ...) -> *mut c_char);
        let free = function!(gtk, "g_free": unsafe extern "C" fn(*mut c_char));
        // Of libgobject: a name that its constructor registered.
        let type_named = function!(gtk, "g_type_from_name": unsafe extern "C" fn(*const c_char) -> usize);
        // SAFETY: the signatures of gtk/gtk.h and glib.h.
        unsafe {
            assert_eq!(major(), 3);
            assert!(check(3, 0, 0).is_null(), "3.0 and later");
            assert!(CStr::from_ptr(check(99, 0, 0)).to_string_lossy().contains("too old"));
            let text = printf(c"%d %.2f %s %g".as_ptr(), 42, 2.5_f64, c"words".as_ptr(), -0.125_f64);
            assert_eq!(CStr::from_ptr(text), c"42 2.50 words -0.125");
            free(text);
            assert_ne!(type_named(c"gchararray".as_ptr()), 0);
            assert_eq!(init(ptr::null_mut(), ptr::null_mut()), 0, "no display, but no crash either");
        }
        // Not a second time: libgobject stays for good and keeps the types that libgdk registered, with pointers into
        // its unmapped memory. By the system's loader that goes wrong in the same way.
        gtk.close().unwrap();
    });
}

#[test]
fn libavcodec_finds_its_decoders() {
    in_own_process("libavcodec_finds_its_decoders", || {
        let Some(file) = newest(AVCODEC) else { return };
        let mut avcodec = open(file);
        for _ in 0..2 {
            let version = function!(avcodec, "avcodec_version": unsafe extern "C" fn() -> c_uint);
            let by_name = function!(avcodec, "avcodec_find_decoder_by_name": unsafe extern "C" fn(*const c_char) -> *const *const c_char);
            let name = function!(avcodec, "avcodec_get_name": unsafe extern "C" fn(c_int) -> *const c_char);
            let context =
                function!(avcodec, "avcodec_alloc_context3": unsafe extern "C" fn(*const *const c_char) -> *mut c_void);
            let open = function!(avcodec, "avcodec_open2": unsafe extern "C" fn(*mut c_void, *const *const c_char, *mut c_void) -> c_int);
            let free = function!(avcodec, "avcodec_free_context": unsafe extern "C" fn(*mut *mut c_void));
            // SAFETY: libavcodec/avcodec.h; the first two members of an `AVCodec` are its names.
            unsafe {
                assert_eq!(format!("libavcodec.so.{}", version() >> 16), file);
                let png = by_name(c"png".as_ptr());
                assert!(!png.is_null());
                assert_eq!(CStr::from_ptr(*png), c"png");
                assert_eq!(CStr::from_ptr(*png.add(1)), c"PNG (Portable Network Graphics) image");
                assert!(by_name(c"nonsense".as_ptr()).is_null());
                assert_eq!(CStr::from_ptr(name(27)), c"h264", "AV_CODEC_ID_H264");
                let mut decoder = context(png);
                assert_eq!(open(decoder, png, ptr::null_mut()), 0, "a decoder starts");
                free(&mut decoder);
                assert!(decoder.is_null());
            }
            avcodec = close_and_open(avcodec, file);
        }
        avcodec.close().unwrap();
    });
}

#[test]
fn libpython_runs_python() {
    let change = |command: &mut Command| {
        // The system's Python and nothing else.
        command.env("PATH", "/usr/bin:/bin").env_remove("PYTHONHOME").env_remove("PYTHONPATH");
    };
    in_own_process_with("libpython_runs_python", change, || {
        let Some(name) = newest(PYTHON) else { return };
        let c_name = CString::new(name).unwrap();
        // Its extension modules are not linked with it: they find its symbols in everybody's scope.
        let helper = opens_globally();
        let open_globally = function!(helper, "open_globally": unsafe extern "C" fn(*const c_char) -> *mut c_void);
        let close_globally = function!(helper, "close_globally": unsafe extern "C" fn(*mut c_void) -> c_int);
        let mut python = open(name);
        for _ in 0..2 {
            // SAFETY: the functions of the helper, for a library that was opened as libpython.
            unsafe {
                let handle = open_globally(c_name.as_ptr());
                assert!(!handle.is_null());
                run_python(&python);
                assert_eq!(close_globally(handle), 0);
            }
            let place = python.load_bias();
            python = close_and_open(python, name);
            // Python never closes an extension module, and those are bound to it.
            assert_eq!(python.load_bias(), place, "what is still used stays");
        }
        python.close().unwrap();
    });
}

/// A library that opens others with `RTLD_GLOBAL`: its `dlopen` is ours.
fn opens_globally() -> Library {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("large");
    fs::create_dir_all(&folder).unwrap();
    let (source, library) = (folder.join("globally.c"), folder.join("libglobally.so"));
    let text = "#include <dlfcn.h>\n\
        void *open_globally(const char *name) { return dlopen(name, RTLD_NOW | RTLD_GLOBAL); }\n\
        int close_globally(void *handle) { return dlclose(handle); }\n";
    fs::write(&source, text).unwrap();
    let compiler = env::var("CC").unwrap_or_else(|_| "cc".into());
    let status = Command::new(compiler).args(["-shared", "-fPIC", "-o"]).args([&library, &source]).status();
    assert!(status.unwrap().success());
    // SAFETY: the library above.
    unsafe { Library::open(&library) }.unwrap_or_else(|e| panic!("{e}"))
}

/// # Safety
/// `python` is libpython.
unsafe fn run_python(python: &Library) {
    type P = *mut c_void;
    let initialise = function!(python, "Py_InitializeEx": unsafe extern "C" fn(c_int));
    let finalise = function!(python, "Py_FinalizeEx": unsafe extern "C" fn() -> c_int);
    let run = function!(python, "PyRun_SimpleStringFlags": unsafe extern "C" fn(*const c_char, P) -> c_int);
    let evaluate = function!(python, "PyRun_StringFlags": unsafe extern "C" fn(*const c_char, c_int, P, P, P) -> P);
    let main = function!(python, "PyImport_AddModule": unsafe extern "C" fn(*const c_char) -> P);
    let names = function!(python, "PyModule_GetDict": unsafe extern "C" fn(P) -> P);
    let as_long = function!(python, "PyLong_AsLong": unsafe extern "C" fn(P) -> i64);
    let error = function!(python, "PyErr_Print": unsafe extern "C" fn());
    // Py_eval_input.
    const EXPRESSION: c_int = 258;
    // SAFETY: the signatures of Python.h; one thread, between initialisation and finalisation.
    unsafe {
        initialise(0);
        let ask = |text: &str| {
            let text = CString::new(text).unwrap();
            let names = names(main(c"__main__".as_ptr()));
            let result = evaluate(text.as_ptr(), EXPRESSION, names, names, ptr::null_mut());
            if result.is_null() {
                error();
                panic!("{text:?} raised an exception");
            }
            as_long(result)
        };
        assert_eq!(run(c"answer = sum(n * n for n in range(10)) ** 2".as_ptr(), ptr::null_mut()), 0);
        assert_eq!(ask("answer"), 285 * 285);
        // Extension modules: the interpreter opens them itself, through us.
        assert_eq!(run(c"import math, json, _json, decimal, ctypes, threading".as_ptr(), ptr::null_mut()), 0);
        assert!(maps().iter().any(|line| line.contains("/lib-dynload/")), "at least one is a file of its own");
        assert_eq!(ask("int(math.sqrt(1764)) if _json.make_encoder is json.encoder.c_make_encoder else 0"), 42);
        assert_eq!(ask("int(decimal.Decimal('0.1') + decimal.Decimal('0.2') == decimal.Decimal('0.3'))"), 1);
        // ctypes uses dlopen, dlsym and libffi, and calls back into Python from qsort's code.
        assert_eq!(ask("ctypes.CDLL('libm.so.6').abs(-7) + ctypes.CDLL(None).abs(-8)"), 15);
        let sort = c"\
Compare = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_int), ctypes.POINTER(ctypes.c_int))
numbers = (ctypes.c_int * 5)(5, 3, 9, 1, 7)
ctypes.CDLL('libc.so.6').qsort(numbers, 5, 4, Compare(lambda a, b: a[0] - b[0]))
found = []
thread = threading.Thread(target=lambda: found.append(list(numbers)))
thread.start(); thread.join()
try:
    ctypes.CDLL('libnonesuch.so.7')
except OSError as e:
    missing = str(e)
";
        assert_eq!(run(sort.as_ptr(), ptr::null_mut()), 0);
        assert_eq!(ask("int(found == [[1, 3, 5, 7, 9]])"), 1);
        assert_eq!(ask("int('libnonesuch.so.7' in missing and 'No such file' in missing)"), 1, "dlerror is heard");
        assert_eq!(finalise(), 0);
    }
}

#[test]
fn libopenblas_multiplies_matrices() {
    in_own_process("libopenblas_multiplies_matrices", || {
        if library("libopenblas.so.0").is_none() {
            return;
        }
        #[rustfmt::skip]
        type Multiply = unsafe extern "C" fn(c_int, c_int, c_int, c_int, c_int, c_int, c_double,
            *const c_double, c_int, *const c_double, c_int, c_double, *mut c_double, c_int);
        let mut blas = open("libopenblas.so.0");
        for _ in 0..2 {
            let multiply = function!(blas, "cblas_dgemm": Multiply);
            // CblasRowMajor, CblasNoTrans.
            let product = |a: &[f64], b: &[f64], n: usize| {
                let (mut c, n) = (vec![0.0; n * n], n as c_int);
                // SAFETY: cblas.h; three n × n matrices.
                unsafe { multiply(101, 111, 111, n, n, n, 1.0, a.as_ptr(), n, b.as_ptr(), n, 0.0, c.as_mut_ptr(), n) };
                c
            };
            let (a, b) = ([1., 2., 3., 4., 5., 6., 7., 8., 10.], [2., 0., 1., 1., 3., 0., 0., 1., 4.]);
            assert_eq!(product(&a, &b, 3), [4., 9., 13., 13., 21., 28., 22., 34., 47.]);
            // So large that all its threads take part: a row of ones times a column of 1, 2, …, 400.
            let n = 400;
            let numbers: Vec<f64> = (0..n * n).map(|at| (at / n + 1) as f64).collect();
            let large = product(&vec![1.0; n * n], &numbers, n);
            assert!(large.iter().all(|&sum| sum == (n * (n + 1) / 2) as f64));
            blas = close_and_open(blas, "libopenblas.so.0");
        }
        blas.close().unwrap();
    });
}

// ── what stays mapped after closing, held against the system ─────────────────────────────────────────────

const OPENED: [&[&str]; 8] = [
    &["libstdc++.so.*"],
    LLVM,
    &["libQt5Widgets.so.*"],
    &["libgtk-3.so.*"],
    AVCODEC,
    PYTHON,
    &["libopenblas.so.*"],
    &["libgomp.so.*"],
];

/// The files of which something is mapped.
fn mapped_files() -> BTreeSet<String> {
    let name = |line: &String| Some(line.get(line.find('/')?..)?.to_string());
    maps().iter().filter_map(name).filter(|file| file.contains(".so") && !file.contains("/etc/")).collect()
}

/// Opens and closes one library by whichever loader the environment names, and prints what stays.
#[test]
fn print_what_stays() {
    let (Ok(loader), Ok(name)) = (env::var("PRINT_STAYING_OF"), env::var("PRINT_STAYING_IN")) else { return };
    let before = mapped_files();
    match &*loader {
        // SAFETY: a library of the system.
        "dlscope" => unsafe { Loader::new().open(&name) }.unwrap_or_else(|e| panic!("{e}")).close().unwrap(),
        // SAFETY: as above.
        _ => unsafe { libloading::os::unix::Library::open(Some(&name), 2) }.unwrap().close().unwrap(),
    }
    mapped_files().difference(&before).for_each(|file| println!("\nstays {file}"));
    println!("\nclosed");
}

#[test]
fn closing_leaves_mapped_what_the_system_leaves() {
    let what_stays = |loader: &str, name: &str| {
        let mut command = Command::new(env::current_exe().unwrap());
        command.args(["print_what_stays", "--exact", "--nocapture"]);
        let output = command.env("PRINT_STAYING_OF", loader).env("PRINT_STAYING_IN", name).output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let (status, errors) = (output.status, String::from_utf8_lossy(&output.stderr));
        assert!(text.contains("\nclosed"), "{name} by {loader}: {status}\n{text}{errors}");
        let stays = text.lines().filter_map(|line| line.strip_prefix("stays ").map(String::from));
        // libpython3.13 leaves a key destructor behind, and the end of the thread is the end of the process.
        (stays.collect::<BTreeSet<_>>(), status)
    };
    for name in OPENED.into_iter().filter_map(newest) {
        assert_eq!(what_stays("dlscope", name), what_stays("system", name), "left is ours, right the system's: {name}");
    }
}

//! Three hundred new objects in one open, through both loaders: the same order of constructors, the same answers.

use std::ffi::{CStr, CString, c_char, c_int};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs};

const COUNT: usize = 300;

/// Library `n` needs `n + 1` and `2n`: a long chain with short cuts. Each constructor writes its number down in the
/// diary, which all need.
fn build() -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("many");
    let root = folder.join("libm0.so");
    if root.exists() {
        return root;
    }
    // Built aside and moved: tests that run at the same time see all of it or nothing.
    let aside = folder.with_extension(std::process::id().to_string());
    fs::create_dir_all(&aside).unwrap();
    let compiler = env::var("CC").unwrap_or_else(|_| "cc".into());
    let diary = "static unsigned short events[1024]; static int next;\n\
        void happened(int n) { events[next++] = n; }\n\
        int event(int at) { return at < next ? events[at] : -1; }\n";
    let compile = |name: &str, source: &str, needs: &[String]| {
        let file = aside.join(format!("{name}.c"));
        fs::write(&file, source).unwrap();
        let mut command = Command::new(&compiler);
        command.current_dir(&aside).args(["-shared", "-fPIC", "-nostdlib", "-Wl,-rpath,$ORIGIN,--no-as-needed", "-o"]);
        command.arg(format!("lib{name}.so")).arg(format!("-Wl,-soname,lib{name}.so")).arg(file).args(needs);
        assert!(command.status().unwrap().success(), "{name}");
    };
    compile("diary", diary, &[]);
    for n in (0..COUNT).rev() {
        let needs: Vec<usize> = [n + 1, n * 2].into_iter().filter(|&m| m > n && m < COUNT).collect();
        let mut source = String::from("void happened(int);\n");
        let mut sum = String::from("1");
        for m in &needs {
            writeln!(source, "int sum{m}(void);").unwrap();
        }
        if let Some(m) = needs.first() {
            write!(sum, " + sum{m}()").unwrap();
        }
        writeln!(source, "__attribute__((constructor)) static void starts(void) {{ happened({n}); }}").unwrap();
        writeln!(source, "int sum{n}(void) {{ return {sum}; }}").unwrap();
        let files: Vec<String> = needs.iter().map(|m| format!("libm{m}.so")).chain(["libdiary.so".into()]).collect();
        compile(&format!("m{n}"), &source, &files);
    }
    if fs::rename(&aside, &folder).is_err() {
        assert!(root.exists(), "someone else was faster");
    }
    root
}

/// In a child: loads all by one loader, prints the sum and the order of constructors.
#[test]
fn print_order() {
    let Ok(loader) = env::var("PRINT_ORDER_OF") else { return };
    let root = build();
    // SAFETY: the libraries above, and the types of their functions.
    unsafe {
        type Sum = unsafe extern "C" fn() -> c_int;
        type Event = unsafe extern "C" fn(c_int) -> c_int;
        let (sum, event): (Sum, Event) = if loader == "dlscope" {
            let library = dlscope::Library::open(&root).unwrap_or_else(|e| panic!("{e}"));
            assert_eq!(library.objects().iter().filter(|o| !o.of_host).count(), COUNT + 1);
            let found = (*library.get("sum0").unwrap(), *library.get("event").unwrap());
            std::mem::forget(library);
            found
        } else {
            let path = CString::new(root.to_str().unwrap()).unwrap();
            let handle = nix::libc::dlopen(path.as_ptr(), nix::libc::RTLD_NOW);
            assert!(!handle.is_null(), "{:?}", CStr::from_ptr(nix::libc::dlerror()));
            let find = |name: *const c_char| nix::libc::dlsym(handle, name);
            (
                std::mem::transmute::<*mut std::ffi::c_void, Sum>(find(c"sum0".as_ptr())),
                std::mem::transmute::<*mut std::ffi::c_void, Event>(find(c"event".as_ptr())),
            )
        };
        let order: Vec<c_int> = (0..).map(|at| event(at)).take_while(|&n| n >= 0).collect();
        println!("order\t{} {order:?}", sum());
    }
}

#[test]
fn three_hundred_new_objects_start_in_the_same_order_as_with_the_system() {
    build();
    let order = |loader: &str| {
        let mut child = Command::new(env::current_exe().unwrap());
        let output =
            child.args(["print_order", "--exact", "--nocapture"]).env("PRINT_ORDER_OF", loader).output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success(), "{loader}: {text}{}", String::from_utf8_lossy(&output.stderr));
        text.lines().find_map(|l| l.split_once("order\t")).map(|(_, order)| order.to_string()).unwrap()
    };
    let (ours, theirs) = (order("dlscope"), order("system"));
    assert!(ours.starts_with(&format!("{COUNT} [")), "{ours}");
    assert_eq!(ours, theirs);
}

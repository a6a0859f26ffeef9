//! The order of constructors and destructors where libraries need each other in circles: random graphs of small libraries,
//! opened and closed at random by the system's loader and by dlscope.
//!
//! A library needs others (`DT_NEEDED`) and is bound to others that it does not need, which orders destructors as well.
//! Each constructor and destructor writes the number of its library.

mod preloading;
mod random;

use std::fmt::Write as _;
use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

use preloading::{plain, preloaded, text};
use random::Random;

/// How many graphs are tried.
const GRAPHS: u64 = 60;

/// So many of `0 .. count` but `except` as `percent` says, shuffled.
fn some(random: &mut Random, count: usize, except: usize, percent: usize) -> Vec<usize> {
    let mut all: Vec<usize> = (0..count).filter(|&one| one != except && random.below(100) < percent).collect();
    for at in (1..all.len()).rev() {
        all.swap(at, random.below(at + 1));
    }
    all
}

/// A library, and what the program does with all of them.
struct Graph {
    needs: Vec<Vec<usize>>,
    bound: Vec<Vec<usize>>,
    acts: Vec<String>,
}

impl Graph {
    fn random(seed: u64) -> Graph {
        let random = &mut Random(0x9e37_79b9_7f4a_7c15 ^ (seed << 20));
        (0..9).for_each(|_| _ = random.below(2));
        let count = 3 + random.below(10);
        let density = [15, 25, 40][random.below(3)];
        let needs = (0..count).map(|one| some(random, count, one, density)).collect();
        let bound = (0..count).map(|one| some(random, count, one, 12)).collect();
        let (mut acts, mut open) = (Vec::new(), Vec::new());
        for one in some(random, count, count, 100).into_iter().take(1 + random.below(3)) {
            acts.push(format!("{}{one}", ["o", "g"][random.below(2)]));
            open.push(one);
            if random.below(5) < 2 {
                acts.push(format!("c{}", open.swap_remove(random.below(open.len()))));
            }
        }
        // The others are left to the end of the process.
        while !open.is_empty() {
            let one = open.swap_remove(random.below(open.len()));
            acts.extend((random.below(10) < 7).then(|| format!("c{one}")));
        }
        Graph { needs, bound, acts }
    }

    fn build(&self, folder: &Path) {
        for (one, bound) in self.bound.iter().enumerate() {
            assemble(&source(one, bound), &folder.join(format!("{one}.o")));
            // First without what it needs: in a circle nobody can be the first.
            link(folder, one, &[]);
        }
        for (one, needs) in self.needs.iter().enumerate() {
            link(folder, one, needs);
        }
    }
}

/// Assembly, because a compiler would take many times as long.
fn source(one: usize, bound: &[usize]) -> String {
    let mut text = format!(
        ".text
         .globl function{one}
         .type function{one}, @function
         function{one}: ret
         constructor: lea begins(%rip), %rsi
         jmp 1f
         destructor: lea ends(%rip), %rsi
         1: mov $1, %eax
         mov $1, %edi
         mov ${length}, %edx
         syscall
         ret
         .section .rodata
         begins: .ascii \" +{one}\"
         ends: .ascii \" -{one}\"
         .section .init_array, \"aw\"
         .quad constructor
         .section .fini_array, \"aw\"
         .quad destructor
         .section .note.GNU-stack, \"\", @progbits
         .data\n",
        length = 2 + one.to_string().len()
    );
    // Weak: it may be in nobody's scope.
    bound.iter().for_each(|other| writeln!(text, ".weak function{other}\n.quad function{other}").unwrap());
    text
}

fn assemble(source: &str, object: &Path) {
    let mut child = Command::new("as").arg("-o").arg(object).stdin(Stdio::piped()).spawn().expect("binutils");
    child.stdin.take().unwrap().write_all(source.as_bytes()).unwrap();
    assert!(child.wait().unwrap().success(), "{source}");
}

fn link(folder: &Path, one: usize, needs: &[usize]) {
    let mut ld = Command::new("ld");
    ld.current_dir(folder).args(["-shared", "-rpath", "$ORIGIN", "--no-as-needed", "-o", "new.so"]);
    ld.args(["-soname", &format!("lib{one}.so"), &format!("{one}.o")]);
    ld.args(needs.iter().map(|need| format!("lib{need}.so")));
    assert!(ld.status().unwrap().success());
    fs::rename(folder.join("new.so"), folder.join(format!("lib{one}.so"))).unwrap();
}

/// The program that opens and closes them.
fn driver(folder: &Path) -> String {
    let program = folder.join("driver");
    let source = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/circles/driver.c");
    assert!(Command::new("cc").args(["-O1", "-w", source, "-o"]).arg(&program).status().unwrap().success());
    program.to_str().unwrap().into()
}

/// Whether the assembler and the linker are here, which come with a compiler.
fn has_tools() -> bool {
    let missing = ["cc", "as", "ld"].into_iter().find(|tool| Command::new(tool).arg("--version").output().is_err());
    if let Some(tool) = missing {
        assert!(std::env::var_os("CI").is_none(), "{tool} is not installed");
        eprintln!("skipped: {tool} is not installed");
    }
    missing.is_none()
}

/// Whether this is the glibc that dlscope agrees with in every circle. 2.35 as it was released differs in constructors.
fn is_comparable() -> bool {
    // SAFETY: glibc returns a C string that is there for good.
    let version = unsafe { std::ffi::CStr::from_ptr(nix::libc::gnu_get_libc_version()) };
    version != c"2.35"
}

#[test]
fn random_circles_begin_and_end_in_the_order_of_the_systems_loader() {
    if !is_comparable() {
        return eprintln!("skipped: glibc 2.35 has another order of constructors in circles");
    }
    if !has_tools() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let driver = driver(folder.path());
    for seed in 0..GRAPHS {
        let graph = Graph::random(seed);
        let libraries = folder.path().join(seed.to_string());
        fs::create_dir(&libraries).unwrap();
        graph.build(&libraries);
        let mut command = vec![&*driver, libraries.to_str().unwrap()];
        command.extend(graph.acts.iter().map(String::as_str));
        let system = text(&plain(&command, |_| {}));
        let ours = text(&preloaded(&command, |_| {}));
        assert!(system.starts_with("exit status: 0") && system.contains('+') && system.contains('-'), "{system}");
        assert_eq!(ours, system, "graph {seed}: needs {:?}, bound {:?}", graph.needs, graph.bound);
    }
}

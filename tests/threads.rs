//! Many threads open, look up, call and close at random: nothing crashes, and nothing stays behind.

mod common;
mod fixtures;
mod preloading;
mod random;

use std::collections::HashSet;
use std::path::PathBuf;
use std::thread;

use common::{descriptors, in_own_process, maps};
use dlscope::{Library, Loader};
use random::Random;

dlscope::interpose!();

/// Every fixture that loads (some are made to be refused), with a namespace shared by all threads: two fixtures have
/// dependencies of one name, and in one namespace the second would get the first one's.
fn fixtures_that_load() -> Vec<(Loader, PathBuf)> {
    let sources = std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/c-fixtures")).unwrap();
    let cases = sources.map(Result::unwrap).filter(|entry| entry.path().is_dir());
    let mut names: Vec<String> = cases.map(|case| case.file_name().into_string().unwrap()).collect();
    names.sort();
    let paths = names.iter().map(|name| (Loader::new(), fixtures::unpack(name, "threads")));
    // SAFETY: fixtures, whose constructors do what their sources say.
    paths.filter(|(loader, path)| unsafe { loader.open(path) }.is_ok()).collect()
}

fn work(seed: u64, steps: usize, paths: &[(Loader, PathBuf)], pinned: &[bool]) {
    let mut random = Random(0x9e37_79b9_7f4a_7c15 ^ (seed << 17));
    let own: Vec<Loader> = paths.iter().map(|_| Loader::new()).collect();
    let mut open: Vec<Library> = Vec::new();
    for _ in 0..steps {
        let at = random.below(paths.len());
        let (shared, path) = &paths[at];
        match random.below(5) {
            0 | 1 => {
                // SAFETY: fixtures, and libraries of the system.
                let opened =
                    unsafe { if random.below(3) == 0 && !pinned[at] { own[at].open(path) } else { shared.open(path) } };
                open.push(opened.unwrap_or_else(|e| panic!("{e}")));
            }
            2 if !open.is_empty() => open.swap_remove(random.below(open.len())).close().unwrap(),
            // SAFETY: `zlibVersion` has no arguments, and is called only where it is.
            3 if !open.is_empty() => unsafe {
                let library = &open[random.below(open.len())];
                if let Ok(version) = library.get::<unsafe extern "C" fn() -> *const u8>("zlibVersion") {
                    assert_eq!(*version(), b'1');
                }
            },
            _ => thread::spawn(|| {}).join().unwrap(),
        }
        if open.len() > 10 {
            open.remove(0);
        }
    }
}

#[test]
fn eight_threads_open_look_up_call_and_close_at_random() {
    in_own_process("eight_threads_open_look_up_call_and_close_at_random", || {
        // SAFETY: the default action of SIGALRM ends this process, should it hang.
        unsafe { nix::libc::alarm(60) };
        let mut paths = fixtures_that_load();
        assert!(paths.len() >= 45, "only {} fixtures load", paths.len());
        let real = ["libz.so.1", "libsqlite3.so.0", "libpng16.so.16"];
        paths.extend(real.map(|name| (Loader::new(), PathBuf::from(name))));
        // Closed, and still there: DF_1_NODELETE, or a unique symbol. In each new namespace they would stay once more.
        let maps_of =
            |path: &PathBuf| maps().iter().any(|line| line.contains(path.parent().unwrap().to_str().unwrap()));
        let pinned: Vec<bool> = paths.iter().map(|(_, path)| path.is_absolute() && maps_of(path)).collect();
        println!(
            "pinned: {:?}",
            paths.iter().zip(&pinned).filter(|(_, p)| **p).map(|((_, path), _)| path).collect::<Vec<_>>()
        );
        let round = |steps| {
            thread::scope(|scope| {
                for seed in 1..=8 {
                    let (paths, pinned) = (&paths, &pinned);
                    scope.spawn(move || work(seed, steps, paths, pinned));
                }
            });
            // What belongs to a file; the allocator's and the threads' own maps come and go.
            let of_files: Vec<String> = maps().into_iter().filter(|line| line.contains('/')).collect();
            (of_files.len(), descriptors().len())
        };
        round(50);
        let early = round(100);
        let late = round(2000);
        assert_eq!(early, late, "maps of files and descriptors grow");
    });
}

/// The fixtures that one process can have all at once, and three real libraries, as `tests/threads/loop.c` wants them.
fn for_the_loop() -> Vec<String> {
    let loads = fixtures::FIXTURES.iter().filter(|f| f.refuse.is_none() && f.policy.is_none() && f.crash.is_none());
    // Not two with a dependency of one name: the second would get the first one's.
    let mut seen = HashSet::new();
    let loads = loads.filter(|fixture| {
        let names = fixture.files.iter().map(|(file, _)| file.rsplit('/').next().unwrap());
        let fresh = names.clone().all(|name| !seen.contains(name));
        seen.extend(fresh.then_some(names).into_iter().flatten());
        fresh
    });
    let mut specs: Vec<String> = loads
        .map(|fixture| {
            let path = fixtures::unpack(fixture.name, "threads-loop");
            let simple = |call: &&str| call.contains("()") && !call.contains(['!', '@']);
            let names: Vec<&str> =
                fixture.calls.iter().copied().filter(simple).map(|call| call.split('(').next().unwrap()).collect();
            format!("{}={}", path.display(), names.join(","))
        })
        .collect();
    specs.extend(["libz.so.1=zlibVersion", "libsqlite3.so.0=sqlite3_libversion", "libpng16.so.16="].map(Into::into));
    specs
}

/// `name` as a number in the line that begins with `what`.
fn number(text: &str, what: &str, name: &str) -> i64 {
    let line = text.lines().find(|line| line.starts_with(what)).unwrap_or_else(|| panic!("no {what} in\n{text}"));
    let mut words = line.split(' ').skip_while(|word| *word != name);
    words.nth(1).and_then(|word| word.parse().ok()).unwrap_or_else(|| panic!("no {name} in {line:?}"))
}

#[test]
fn memory_is_as_flat_as_in_the_same_loop_under_glibc() {
    let dir = tempfile::tempdir().unwrap();
    let program = dir.path().join("loop");
    let source = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/threads/loop.c");
    let built =
        std::process::Command::new("cc").args(["-O1", "-w", "-pthread", "-o"]).arg(&program).arg(source).status();
    assert!(built.unwrap().success());
    let specs = for_the_loop();
    let command: Vec<&str> = [program.to_str().unwrap()].into_iter().chain(specs.iter().map(String::as_str)).collect();
    // One heap: how many there are is up to chance.
    let one_heap = |command: &mut std::process::Command| {
        command.env("MALLOC_ARENA_MAX", "1");
    };
    // Without what the fixtures print.
    let told = |output: &std::process::Output| {
        let of_the_loop = ["exit", "signal", "libraries", "pinned", "before", "after"];
        let text = preloading::text(output);
        let lines =
            text.lines().filter(|line| of_the_loop.contains(&line.split([' ', ':']).next().unwrap_or_default()));
        lines.collect::<Vec<_>>().join("\n")
    };
    let system = told(&preloading::plain(&command, one_heap));
    let ours = told(&preloading::preloaded(&command, one_heap));
    println!("glibc\n{system}\ndlscope\n{ours}");
    let pinned = |text: &str| text.lines().filter(|line| line.starts_with("pinned")).collect::<Vec<_>>().join("\n");
    assert!(number(&system, "libraries", "libraries") >= 50, "too few libraries load\n{system}");
    assert_eq!(number(&ours, "libraries", "libraries"), number(&system, "libraries", "libraries"), "{ours}");
    assert_eq!(pinned(&ours), pinned(&system), "what is there for good");
    for name in ["wrong", "maps", "descriptors"] {
        let (before, after) = (number(&ours, "before", name), number(&ours, "after", name));
        assert_eq!(before, after, "{name}, before and after 16,000 steps\n{ours}");
    }
    assert_eq!(number(&ours, "after", "wrong"), 0, "{ours}");
    // Four bytes a step in the heap; and half a MiB of pages of all kinds, which the stacks of threads move by.
    for (name, tolerance) in [("heap", 64 << 10), ("dirty", 512)] {
        let growth = |text: &str| number(text, "after", name) - number(text, "before", name);
        let (of_system, of_ours) = (growth(&system), growth(&ours));
        assert!(
            of_ours <= of_system.max(0) + tolerance,
            "{name} grows by {of_ours}, under glibc by {of_system}\n{ours}\nglibc\n{system}"
        );
    }
}

#[test]
fn ten_thousand_young_threads_find_the_variables_of_ten_thousand_loads() {
    let dir = tempfile::tempdir().unwrap();
    let (program, library) = (dir.path().join("young"), dir.path().join("libvariable.so"));
    let variable = dir.path().join("variable.c");
    let source =
        "__thread int variable __attribute__((tls_model(\"initial-exec\"))) = 42; int get(void) { return variable; }";
    std::fs::write(&variable, source).unwrap();
    let cc = |arguments: &[&str]| {
        let built = std::process::Command::new("cc").args(["-O1", "-w", "-pthread"]).args(arguments).status();
        assert!(built.unwrap().success());
    };
    let [program, library, variable] = [&program, &library, &variable].map(|path| path.to_str().unwrap());
    cc(&["-shared", "-fPIC", variable, "-o", library]);
    cc(&[concat!(env!("CARGO_MANIFEST_DIR"), "/tests/threads/young.c"), "-o", program]);
    let output = preloading::text(&preloading::preloaded(&[program, library, "10000"], |_| {}));
    assert_eq!(output, "exit status: 0\n10000 loads, 0 wrong\n");
}

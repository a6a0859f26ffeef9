//! Many threads open, look up, call and close at random: nothing crashes, and nothing stays behind.

mod common;
mod fixtures;

use std::path::PathBuf;
use std::thread;

use common::{descriptors, in_own_process, maps};
use dlscope::{Library, Loader};

dlscope::interpose!();

const FIXTURES: [&str; 10] = [
    "add",
    "diamond",
    "cycle",
    "ifunc",
    "tls-dynamic",
    "tls-initial-exec",
    "tls-descriptor",
    "versions",
    "relr",
    "pointers",
];

/// xorshift: every run and every thread has its own, and always the same.
struct Random(u64);

impl Random {
    fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 as usize % end
    }
}

fn work(seed: u64, steps: usize, paths: &[PathBuf]) {
    let mut random = Random(0x9e37_79b9_7f4a_7c15 ^ (seed << 17));
    let own = Loader::new();
    let mut open: Vec<Library> = Vec::new();
    for _ in 0..steps {
        let path = &paths[random.below(paths.len())];
        match random.below(5) {
            0 | 1 => {
                // SAFETY: fixtures, and libraries of the system.
                let opened = unsafe { if random.below(3) == 0 { own.open(path) } else { Library::open(path) } };
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
        let mut paths: Vec<PathBuf> = FIXTURES.iter().map(|name| fixtures::unpack(name, "threads")).collect();
        paths.extend(["libz.so.1", "libsqlite3.so.0", "libpng16.so.16"].map(PathBuf::from));
        let round = |steps| {
            thread::scope(|scope| {
                for seed in 1..=8 {
                    let paths = &paths;
                    scope.spawn(move || work(seed, steps, paths));
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

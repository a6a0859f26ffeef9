//! Samples of `dlopen-rs`, which replaces libc's `dlopen`, `dlsym` and more in every program that links it.

use dlopen_rs::{ElfLibrary, OpenFlags};
use versus::contender::{Contender, Name};
use versus::sample;

struct DlopenRs;

impl Contender for DlopenRs {
    type Library = ElfLibrary;

    fn open(&mut self, path: &str) -> Result<ElfLibrary, String> {
        ElfLibrary::dlopen(path, OpenFlags::RTLD_NOW).map_err(|e| e.to_string())
    }

    fn close(&mut self, library: ElfLibrary) {
        drop(library);
    }

    fn find(&self, library: &ElfLibrary, name: &Name) -> bool {
        // SAFETY: the symbol is not used.
        unsafe { library.get::<*const ()>(&name.text) }.is_ok()
    }
}

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [word, _, what, library, more @ ..] = &args[..] else { panic!("sample dlopen-rs WHAT LIB") };
    assert_eq!(word, "sample", "this program is started by versus");
    // What it reads of the host, it reads before `main`: there is nothing to prepare, and nobody's clock runs yet.
    sample::run(|| Ok(DlopenRs), what, library, more)
}

//! Small C libraries that are built into this command; `build.rs` compiles them from `c-fixtures/`.
//!
//! Each shows one thing that a loader must do. The command writes them to a temporary folder, because a loader wants a
//! file.

#![allow(dead_code, reason = "build.rs describes more than the command reads")]

use std::path::PathBuf;
use std::{fs, io};

use tempfile::TempDir;

/// One fixture; `build.rs` describes the fields.
pub struct Fixture {
    /// The folder in `c-fixtures/`.
    pub name: &'static str,
    /// What the fixture shows, in one line.
    pub teaches: &'static str,
    /// The file to open.
    pub main: &'static str,
    /// All files, by their paths in the fixture's folder.
    pub files: &'static [(&'static str, &'static [u8])],
    /// All C files, by name.
    pub source: &'static [(&'static str, &'static str)],
    /// Claims about the contents of the files, which a test checks.
    pub claims: &'static [Claim],
    /// The symbols to tell of in dependencies, too: what the fixture shows happens there.
    pub shows: &'static [&'static str],
    /// Calls to make, in this order.
    pub calls: &'static [&'static str],
    /// Lines on stdout from open to exit.
    pub prints: &'static [&'static str],
    /// glibc's error message, if no loader accepts the library.
    pub refuse: Option<&'static str>,
    /// The reason why dlscope refuses a library that glibc accepts.
    pub policy: Option<&'static str>,
    /// The reason why glibc crashes and dlscope does not.
    pub crash: Option<&'static str>,
    /// What dlscope must learn before it can load the library.
    pub later: Option<&'static str>,
    /// The kind of program that opens it.
    pub host: Option<&'static str>,
    /// Lines on that program's stdout.
    pub host_prints: &'static [&'static str],
}

/// A claim about the contents of a file.
pub struct Claim {
    /// The file.
    pub file: &'static str,
    /// The C file in which the claim stands.
    pub source: &'static str,
    /// The line of the claim.
    pub line: usize,
    /// The text of the claim.
    pub text: &'static str,
}

include!(concat!(env!("OUT_DIR"), "/fixtures.rs"));

/// A fixture's files on disk, for as long as this value lives.
pub struct Unpacked {
    folder: TempDir,
}

impl Unpacked {
    /// The path of one of the files. It contains a `/`, so a loader opens it without a search.
    pub fn path(&self, file: &str) -> PathBuf {
        self.folder.path().join(file)
    }
}

impl Fixture {
    /// The fixture of this name, or a message that names similar ones.
    pub fn named(name: &str) -> Result<&'static Fixture, String> {
        let found = FIXTURES.iter().find(|fixture| fixture.name == name);
        found.ok_or_else(|| {
            let alike = alike(name);
            let hint =
                if alike.is_empty() { String::new() } else { format!("\n       did you mean {}?", alike.join(" or ")) };
            format!("no fixture is called {name:?}{hint}\n       `dlscope trace --list-fixtures` lists them")
        })
    }

    /// Writes all files to a fresh temporary folder.
    pub fn unpack(&self) -> io::Result<Unpacked> {
        let folder = tempfile::Builder::new().prefix("dlscope-").tempdir()?;
        for (path, bytes) in self.files {
            let path = folder.path().join(path);
            fs::create_dir_all(path.parent().unwrap_or(folder.path()))?;
            fs::write(path, bytes)?;
        }
        Ok(Unpacked { folder })
    }

    /// What to expect if not success: a refusal.
    pub fn remark(&self) -> Option<String> {
        let refused = self.refuse.map(|_| "every loader refuses it".to_string());
        let policy = || self.policy.map(|_| "dlscope refuses it".to_string());
        let later = || self.later.map(|chapter| format!("waits for the chapter on {chapter}"));
        refused.or_else(policy).or_else(later)
    }
}

/// The fixtures whose names begin like `asked`; if there are none, those whose names contain it.
fn alike(asked: &str) -> Vec<&'static str> {
    let names = || FIXTURES.iter().map(|fixture| fixture.name);
    let start = asked.get(..3).unwrap_or(asked);
    let begins: Vec<_> = names().filter(|known| known.starts_with(start)).collect();
    if begins.is_empty() { names().filter(|known| known.contains(asked)).collect() } else { begins }
}

//! The C libraries that ship inside this command, built by `build.rs` from `c-fixtures/`.
//!
//! Each shows one thing that a loader must do. They are written to a temporary folder before they are loaded,
//! because a library is loaded from a file.

#![allow(dead_code, reason = "build.rs describes more than the command reads")]

use std::path::PathBuf;
use std::{fs, io};

use tempfile::TempDir;

/// One case; `build.rs` describes the fields.
pub struct Fixture {
    /// The folder in `c-fixtures/`.
    pub name: &'static str,
    /// What to learn here, in one line.
    pub teaches: &'static str,
    /// The file to open.
    pub main: &'static str,
    /// All files, by path in the case's folder.
    pub files: &'static [(&'static str, &'static [u8])],
    /// All C files, by name.
    pub source: &'static [(&'static str, &'static str)],
    /// What the files are checked to contain.
    pub claims: &'static [Claim],
    /// Calls to make, in this order.
    pub calls: &'static [&'static str],
    /// Lines on stdout from open to exit.
    pub prints: &'static [&'static str],
    /// No loader takes it: glibc's words.
    pub refuse: Option<&'static str>,
    /// Why dlscope refuses what glibc takes.
    pub policy: Option<&'static str>,
    /// Why glibc crashes where dlscope does not.
    pub crash: Option<&'static str>,
    /// The chapter of dlscope that it waits for.
    pub later: Option<&'static str>,
    /// What kind of program its host is.
    pub host: Option<&'static str>,
    /// Lines on that program's stdout.
    pub host_prints: &'static [&'static str],
}

/// What a file is checked to contain.
pub struct Claim {
    /// What was built.
    pub file: &'static str,
    /// Where the claim stands.
    pub source: &'static str,
    /// Its line there.
    pub line: usize,
    /// Its text.
    pub text: &'static str,
}

include!(concat!(env!("OUT_DIR"), "/fixtures.rs"));

/// A fixture's files on disk, for as long as this value lives.
pub struct Unpacked {
    folder: TempDir,
}

impl Unpacked {
    /// The path of one of the files. It has a `/`, so a loader opens it as it is.
    pub fn path(&self, file: &str) -> PathBuf {
        self.folder.path().join(file)
    }
}

impl Fixture {
    /// The fixture of this name, or a message that lists what there is.
    pub fn named(name: &str) -> Result<&'static Fixture, String> {
        let found = FIXTURES.iter().find(|fixture| fixture.name == name);
        found.ok_or_else(|| {
            let alike = alike(name);
            let hint = if alike.is_empty() { String::new() } else { format!("\n       is it {}?", alike.join(" or ")) };
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

    /// What to expect besides success, if anything: a refusal, or a chapter still to be written.
    pub fn remark(&self) -> Option<String> {
        let refused = self.refuse.map(|_| "every loader refuses it".to_string());
        let policy = || self.policy.map(|_| "dlscope refuses it".to_string());
        let later = || self.later.map(|chapter| format!("waits for the chapter on {chapter}"));
        refused.or_else(policy).or_else(later)
    }
}

/// The fixtures that may be meant: those that begin like `asked`, else those that hold it.
fn alike(asked: &str) -> Vec<&'static str> {
    let names = || FIXTURES.iter().map(|fixture| fixture.name);
    let start = asked.get(..3).unwrap_or(asked);
    let begins: Vec<_> = names().filter(|known| known.starts_with(start)).collect();
    if begins.is_empty() { names().filter(|known| known.contains(asked)).collect() } else { begins }
}

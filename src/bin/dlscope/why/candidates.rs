//! Files of the name that is wanted: which of them serves best, and why another one does not serve at all.

use std::cmp::{Ordering, Reverse};
use std::fs::File;
use std::io::Read;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use dlscope::elf::image::{DF_1_PIE, check_header};
use dlscope::elf::symbol::{Class, Want, Wanted};
use serde::Serialize;

use super::problem::{Refusal, libc_of};
use crate::bytes::{path_of, shown_path};
use crate::compare::file::ElfFile;

/// A file of the wanted name that no loader takes here.
#[derive(Serialize)]
pub struct Rejected {
    #[serde(serialize_with = "shown_path")]
    pub path: PathBuf,
    pub reason: Refusal,
}

/// What an object wants of a library.
#[derive(Default)]
pub struct Wants<'w> {
    pub versions: Vec<String>,
    /// Undefined symbols of the object. Some of them may be meant to come from other libraries.
    pub symbols: Vec<&'w str>,
}

impl Wants<'_> {
    /// Puts the files first that have the most of it: of the versions, then of the symbols.
    pub fn sort(&self, files: &mut [PathBuf]) {
        if files.len() > 1 {
            files.sort_by_cached_key(|path| Reverse(self.met_by(path)));
        }
    }

    fn met_by(&self, path: &Path) -> (usize, usize) {
        let file = ElfFile::open(path);
        let Some(symbols) = file.as_ref().and_then(ElfFile::symbols) else { return (0, 0) };
        let defines = |version: &&String| symbols.versions.defined.iter().any(|known| known.text == version.as_bytes());
        let is_defined = |name: &&&str| {
            let name = path_of(name).into_os_string();
            symbols.find(&Wanted::new(name.as_bytes(), Want::Newest, Class::Address), &mut ()).is_some()
        };
        let defined = self.symbols.iter().filter(is_defined).count();
        (self.versions.iter().filter(defines).count(), defined)
    }
}

/// Takes out the files that no loader takes here.
pub fn reject(files: &mut Vec<PathBuf>) -> Vec<Rejected> {
    let mut rejected = Vec::new();
    files.retain(|path| match unfit(path) {
        Some(reason) => {
            rejected.push(Rejected { path: path.clone(), reason });
            false
        }
        None => true,
    });
    rejected
}

/// Why no loader takes the file here; `None` if it is a library for this process.
pub fn unfit(path: &Path) -> Option<Refusal> {
    let Some(file) = ElfFile::open(path) else {
        let mut head = Vec::new();
        let length = std::fs::metadata(path).map_or(0, |file| file.len());
        let read = File::open(path).and_then(|file| file.take(4096).read_to_end(&mut head));
        let error = read.ok().and_then(|_| check_header(&head, length).err());
        return Some(error.map_or(Refusal::Short(length), |kind| Refusal::of(&kind, path)));
    };
    if file.dynamic.flags_1 & DF_1_PIE != 0 {
        return Some(Refusal::Program);
    }
    libc_of(&file).map(Refusal::OtherLibc)
}

/// Compares the names of two builds of a library as ldconfig does, number by number: `libx.so.1.10` is newer than
/// `libx.so.1.9`.
pub fn by_numbers(one: &str, other: &str) -> Ordering {
    let (mut one, mut other) = (one.as_bytes(), other.as_bytes());
    while let ([a, ..], [b, ..]) = (one, other) {
        match (a.is_ascii_digit(), b.is_ascii_digit()) {
            (true, true) => {
                let ((first, rest), (second, other_rest)) = (number(one), number(other));
                match first.len().cmp(&second.len()).then_with(|| first.cmp(second)) {
                    Ordering::Equal => (one, other) = (rest, other_rest),
                    unequal => return unequal,
                }
            }
            (true, false) => return Ordering::Greater,
            (false, true) => return Ordering::Less,
            (false, false) if a != b => return a.cmp(b),
            (false, false) => (one, other) = (&one[1..], &other[1..]),
        }
    }
    one.len().cmp(&other.len())
}

/// The digits at the beginning, without zeros before them, and the rest.
fn number(text: &[u8]) -> (&[u8], &[u8]) {
    let zeros = text.iter().take_while(|byte| **byte == b'0').count();
    let digits = text[zeros..].iter().take_while(|byte| byte.is_ascii_digit()).count();
    text[zeros..].split_at(digits)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_compared_number_by_number() {
        for (newer, older) in [
            ("libx.so.1.10", "libx.so.1.9"),
            ("libx.so.1.9", "libx.so.1.8"),
            ("libx.so.2", "libx.so.1.99"),
            ("libx.so.1.0", "libx.so.1"),
            ("libx.so.1", "libx.so.old"),
        ] {
            assert_eq!(by_numbers(newer, older), Ordering::Greater, "{newer} {older}");
            assert_eq!(by_numbers(older, newer), Ordering::Less, "{newer} {older}");
        }
        assert_eq!(by_numbers("libx.so.01", "libx.so.1"), Ordering::Equal);
    }
}

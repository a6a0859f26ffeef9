//! Finds all shared objects of the machine, for `--corpus`.

use std::collections::HashSet;
use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use dlscope::elf::image::DF_1_PIE;
use goblin::elf64::program_header::PT_INTERP;

use super::file::{ElfFile, identity};

/// The shared objects below `folders`, or below `/lib*` and `/usr/lib*` if there are none; sorted, each inode once.
pub fn libraries(folders: &[OsString]) -> Vec<OsString> {
    let folders = if folders.is_empty() { standard_folders() } else { folders.iter().map(PathBuf::from).collect() };
    let (mut found, mut seen) = (Vec::new(), HashSet::new());
    for folder in folders {
        walk(&folder, &mut seen, &mut found);
    }
    found.sort();
    found
}

fn standard_folders() -> Vec<PathBuf> {
    let of = |parent: &str| {
        let entries = fs::read_dir(parent).into_iter().flatten().flatten();
        let libs = entries.filter(|entry| entry.file_name().to_string_lossy().starts_with("lib"));
        libs.map(|entry| entry.path()).collect::<Vec<_>>()
    };
    let mut folders = [of("/usr"), of("/")].concat();
    // Short paths first: of a library that lies below /lib and /usr/lib the path below /lib counts.
    folders.sort_by_key(|folder| folder.components().count());
    folders
}

/// Adds the shared objects below a folder. It follows symbolic links to files, but not those to folders.
fn walk(folder: &Path, seen: &mut HashSet<(u64, u64)>, found: &mut Vec<OsString>) {
    // The folder itself may be a link: /lib often is.
    let Ok(entries) = fs::read_dir(folder) else { return };
    let mut entries: Vec<_> = entries.flatten().collect();
    entries.sort_by_key(fs::DirEntry::file_name);
    for entry in entries {
        let path = entry.path();
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            if identity(&path).is_some_and(|folder| seen.insert(folder)) {
                walk(&path, seen, found);
            }
        } else {
            let is_new = path.is_file() && identity(&path).is_some_and(|file| seen.insert(file));
            if is_new && is_library(&path, &entry.file_name()) {
                found.push(path.into());
            }
        }
    }
}

/// Whether a file is a 64-bit `ET_DYN`, and not a program. Its name says nothing: plugins are called `x.node` or `x.jnilib`,
/// or have no ending at all. But a file without a readable dynamic section counts only if its name is that of a library,
/// since separate debug files are such files.
fn is_library(path: &Path, name: &OsStr) -> bool {
    let mut head = [0; 18];
    let read = File::open(path).and_then(|file| file.read_exact_at(&mut head, 0));
    if read.is_err() || !head.starts_with(b"\x7fELF\x02") || head[16..] != [3, 0] {
        return false;
    }
    let Some(file) = ElfFile::open(path) else { return name.to_string_lossy().contains(".so") };
    // Before linkers set `DF_1_PIE`, a program was told from a library by its interpreter. libc.so.6 has one, too.
    let is_old_program = file.image.segment(PT_INTERP).is_some() && file.dynamic.soname.is_none();
    file.dynamic.flags_1 & DF_1_PIE == 0 && !is_old_program
}

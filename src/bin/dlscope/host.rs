//! The program that is meant to load a plugin (`--host`).

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

use goblin::elf::Elf;

use crate::Failure;
use crate::bytes::shown;

/// A program by its path, or by its name in `PATH`; behind symbolic links.
pub fn found(program: &OsStr) -> Result<PathBuf, Failure> {
    let missing = || Failure::Usage(format!("--host: there is no program {}", shown(program)));
    let path = if Path::new(program).components().count() > 1 {
        Path::new(program).is_file().then(|| program.into())
    } else {
        let path = std::env::var_os("PATH").unwrap_or_default();
        std::env::split_paths(&path).map(|dir| dir.join(program)).find(|path| path.is_file())
    };
    Ok(path.ok_or_else(missing)?.canonicalize()?)
}

/// Reads the program's tables.
pub fn parse<'b>(path: &Path, bytes: &'b [u8]) -> Result<Elf<'b>, Failure> {
    if bytes.starts_with(b"#!") {
        let line = bytes.split(|&byte| byte == b'\n').next().unwrap_or_default();
        let line = shown(OsString::from(String::from_utf8_lossy(line).as_ref()));
        return Err(Failure::Usage(format!(
            "--host: {} is a script ({line}): name the program that it starts",
            shown(path)
        )));
    }
    Elf::parse(bytes).map_err(|error| Failure::Refused(format!("{}: {error}", shown(path))))
}

/// The folders of the program's `DT_RPATH` and `DT_RUNPATH`, as text.
pub fn search_path(path: &Path, elf: &Elf<'_>) -> Vec<String> {
    let origin = shown(path.parent().unwrap_or(Path::new("/")));
    let lists = elf.rpaths.iter().chain(&elf.runpaths).flat_map(|list| list.split(':'));
    let dirs = lists.filter(|dir| !dir.is_empty());
    dirs.map(|dir| dir.replace("${ORIGIN}", "$ORIGIN").replace("$ORIGIN", &origin)).collect()
}

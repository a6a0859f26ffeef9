//! `--root`: looks at a library of another system, whose files lie below a folder: a container's, an image's, a cross
//! build's.
//!
//! The process makes that folder its root directory (chroot(2)). Then everything means what it means there: the paths in
//! `DT_RUNPATH`, `/etc/ld.so.cache`, symbolic links. A user without the right to do so gets it in a user namespace of the
//! process's own (unshare(2), `CLONE_NEWUSER`). Nothing of the other system runs, and none of this process's own libraries
//! counts: the other system's libc is mapped and looked at like any other library.

use std::env;
use std::ffi::{CString, OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf, absolute};
use std::process::Command;
use std::{fs, io};

use nix::libc;

use super::machine::DEFAULT_FOLDERS;
use crate::Failure;
use crate::bytes::shown;
use crate::compare::file::ElfFile;
use crate::page::short;

/// Makes `root` the root directory of this process. Returns the name of the library there, and the path that `root` has
/// outside: a path to a file below `root` becomes its path inside, and every other path is one inside already.
pub fn enter(root: &Path, library: &OsStr) -> Result<(OsString, PathBuf), Failure> {
    let failed = |error: io::Error| Failure::Usage(format!("--root: {}: {error}", shown(root)));
    let real = root.canonicalize().map_err(failed)?;
    if !real.is_dir() {
        return Err(failed(io::Error::from(io::ErrorKind::NotADirectory)));
    }
    // The variable is for programs of this system. The loader has read it already, so the command begins anew.
    if env::var_os("LD_LIBRARY_PATH").is_some() {
        let mut again = Command::new("/proc/self/exe");
        return Err(Failure::Io(again.args(env::args_os().skip(1)).env_remove("LD_LIBRARY_PATH").exec()));
    }
    let inside = inside(&real, library);
    change_root(&real).map_err(|error| {
        Failure::Refused(format!(
            "--root: chroot({}): {error}; root can, and whoever may make user namespaces",
            shown(&real)
        ))
    })?;
    env::set_current_dir("/")?;
    if let Some((whose, loader)) = other_rules() {
        return Err(Failure::Refused(format!(
            "the system below {} is {whose}: it has the loader {loader}, whose rules are not known here; dlscope knows those \
             of glibc for x86-64",
            shown(&real)
        )));
    }
    Ok((inside, real))
}

/// The name of the library as it is below `root`, which has no symbolic links in it.
fn inside(root: &Path, library: &OsStr) -> OsString {
    if !library.as_bytes().contains(&b'/') {
        return library.into();
    }
    let path = absolute(library).unwrap_or_else(|_| library.into());
    // The file itself may be a link that leads somewhere inside only.
    let folder = path.parent().and_then(|folder| folder.canonicalize().ok());
    let below = folder.as_ref().and_then(|folder| folder.strip_prefix(root).ok());
    match (below, path.file_name()) {
        (Some(below), Some(name)) => Path::new("/").join(below).join(name).into(),
        _ => Path::new("/").join(library).into(),
    }
}

/// If this system is not one of glibc for x86-64: whose it is, and its loader.
fn other_rules() -> Option<(&'static str, String)> {
    const FILES: [(&str, &str); 2] = [("Android's", "/system/bin/linker64"), ("FreeBSD's", "/libexec/ld-elf.so.1")];
    const NAMES: [(&str, &str); 5] = [
        ("musl's", "ld-musl-"),
        ("uClibc's", "ld-uClibc"),
        ("one of another processor", "ld-linux"),
        ("one of another processor", "ld64.so."),
        ("one of another processor", "ld.so.1"),
    ];
    // A system may have the loader of a second C library, too.
    if DEFAULT_FOLDERS.iter().any(|folder| ElfFile::open(&Path::new(folder).join("libc.so.6")).is_some()) {
        return None;
    }
    let in_folder = |folder: &str| fs::read_dir(folder).into_iter().flatten().flatten();
    let loaders = ["/lib", "/lib64", "/usr/lib"].into_iter().flat_map(in_folder).map(|entry| entry.path());
    let loaders = loaders.filter(|path| !path.ends_with("ld-linux-x86-64.so.2"));
    let mut loaders: Vec<String> = loaders.map(shown).collect();
    loaders.sort();
    let named = NAMES.into_iter().find_map(|(whose, start)| {
        let loader = loaders.iter().find(|path| short(path).starts_with(start))?;
        Some((whose, loader.clone()))
    });
    let files = FILES.into_iter().find(|(_, file)| Path::new(file).exists());
    named.or_else(|| files.map(|(whose, file)| (whose, file.into())))
}

fn change_root(root: &Path) -> io::Result<()> {
    let path = CString::new(root.as_os_str().as_bytes())?;
    // SAFETY: a C string; the process has one thread, and no path that it still needs leads elsewhere.
    let chroot = || if unsafe { libc::chroot(path.as_ptr()) } == 0 { Ok(()) } else { Err(io::Error::last_os_error()) };
    chroot().or_else(|error| {
        // SAFETY: no pointers; the process has one thread, as `CLONE_NEWUSER` asks for.
        if unsafe { libc::unshare(libc::CLONE_NEWUSER) } == 0 { chroot() } else { Err(error) }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_below_the_root_becomes_one_inside_and_any_other_is_one() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().canonicalize().unwrap();
        std::fs::create_dir_all(root.join("usr/lib")).unwrap();
        let inside = |library: &str| super::inside(&root, OsStr::new(library)).into_string().unwrap();
        assert_eq!(inside("libx.so"), "libx.so");
        assert_eq!(inside(&format!("{}/usr/lib/libx.so", root.display())), "/usr/lib/libx.so");
        assert_eq!(inside("/usr/lib/libx.so"), "/usr/lib/libx.so");
        assert_eq!(inside("usr/lib/libx.so"), "/usr/lib/libx.so");
    }
}

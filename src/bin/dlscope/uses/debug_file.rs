//! Where the debug information of a library lies: in the library, or in a file of its own, which is found as gdb finds it
//! (gdb's manual, "Separate Debug Files").

use std::fs::{self, File};
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use flate2::Crc;
use object::Object as _;

/// The folder in which distributions put debug files.
pub const ROOT: &str = "/usr/lib/debug";

/// The file with the debug information of the library at `path`, whose content is `bytes`: a separate one, or itself.
pub fn of(path: &Path, bytes: &[u8], root: &Path) -> PathBuf {
    separate(path, bytes, root).unwrap_or_else(|| path.into())
}

/// The separate debug file; `None` if the library has its debug information itself, or no file fits.
fn separate(path: &Path, bytes: &[u8], root: &Path) -> Option<PathBuf> {
    let library = object::File::parse(bytes).ok()?;
    if library.section_by_name(".debug_info").is_some() {
        return None;
    }
    by_build_id(&library, root).or_else(|| by_link(&library, path, root))
}

/// By the note NT_GNU_BUILD_ID: the first byte of the id is the name of a folder.
fn by_build_id(library: &object::File<'_>, root: &Path) -> Option<PathBuf> {
    let id = library.build_id().ok()??;
    let (first, rest) = id.split_first()?;
    let rest: String = rest.iter().map(|byte| format!("{byte:02x}")).collect();
    let path = root.join(format!(".build-id/{first:02x}/{rest}.debug"));
    let content = fs::read(&path).ok()?;
    let file = object::File::parse(&*content).ok()?;
    (file.build_id().ok()? == Some(id)).then_some(path)
}

/// By the section `.gnu_debuglink`: the name of the file, and the checksum of its content.
fn by_link(library: &object::File<'_>, path: &Path, root: &Path) -> Option<PathBuf> {
    let (name, checksum) = library.gnu_debuglink().ok()??;
    let name = Path::new(std::str::from_utf8(name).ok()?).file_name()?;
    let folder = path.parent()?;
    let below_root = root.join(folder.strip_prefix("/").unwrap_or(folder));
    let places = [folder.join(name), folder.join(".debug").join(name), below_root.join(name)];
    places.into_iter().find(|place| place.is_file() && crc32(place).is_ok_and(|found| found == checksum))
}

/// The checksum of a file, as `objcopy --add-gnu-debuglink` computes it.
fn crc32(path: &Path) -> io::Result<u32> {
    let mut file = File::open(path)?;
    let mut crc = Crc::new();
    let mut part = vec![0; 1 << 16];
    loop {
        match file.read(&mut part)? {
            0 => return Ok(crc.sum()),
            length => crc.update(&part[..length]),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    /// Runs a command in a folder.
    fn run(folder: &Path, command: &str) {
        let status = Command::new("sh").args(["-ec", command]).current_dir(folder).status().unwrap();
        assert!(status.success(), "{command}");
    }

    /// A folder with `libit.so`, which has no debug information, and `libit.debug`, which has it.
    fn library() -> (tempfile::TempDir, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("it.c"), "int it(void) { return 1; }\n").unwrap();
        run(
            folder.path(),
            "cc -g -shared -fPIC -Wl,--build-id=0x0123456789abcdef -o libit.so it.c
             objcopy --only-keep-debug libit.so libit.debug
             strip libit.so",
        );
        let library = folder.path().join("libit.so");
        (folder, library)
    }

    fn found(library: &Path, root: &Path) -> PathBuf {
        of(library, &fs::read(library).unwrap(), root)
    }

    #[test]
    fn a_debug_file_is_found_by_the_build_id_if_it_has_the_same_one() {
        let (folder, library) = library();
        let root = folder.path().join("debug");
        assert_eq!(found(&library, &root), library, "there is no debug file yet");
        run(folder.path(), "mkdir -p debug/.build-id/01; cp libit.debug debug/.build-id/01/23456789abcdef.debug");
        assert_eq!(found(&library, &root), root.join(".build-id/01/23456789abcdef.debug"));
        run(folder.path(), "cc -g -shared -fPIC -Wl,--build-id=0x77 -o debug/.build-id/01/23456789abcdef.debug it.c");
        assert_eq!(found(&library, &root), library, "that file is of another library");
    }

    #[test]
    fn a_debug_file_is_found_by_its_link_in_three_places_if_its_checksum_is_right() {
        let (folder, library) = library();
        let root = folder.path().join("debug");
        run(folder.path(), "objcopy --add-gnu-debuglink=libit.debug libit.so");
        assert_eq!(found(&library, &root), folder.path().join("libit.debug"));
        run(folder.path(), "mkdir .debug; mv libit.debug .debug");
        assert_eq!(found(&library, &root), folder.path().join(".debug/libit.debug"));
        let below = root.join(folder.path().strip_prefix("/").unwrap());
        fs::create_dir_all(&below).unwrap();
        fs::rename(folder.path().join(".debug/libit.debug"), below.join("libit.debug")).unwrap();
        assert_eq!(found(&library, &root), below.join("libit.debug"));
        run(folder.path(), "printf x >> \"$(find debug -name libit.debug)\"");
        assert_eq!(found(&library, &root), library, "the checksum is wrong now");
    }

    #[test]
    fn a_library_with_debug_information_of_its_own_needs_no_other_file() {
        let (folder, library) = library();
        run(folder.path(), "cc -g -shared -fPIC -o libit.so it.c; objcopy --add-gnu-debuglink=libit.debug libit.so");
        assert_eq!(found(&library, folder.path()), library);
    }
}

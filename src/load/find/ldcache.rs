//! `/etc/ld.so.cache`: from a soname to a path without searching directories.
//!
//! glibc `_dl_load_cache_lookup` (`elf/dl-cache.c`), written by `ldconfig`. The entries are sorted by name,
//! descending, with runs of digits compared as numbers (`libfoo.so.10` before `libfoo.so.9`).

use std::cmp::Ordering;
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStrExt;

use memmap2::{Mmap, MmapOptions};
use nix::fcntl::{OFlag, open};
use nix::sys::stat::{Mode, fstat, stat};

use crate::elf::addr::{Addr, FileOffset, c_str_at, u32_at};
use crate::event::{Kind, LoadId, Report};
use crate::host::cpu::{Level, cpu_level};
use crate::load::read::close;
use crate::lock::{Guarded, Lock};
use crate::memory::name_of;
use crate::text::{escape, unescape};

/// The cache file, which `ldconfig` writes.
pub(crate) const PATH: &str = "/etc/ld.so.cache";

const MAGIC: &[u8] = b"glibc-ld.so.cache1.1";
/// The magic of the older format. A file may begin with a table in that format, for older loaders; the new header
/// follows this table.
const OLD_MAGIC: &[u8] = b"ld.so-1.7.0";
/// Bytes of `struct cache_file_new` and of `struct file_entry_new` (glibc `dl-cache.h`).
const HEADER: usize = 48;
const ENTRY: usize = 24;
/// `flags` of an ELF library for libc.so.6 and x86_64: `FLAG_ELF_LIBC6 | FLAG_X8664_LIB64`.
const FLAGS: u32 = 0x0303;
/// A bit of `hwcap`: the entry's file is under `glibc-hwcaps`. The lower half of `hwcap` is the number of its
/// subdirectory.
const HWCAP_EXTENSION: u64 = 1 << 62;
const EXTENSION_MAGIC: u32 = 0xeaa4_2174;
const HWCAPS_TAG: u32 = 1;

/// The cache file as it is mapped, and which state of the file that is.
struct Cache {
    view: Option<Mmap>,
    /// Device, inode, and modification time in seconds and nanoseconds. `None`: there was no file.
    stamp: Option<(u64, u64, i64, i64)>,
    /// The last load that looked whether the file is still in this state.
    checked: Option<LoadId>,
}

static CACHE: Guarded<Cache> = Guarded::new(Cache { view: None, stamp: None, checked: None });

/// The paths that the cache has for `name`, the best for this processor first. Empty if there is no usable cache.
pub(crate) fn lookup(lock: &Lock, name: &str, report: Report<'_>) -> Vec<String> {
    // The file's state is looked at once a load, not once a name: a library has many dependencies.
    let checked = CACHE.borrow(lock).checked.replace(report.load()) == Some(report.load());
    let stamp = || stat(PATH).ok().map(|s| (s.st_dev, s.st_ino, s.st_mtime, s.st_mtime_nsec));
    let stamp = if checked { None } else { Some(stamp()) };
    if let Some(stamp) = stamp.filter(|stamp| CACHE.borrow(lock).stamp != *stamp) {
        let view = view(report);
        let new = Cache { view, stamp, checked: Some(report.load()) };
        let old = std::mem::replace(&mut *CACHE.borrow(lock), new).view;
        if let Some(old) = old {
            let (address, length) = (Addr(old.as_ptr() as u64), old.len() as u64);
            drop(old);
            report.tell(|| Kind::Unmap { address, length, error: None });
        }
    }
    let cache = CACHE.borrow(lock);
    cache.view.as_deref().map_or(Vec::new(), |bytes| search(bytes, name, cpu_level()))
}

/// Maps the cache file. `ldconfig` replaces the file, and never changes it in place.
fn view(report: Report<'_>) -> Option<Mmap> {
    let opened = open(PATH, OFlag::O_RDONLY | OFlag::O_CLOEXEC, Mode::empty());
    report.tell(|| Kind::Open {
        path: PATH.into(),
        fd: opened.as_ref().map(AsRawFd::as_raw_fd).map_err(|&errno| name_of(errno)),
    });
    let fd = opened.ok()?;
    let length = fstat(&fd).map_or(0, |stat| stat.st_size as usize);
    // SAFETY: the view stays valid as long as nobody truncates the file in place; nobody but root could.
    let view = unsafe { MmapOptions::new().len(length).map(&fd) }.ok();
    if let Some(view) = &view {
        let (address, length) = (Addr(view.as_ptr() as u64), view.len() as u64);
        report.tell(|| Kind::View { address, length, fd: fd.as_raw_fd(), offset: FileOffset(0) });
    }
    close(fd, report);
    view
}

/// The paths of all entries for `name` that this machine can use: those for the highest processor level first.
fn search(bytes: &[u8], name: &str, level: Level) -> Vec<String> {
    let Some((base, count)) = locate(bytes) else { return Vec::new() };
    let name = unescape(name);
    let entry = |index: usize| CacheEntry::read(bytes, base, index);
    // The first entry that is not before `name`, in the table's descending order.
    let mut low = 0;
    let mut high = count;
    while low < high {
        let middle = low + (high - low) / 2;
        match entry(middle).map(|e| compare(e.name, name.as_bytes())) {
            Some(Ordering::Greater) => low = middle + 1,
            Some(_) => high = middle,
            None => return Vec::new(),
        }
    }
    let same = (low..count).map_while(entry).take_while(|e| compare(e.name, name.as_bytes()) == Ordering::Equal);
    let mut found: Vec<(Level, String)> = Vec::new();
    for e in same.filter(|e| e.flags == FLAGS) {
        let needs = match e.hwcap {
            0 => Level::Base,
            hwcap if hwcap & HWCAP_EXTENSION != 0 => match subdirectory(bytes, base, hwcap as u32) {
                Some(needs) => needs,
                None => continue,
            },
            // Kinds of `hwcap` that glibc no longer uses.
            _ => continue,
        };
        if needs <= level {
            let Some(path) = e.path() else { return Vec::new() };
            found.push((needs, escape(path).into_owned()));
        }
    }
    found.sort_by_key(|(needs, _)| std::cmp::Reverse(*needs));
    found.into_iter().map(|(_, path)| path).collect()
}

/// Where the new table's header begins and how many entries follow it.
fn locate(bytes: &[u8]) -> Option<(usize, usize)> {
    let base = if bytes.starts_with(OLD_MAGIC) {
        let old_entries = u32_at(bytes, 12)? as usize;
        (16 + old_entries.checked_mul(12)?).next_multiple_of(8)
    } else {
        0
    };
    bytes.get(base..)?.starts_with(MAGIC).then_some(())?;
    let count = u32_at(bytes, base + 20)? as usize;
    let room = bytes.len().checked_sub(base + HEADER)? / ENTRY;
    (count <= room).then_some((base, count))
}

struct CacheEntry<'a> {
    flags: u32,
    name: &'a [u8],
    /// The file's bytes from the beginning of this entry's path on. A NUL ends the path.
    path: &'a [u8],
    hwcap: u64,
}

impl<'a> CacheEntry<'a> {
    fn read(bytes: &'a [u8], base: usize, index: usize) -> Option<CacheEntry<'a>> {
        let at = base + HEADER + index * ENTRY;
        Some(CacheEntry {
            flags: u32_at(bytes, at)?,
            name: c_str_at(bytes, base + u32_at(bytes, at + 4)? as usize)?,
            path: bytes.get(base + u32_at(bytes, at + 8)? as usize..)?,
            hwcap: u64::from(u32_at(bytes, at + 16)?) | u64::from(u32_at(bytes, at + 20)?) << 32,
        })
    }

    fn path(&self) -> Option<&'a [u8]> {
        c_str_at(self.path, 0)
    }
}

/// The processor level of the `glibc-hwcaps` subdirectory number `index`. The extension of the file lists the names of
/// these subdirectories.
fn subdirectory(bytes: &[u8], base: usize, index: u32) -> Option<Level> {
    let extension = base + u32_at(bytes, base + 32)? as usize;
    if u32_at(bytes, extension)? != EXTENSION_MAGIC {
        return None;
    }
    let sections = u32_at(bytes, extension + 4)? as usize;
    let section =
        (0..sections.min(64)).map(|n| extension + 8 + n * 16).find(|&s| u32_at(bytes, s) == Some(HWCAPS_TAG))?;
    let (offset, length) = (u32_at(bytes, section + 8)?, u32_at(bytes, section + 12)?);
    if index >= length / 4 {
        return None;
    }
    let name = u32_at(bytes, base + offset as usize + index as usize * 4)?;
    Level::named(c_str_at(bytes, base + name as usize)?)
}

/// Compares two names in the order of the table: byte by byte, but runs of digits as numbers. glibc `_dl_cache_libcmp`.
pub(crate) fn compare(mut a: &[u8], mut b: &[u8]) -> Ordering {
    loop {
        match (a.first(), b.first()) {
            (None, None) => return Ordering::Equal,
            (Some(x), Some(y)) if x.is_ascii_digit() && y.is_ascii_digit() => {
                let (x, y) = (number(&mut a), number(&mut b));
                if x != y {
                    return x.cmp(&y);
                }
            }
            // A digit counts as greater than any other character, as in glibc.
            (Some(x), _) if x.is_ascii_digit() => return Ordering::Greater,
            (_, Some(y)) if y.is_ascii_digit() => return Ordering::Less,
            (x, y) if x != y => return x.cmp(&y),
            _ => (a, b) = (&a[1..], &b[1..]),
        }
    }
}

fn number(text: &mut &[u8]) -> u64 {
    let mut value = 0_u64;
    while let [digit @ b'0'..=b'9', rest @ ..] = *text {
        value = value.wrapping_mul(10).wrapping_add(u64::from(digit - b'0'));
        *text = rest;
    }
    value
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digits_are_compared_as_numbers_and_come_after_letters() {
        for (a, b, order) in [
            ("libfoo.so.9", "libfoo.so.10", Ordering::Less),
            ("libfoo.so.1", "libfoo.so.1", Ordering::Equal),
            ("lib1.so", "liba.so", Ordering::Greater),
            ("libfoo.so", "libfoo.so.1", Ordering::Less),
        ] {
            assert_eq!(compare(a.as_bytes(), b.as_bytes()), order, "{a} {b}");
        }
    }

    #[test]
    fn damaged_caches_answer_nothing() {
        assert!(search(b"", "libc.so.6", Level::Base).is_empty());
        assert!(search(MAGIC, "libc.so.6", Level::Base).is_empty());
        let mut huge = MAGIC.to_vec();
        huge.resize(HEADER, 0xff);
        assert!(search(&huge, "libc.so.6", Level::Base).is_empty());
    }

    #[test]
    fn every_name_in_this_machines_cache_is_found() {
        let Ok(bytes) = std::fs::read(PATH) else { return };
        let (base, count) = locate(&bytes).expect("the cache of a current ldconfig");
        assert!(count > 0);
        for index in 0..count {
            let entry = CacheEntry::read(&bytes, base, index).unwrap();
            if entry.flags == FLAGS && entry.hwcap == 0 {
                let name = String::from_utf8_lossy(entry.name);
                let found = search(&bytes, &name, Level::Base);
                assert!(found.iter().any(|path| Some(path.as_bytes()) == entry.path()), "{name}: {found:?}");
            }
        }
    }
}

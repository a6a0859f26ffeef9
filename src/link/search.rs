//! Stage 1, find: from a name to an open file. And stage 2, read: the file's headers.
//!
//! ld.so(8), "DESCRIPTION"; glibc `_dl_map_object` and `open_verify`, musl `load_library`. Each rule gives a
//! list of directories; each directory is tried with the `glibc-hwcaps` subdirectories of this processor first.
//! A file for another machine is passed over, as ld.so does; a damaged one ends the search.

use std::cell::RefCell;
use std::ffi::OsString;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::Path;
use std::sync::OnceLock;

use nix::errno::Errno;
use nix::fcntl::{OFlag, open};
use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::sys::stat::{Mode, fstat};
use nix::sys::uio::pread;
use nix::unistd::{AccessFlags, access};

use crate::elf::addr::FileOffset;
use crate::elf::image::{HEAD, Image, check_header};
use crate::error::{Error, ErrorKind, Result};
use crate::event::{Kind, Outcome, Probe, Report, Rule, Stage};
use crate::hash::Set;
use crate::host;
use crate::link::cpu::{Level, cpu_level};
use crate::link::ldcache;
use crate::link::tokens::{directory, expand};
use crate::lock::{Lock, made_once};
use crate::memory::name_of;
use crate::object::{FileId, Object, SearchPaths};

/// A library file with its headers checked.
pub(crate) struct OpenFile {
    pub path: OsString,
    pub fd: OwnedFd,
    pub id: Option<FileId>,
    pub image: Image,
}

/// The directories built into ld.so, which are nowhere written down for others: Debian's, or everybody else's.
pub(crate) fn default_dirs() -> &'static [&'static str] {
    static DIRS: OnceLock<&[&str]> = OnceLock::new();
    made_once::<&[&str]>(&DIRS, || {
        if Path::new("/lib/x86_64-linux-gnu").is_dir() {
            &["/lib/x86_64-linux-gnu", "/usr/lib/x86_64-linux-gnu", "/lib", "/usr/lib"]
        } else {
            &["/lib64", "/usr/lib64"]
        }
    })
}

/// What is searched for, and on whose behalf.
pub(crate) struct Search<'a> {
    /// The name, as in `DT_NEEDED` or as the user wrote it.
    pub name: &'a str,
    /// `Loader::search_dir`, before all others.
    pub dirs: &'a [String],
    /// The object that needs it, whose paths count.
    pub of: Option<&'a Object>,
    /// The executable: its `DT_RPATH` counts for all.
    pub executable: Option<&'a Object>,
    /// The object that needs it, unless the user asks.
    pub needed_by: Option<&'a str>,
    /// The object that `of` belongs to, by name.
    pub whose: &'a str,
    /// What this load knows about directories.
    pub absent: &'a Absent,
}

impl Search<'_> {
    /// Tries every path in the order of ld.so(8) until one is a library for this process.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] with every path tried, or what was wrong with a file that was found.
    #[inline(never)] // a stage: see docs/gdb.md
    pub(crate) fn run<P: Probe + ?Sized>(&self, lock: &Lock, report: Report<'_, P>) -> Result<OpenFile> {
        let mut tried = Tried { paths: Vec::new(), errno: Errno::ENOENT, last: None };
        if self.name.contains('/') {
            let expanded = self.name.contains('$').then(|| {
                let origin = self.of.map_or("", |o| o.wants().paths.origin());
                expand(self.name, origin)
            });
            return match tried.attempt(expanded.as_deref().unwrap_or(self.name), Rule::Path, report)? {
                Some(file) => Ok(file),
                None => Err(tried.refusal(self)),
            };
        }
        let found = self.by_directories(&mut tried, lock, report)?;
        found.ok_or_else(|| tried.refusal(self))
    }

    fn by_directories<P: Probe + ?Sized>(
        &self,
        tried: &mut Tried,
        lock: &Lock,
        report: Report<'_, P>,
    ) -> Result<Option<OpenFile>> {
        let of = SearchPaths::of(self.of);
        if !self.dirs.is_empty()
            && let Some(file) = self.in_dirs(self.dirs, Rule::SearchDir, tried, report)?
        {
            return Ok(Some(file));
        }
        // DT_RPATH is older than LD_LIBRARY_PATH and cannot be overridden by it; DT_RUNPATH was made to mend
        // that, and an object that has one has no say by DT_RPATH, neither its own nor its loaders'.
        if of.runpath.is_none() {
            let own = of.rpath.iter();
            let executable = SearchPaths::of(self.executable).rpath.iter();
            let executable = executable.filter(|(tag, _)| !of.rpath.iter().any(|(own, _)| own == tag));
            for (tag, dirs) in own.chain(executable) {
                if let Some(file) = self.in_dirs(dirs, Rule::Rpath(tag.short().into()), tried, report)? {
                    return Ok(Some(file));
                }
            }
        }
        {
            // Empty is as good as not set; only an empty element is the current directory.
            let list = host::ld_library_path().filter(|list| !list.is_empty());
            let program = self.executable.filter(|_| list.as_ref().is_some_and(|list| list.contains('$')));
            let origin = program.map_or("", |e| e.wants().paths.origin());
            let dirs = list.iter().flat_map(|l| l.split([':', ';'])).map(|dir| directory(dir, origin));
            let dirs: Vec<String> = dirs.collect();
            if let Some(file) = self.in_dirs(&dirs, Rule::LdLibraryPath, tried, report)? {
                return Ok(Some(file));
            }
        }
        if let Some(dirs) = &of.runpath
            && let Some(file) = self.in_dirs(dirs, Rule::Runpath(self.whose.into()), tried, report)?
        {
            return Ok(Some(file));
        }
        let cached = ldcache::lookup(lock, self.name, report);
        report.tell_each(|| Kind::Rule { rule: Rule::Cache, dirs: cached.clone() });
        for path in cached {
            // DF_1_NODEFLIB forbids what the cache found in a default directory, too.
            let parent = Path::new(&path).parent().unwrap_or(Path::new(""));
            if of.no_default_dirs && default_dirs().iter().any(|dir| Path::new(dir) == parent) {
                continue;
            }
            if let Some(file) = tried.attempt(&path, Rule::Cache, report)? {
                return Ok(Some(file));
            }
        }
        if of.no_default_dirs {
            return Ok(None);
        }
        let defaults: Vec<String> = default_dirs().iter().map(|dir| dir.to_string()).collect();
        self.in_dirs(&defaults, Rule::Default, tried, report)
    }

    fn note_absent<P: Probe + ?Sized>(&self, dir: &str, rule: &Rule, report: Report<'_, P>) {
        let path = format!("{dir}/glibc-hwcaps");
        if let Err(errno) = access(&*path, AccessFlags::F_OK) {
            report.tell(|| Kind::Try { path, rule: rule.clone(), outcome: Outcome::Missing(name_of(errno)) });
            self.absent.borrow_mut().insert(dir.into());
        }
    }

    fn in_dirs<P: Probe + ?Sized>(
        &self,
        dirs: &[String],
        rule: Rule,
        tried: &mut Tried,
        report: Report<'_, P>,
    ) -> Result<Option<OpenFile>> {
        report.tell_each(|| Kind::Rule { rule: rule.clone(), dirs: dirs.to_vec() });
        let name = self.name;
        for dir in dirs {
            if !self.absent.borrow().contains(&**dir) {
                for (level, sub) in Level::DIRECTORIES {
                    if level <= cpu_level() {
                        let path = format!("{dir}/glibc-hwcaps/{sub}/{name}");
                        if let Some(file) = tried.attempt(&path, rule.clone(), report)? {
                            return Ok(Some(file));
                        }
                    }
                }
                self.note_absent(dir, &rule, report);
            }
            if let Some(file) = tried.attempt(&format!("{dir}/{name}"), rule.clone(), report)? {
                return Ok(Some(file));
            }
        }
        Ok(None)
    }
}

/// Directories without a `glibc-hwcaps` in them, as far as one load found out: it need not look there again for each of
/// a thousand dependencies. glibc keeps the same for the life of the process.
pub(crate) type Absent = RefCell<Set<Box<str>>>;

/// The paths that were tried, for the error.
struct Tried {
    paths: Vec<String>,
    /// What the kernel said to the last of them.
    errno: Errno,
    /// Why the last file that exists was passed over.
    last: Option<Error>,
}

impl Tried {
    /// `None`: not this one, go on.
    fn attempt<P: Probe + ?Sized>(
        &mut self,
        path: &str,
        rule: Rule,
        report: Report<'_, P>,
    ) -> Result<Option<OpenFile>> {
        let opened = open(path, OFlag::O_RDONLY | OFlag::O_CLOEXEC, Mode::empty());
        report.tell(|| Kind::Open {
            path: path.into(),
            fd: opened.as_ref().map(AsRawFd::as_raw_fd).map_err(|&errno| name_of(errno)),
        });
        let fd = match opened {
            Ok(fd) => fd,
            Err(errno) => {
                self.errno = errno;
                self.pass_over(path, &rule, Outcome::Missing(name_of(errno)), errno.desc(), report);
                return Ok(None);
            }
        };
        match read(path.into(), fd, report.at(Stage::Read)) {
            Ok(file) => {
                report.tell(|| Kind::Try { path: path.into(), rule, outcome: Outcome::Found });
                Ok(Some(file))
            }
            Err(error) if is_for_another_machine(&error) => {
                let why = error.kind.to_string().lines().next().unwrap_or_default().to_string();
                self.pass_over(path, &rule, Outcome::Passed(why.clone()), &why, report);
                self.last = Some(error);
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    fn pass_over<P: Probe + ?Sized>(
        &mut self,
        path: &str,
        rule: &Rule,
        outcome: Outcome,
        why: &str,
        report: Report<'_, P>,
    ) {
        // The absence of a hwcaps directory is the normal case and says nothing to the reader of an error.
        if !path.contains("/glibc-hwcaps/") {
            self.paths.push(format!("{path} ({rule}): {why}"));
        }
        report.tell(|| Kind::Try { path: path.into(), rule: rule.clone(), outcome });
    }

    fn refusal(self, search: &Search<'_>) -> Error {
        match self.last {
            // The only file there is, and not for us: that is the thing to know.
            Some(error) => error,
            None => {
                let needed_by = search.needed_by.map(Into::into);
                ErrorKind::NotFound { needed_by, tried: self.paths, errno: self.errno }.of(search.name, Stage::Find)
            }
        }
    }
}

/// A 32-bit library, or one of another processor: legitimate on a machine that runs both.
fn is_for_another_machine(error: &Error) -> bool {
    matches!(&error.kind, ErrorKind::Unsuitable { field, .. } if field == "e_ident[EI_CLASS]" || field == "e_machine")
}

/// Stage 2: the length and identity of the file, its header and its program headers.
///
/// # Errors
/// What the kernel or the headers say.
#[inline(never)] // a stage: see docs/gdb.md
pub(crate) fn read<P: Probe + ?Sized>(path: OsString, fd: OwnedFd, report: Report<'_, P>) -> Result<OpenFile> {
    match read_headers(&fd, report) {
        Ok((id, image)) => Ok(OpenFile { path, fd, id: Some(id), image }),
        Err(kind) => {
            close(fd, report);
            Err(kind.of(path.to_string_lossy(), Stage::Read))
        }
    }
}

fn read_headers<P: Probe + ?Sized>(fd: &OwnedFd, report: Report<'_, P>) -> Result<(FileId, Image), ErrorKind> {
    let raw = fd.as_raw_fd();
    let stat = fstat(fd)
        .map_err(|errno| ErrorKind::System { call: format!("newfstatat({raw}, \"\", …, AT_EMPTY_PATH)"), errno })?;
    let id = FileId { device: stat.st_dev, inode: stat.st_ino };
    let length = stat.st_size as u64;
    report.tell_each(|| Kind::Stat { fd: raw, device: id.device, inode: id.inode, length });
    if stat.st_mode & nix::libc::S_IFMT == nix::libc::S_IFDIR {
        return Err(ErrorKind::System { call: format!("pread64({raw}, …)"), errno: Errno::EISDIR });
    }

    let mut head = [0; HEAD];
    let got = read_at(fd, &mut head, FileOffset(0), report)?;
    let head = &head[..got];
    let (offset, table_length) = check_header(head, length)?;
    let in_head = head.get(offset.0 as usize..).and_then(|rest| rest.get(..table_length));
    let mut elsewhere = Vec::new();
    let table = match in_head {
        Some(table) => table,
        None => {
            elsewhere.resize(table_length, 0);
            let got = read_at(fd, &mut elsewhere, offset, report)?;
            elsewhere
                .get(..got)
                .filter(|table| table.len() == table_length)
                .ok_or_else(|| ErrorKind::truncated("program header table", offset, table_length as u64, got as u64))?
        }
    };
    let image = Image::new(table, offset, length)?;
    if report.listening() {
        report.tell(|| Kind::Header {
            e_type: "ET_DYN".into(),
            e_machine: "EM_X86_64".into(),
            e_phoff: image.e_phoff,
            e_phnum: image.e_phnum,
            file_length: length,
        });
        for segment in &image.segments {
            report.tell_each(|| Kind::ProgramHeader {
                name: segment.type_name(),
                header_offset: image.header_offset(segment.index),
                segment: segment.clone(),
            });
        }
    }
    Ok((id, image))
}

fn read_at<P: Probe + ?Sized>(
    fd: &OwnedFd,
    buffer: &mut [u8],
    offset: FileOffset,
    report: Report<'_, P>,
) -> Result<usize, ErrorKind> {
    let (raw, asked) = (fd.as_raw_fd(), buffer.len() as u64);
    let got = pread(fd, buffer, offset.0 as i64)
        .map_err(|errno| ErrorKind::System { call: format!("pread64({raw}, …, {asked}, {})", offset.0), errno })?;
    report.tell_each(|| Kind::Read { fd: raw, offset, asked, got: got as u64 });
    Ok(got)
}

/// A library given as bytes becomes a file without a name, so that everything else stays the same.
///
/// # Errors
/// What the kernel or the headers say.
pub(crate) fn from_bytes<P: Probe + ?Sized>(name: &str, bytes: &[u8], report: Report<'_, P>) -> Result<OpenFile> {
    let failed = |call: &str| {
        let call = call.to_string();
        move |errno| ErrorKind::System { call, errno }.of(name, Stage::Find)
    };
    let fd = memfd_create(name, MFdFlags::MFD_CLOEXEC).map_err(failed("memfd_create"))?;
    let mut rest = bytes;
    while !rest.is_empty() {
        match nix::unistd::write(fd.as_fd(), rest) {
            Ok(written) => rest = &rest[written..],
            Err(Errno::EINTR) => {}
            Err(errno) => return Err(failed("write")(errno)),
        }
    }
    report.tell(|| Kind::MemoryFile { name: name.into(), fd: fd.as_raw_fd(), length: bytes.len() as u64 });
    let mut file = read(OsString::from(name), fd, report.at(Stage::Read))?;
    // Nobody can open the same file a second time.
    file.id = None;
    Ok(file)
}

/// `close(2)`, told.
pub(crate) fn close<P: Probe + ?Sized>(fd: OwnedFd, report: Report<'_, P>) {
    let raw = fd.as_raw_fd();
    drop(fd);
    report.tell(|| Kind::CloseFile { fd: raw });
}

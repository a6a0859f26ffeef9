//! Stage 1, find: from a name to an open file.
//!
//! ld.so(8), "DESCRIPTION"; glibc `_dl_map_object` and `open_verify`, musl `load_library`. Each rule of ld.so(8) gives
//! a list of directories. In each directory the `glibc-hwcaps` subdirectories of this processor are tried first. A file
//! for another machine is passed over, as ld.so does; a damaged file ends the search.

use std::cell::RefCell;
use std::ffi::OsString;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::Path;
use std::sync::OnceLock;

use nix::errno::Errno;
use nix::fcntl::{OFlag, open};
use nix::sys::stat::{Mode, stat};

use crate::error::{Error, ErrorKind, Result};
use crate::event::{Kind, Outcome, Report, Rule, Stage};
use crate::host;
use crate::host::cpu::{Level, cpu_level};
use crate::load::read::OpenFile;
use crate::lock::{Lock, made_once};
use crate::memory::name_of;
use crate::object::Object;
use crate::text::unescape;
use rustc_hash::FxHashSet as Set;

mod ldcache;
mod paths;
pub(crate) mod tokens;
pub(crate) use paths::{note_search_paths, search_paths};
use tokens::{directory, expand};

/// Stage 2, read, as a function. The search calls it for every file that is there, and passes over a file that was made
/// for another machine.
pub(crate) type Read = fn(OsString, OwnedFd, Report<'_>) -> Result<OpenFile>;

/// The directories that are built into ld.so, and that are searched last. Nothing in the file system names them: these
/// are Debian's, or else those of most other systems.
pub(crate) fn default_dirs() -> &'static [&'static str] {
    static DIRS: OnceLock<&[&str]> = OnceLock::new();
    made_once::<&[&str]>(&DIRS, || {
        if stat("/lib/x86_64-linux-gnu").is_ok() {
            &["/lib/x86_64-linux-gnu", "/usr/lib/x86_64-linux-gnu", "/lib", "/usr/lib"]
        } else {
            &["/lib64", "/usr/lib64"]
        }
    })
}

/// The name that is searched for, and on whose behalf.
pub(crate) struct Search<'a> {
    /// The name, as in `DT_NEEDED` or as the user wrote it.
    pub name: &'a str,
    /// The directories of `Loader::search_dir`, which come before all others.
    pub dirs: &'a [String],
    /// The object whose `DT_RPATH` or `DT_RUNPATH` counts: the one that needs the file, or the caller.
    pub of: Option<&'a Object>,
    /// The program. Its `DT_RPATH` counts for all objects.
    pub executable: Option<&'a Object>,
    /// The name of the object that needs the file, for an error. `None` if the user asks for the file.
    pub needed_by: Option<&'a str>,
    /// The name of the object `of`, for events.
    pub whose: &'a str,
    /// The directories that this load knows to have no `glibc-hwcaps`.
    pub absent: &'a Absent,
}

impl Search<'_> {
    /// Tries every path in the order of ld.so(8) until one is a library for this process.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] with every path tried, or what was wrong with a file that was found.
    #[inline(never)] // a stage: see docs/gdb.md
    pub(crate) fn run(&self, read: Read, lock: &Lock, report: Report<'_>) -> Result<OpenFile> {
        let mut tried = Tried { read, paths: Vec::new(), errno: Errno::ENOENT, last: None };
        if self.name.contains('/') {
            let expanded = self.name.contains('$').then(|| {
                let origin = self.of.map_or("", |o| search_paths(o).origin());
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

    fn by_directories(&self, tried: &mut Tried, lock: &Lock, report: Report<'_>) -> Result<Option<OpenFile>> {
        let of = paths::that_count(self.of);
        if !self.dirs.is_empty()
            && let Some(file) = self.in_dirs(self.dirs, Rule::SearchDir, tried, report)?
        {
            return Ok(Some(file));
        }
        // DT_RPATH comes before LD_LIBRARY_PATH, so users cannot override it. DT_RUNPATH was made to mend that. For an
        // object that has a DT_RUNPATH, no DT_RPATH counts: neither its own, nor one of the objects that led to it.
        if of.runpath.is_none() {
            let own = of.rpath.iter();
            let executable = paths::that_count(self.executable).rpath.iter();
            let executable = executable.filter(|(tag, _)| !of.rpath.iter().any(|(own, _)| own == tag));
            for (tag, dirs) in own.chain(executable) {
                if let Some(file) = self.in_dirs(dirs, Rule::Rpath(tag.short().into()), tried, report)? {
                    return Ok(Some(file));
                }
            }
        }
        {
            // An empty LD_LIBRARY_PATH counts as not set. In a longer list, an empty element is the current directory.
            let list = host::ld_library_path().filter(|list| !list.is_empty());
            let program = self.executable.filter(|_| list.as_ref().is_some_and(|list| list.contains('$')));
            let origin = program.map_or("", |e| search_paths(e).origin());
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
            // DF_1_NODEFLIB forbids the default directories, and so also what the cache found in one of them.
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

    fn note_absent(&self, dir: &str, rule: &Rule, report: Report<'_>) {
        let path = format!("{dir}/glibc-hwcaps");
        if let Err(errno) = stat(&*unescape(&path)) {
            report.tell(|| Kind::Try { path, rule: rule.clone(), outcome: Outcome::Missing(name_of(errno)) });
            self.absent.borrow_mut().insert(dir.into());
        }
    }

    fn in_dirs(&self, dirs: &[String], rule: Rule, tried: &mut Tried, report: Report<'_>) -> Result<Option<OpenFile>> {
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
            // A file that is there and that the kernel will not open, for example a link to itself, ends this list. The next
            // rule has its turn (glibc `open_path`).
            if ![Errno::ENOENT, Errno::EACCES, Errno::ENOTDIR].contains(&tried.errno) {
                break;
            }
        }
        Ok(None)
    }
}

/// Directories that have no `glibc-hwcaps` in them, as far as one load found out. So it need not look there again for
/// each of a thousand dependencies. glibc keeps the same knowledge for the life of the process.
pub(crate) type Absent = RefCell<Set<Box<str>>>;

/// What a search has tried so far, for the error in case that nothing is found.
struct Tried {
    read: Read,
    paths: Vec<String>,
    /// Why the kernel could not open the last of these paths.
    errno: Errno,
    /// Why the last file that exists was passed over: it was made for another machine.
    last: Option<Error>,
}

impl Tried {
    /// Opens `path` and reads its headers. `None`: there is no such file, or it was made for another machine, and the
    /// search goes on.
    fn attempt(&mut self, path: &str, rule: Rule, report: Report<'_>) -> Result<Option<OpenFile>> {
        let file = unescape(path);
        let opened = open(&*file, OFlag::O_RDONLY | OFlag::O_CLOEXEC, Mode::empty());
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
        match (self.read)(file.into_owned(), fd, report.at(Stage::Read)) {
            Ok(file) => {
                report.tell(|| Kind::Try { path: path.into(), rule, outcome: Outcome::Found });
                Ok(Some(file))
            }
            Err(error) if is_for_another_machine(&error) => {
                let why = error.kind.to_string().lines().next().unwrap_or_default().to_string();
                self.pass_over(path, &rule, Outcome::Passed(why.clone()), &why, report);
                (self.last, self.errno) = (Some(error), Errno::ENOENT);
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    fn pass_over(&mut self, path: &str, rule: &Rule, outcome: Outcome, why: &str, report: Report<'_>) {
        // A glibc-hwcaps directory is rarely there. Its absence says nothing to the reader of an error.
        if !path.contains("/glibc-hwcaps/") {
            self.paths.push(format!("{path} ({rule}): {why}"));
        }
        report.tell(|| Kind::Try { path: path.into(), rule: rule.clone(), outcome });
    }

    fn refusal(self, search: &Search<'_>) -> Error {
        match self.last {
            // A file of that name exists, but for another machine: that says more than "not found".
            Some(error) => error,
            None => {
                let needed_by = search.needed_by.map(Into::into);
                ErrorKind::NotFound { needed_by, tried: self.paths, errno: self.errno }.of(search.name, Stage::Find)
            }
        }
    }
}

/// Whether the file is a 32-bit library, or one for another processor. Both are legitimate on a machine that runs
/// programs of several kinds.
fn is_for_another_machine(error: &Error) -> bool {
    matches!(&error.kind, ErrorKind::Unsuitable { field, .. } if field == "e_ident[EI_CLASS]" || field == "e_machine")
}

//! Runs the children of `compare`, for several libraries at once.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;
use std::thread;

use tempfile::TempDir;

use super::child::WhichLoader;
use super::comparison::{Comparison, Verdict};
use super::names::FileNames;
use super::snapshot::LoadResult;
use super::stand_in;
use super::verdict::judge;
use super::way::DlscopeOptions;
use crate::Failure;
use crate::bytes::shown;
use crate::child::{self, End, in_arguments};

/// How often a library that differs is loaded by the system's loader again, to see what differs from run to run.
const AGAIN: usize = 4;

/// Compares the libraries, `jobs` at a time. `each` gets the results in the order of `libraries`.
pub fn compare_all(
    libraries: &[OsString],
    jobs: usize,
    options: DlscopeOptions,
    host: Option<&OsStr>,
    mut each: impl FnMut(Comparison) -> io::Result<()>,
) -> Result<(), Failure> {
    let folder = folder()?;
    let preload = host.map(|program| stand_in::of(program, folder.path())).transpose()?;
    let children = Children { options, folder: folder.path(), preload: preload.as_deref().map(stand_in::preload) };
    let next = AtomicUsize::new(0);
    let (sender, receiver) = mpsc::channel();
    thread::scope(|scope| {
        for _ in 0..jobs.clamp(1, libraries.len().max(1)) {
            let (sender, next, children) = (sender.clone(), &next, &children);
            scope.spawn(move || {
                while let Some((at, library)) =
                    { Some(next.fetch_add(1, Ordering::Relaxed)) }.and_then(|at| Some((at, libraries.get(at)?)))
                {
                    // The receiver is gone if `each` failed.
                    if sender.send((at, children.compare(library, at))).is_err() {
                        break;
                    }
                }
            });
        }
        drop(sender);
        let mut early = BTreeMap::new();
        let mut due = 0;
        for (at, result) in receiver {
            early.insert(at, result);
            while let Some(result) = early.remove(&due) {
                each(result?)?;
                due += 1;
            }
        }
        Ok(())
    })
}

/// Compares one library.
pub fn compare_one(library: &OsStr) -> io::Result<Comparison> {
    let folder = folder()?;
    Children { options: DlscopeOptions::default(), folder: folder.path(), preload: None }.compare(library, 0)
}

fn folder() -> io::Result<TempDir> {
    tempfile::Builder::new().prefix("dlscope-").tempdir()
}

/// How children are run.
struct Children<'f> {
    options: DlscopeOptions,
    /// Where they write what they saw.
    folder: &'f Path,
    /// `LD_PRELOAD`, if another one than this process has.
    preload: Option<OsString>,
}

impl Children<'_> {
    /// Compares a library, the one with the number `at`.
    fn compare(&self, library: &OsStr, at: usize) -> io::Result<Comparison> {
        let none = DlscopeOptions::default();
        let system = self.run(WhichLoader::System, library, none, &format!("{at}-system"))?;
        let dlscope = self.run(WhichLoader::Dlscope, library, self.options, &format!("{at}-dlscope"))?;
        let (title, names, mut more) = (shown(library), FileNames::default(), Vec::new());
        let mut result = judge(&title, &system, &more, &dlscope, &names);
        for again in 0..AGAIN {
            if result.verdict != Verdict::Differ {
                break;
            }
            let end = self.run(WhichLoader::System, library, none, &format!("{at}-system-{again}"))?;
            if let End::Told(LoadResult::Loaded(snapshot)) = end {
                more.push(snapshot);
                result = judge(&title, &system, &more, &dlscope, &names);
            }
        }
        Ok(result)
    }

    /// Runs one child, which writes to the file `out`.
    fn run(
        &self,
        which: WhichLoader,
        library: &OsStr,
        options: DlscopeOptions,
        out: &str,
    ) -> io::Result<End<LoadResult>> {
        let out = self.folder.join(out);
        let (end, _) = child::run(&out, |command| {
            command.arg("compare-child").arg(in_arguments(which)).arg(&out);
            command.args(options.watched.then_some("--watched"));
            if let Some(corrupt) = options.corrupt {
                command.arg("--corrupt").arg(in_arguments(corrupt));
            }
            if let Some(preload) = &self.preload {
                command.env("LD_PRELOAD", preload);
            }
            command.arg("--").arg(library);
        })?;
        Ok(end)
    }
}

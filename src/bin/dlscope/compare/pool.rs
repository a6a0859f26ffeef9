//! Runs the children of `compare`, for several libraries at once.

use std::collections::BTreeMap;
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
use super::verdict::judge;
use super::way::DlscopeOptions;
use crate::child::{self, End, in_arguments};

/// How often a library that differs is loaded by the system's loader again, to see what differs from run to run.
const AGAIN: usize = 4;

/// Compares the libraries, `jobs` at a time. `each` gets the results in the order of `libraries`.
pub fn compare_all(
    libraries: &[String],
    jobs: usize,
    options: DlscopeOptions,
    mut each: impl FnMut(Comparison) -> io::Result<()>,
) -> io::Result<()> {
    let folder = folder()?;
    let next = AtomicUsize::new(0);
    let (sender, receiver) = mpsc::channel();
    thread::scope(|scope| {
        for _ in 0..jobs.clamp(1, libraries.len().max(1)) {
            let (sender, next, folder) = (sender.clone(), &next, &folder);
            scope.spawn(move || {
                while let Some((at, library)) =
                    { Some(next.fetch_add(1, Ordering::Relaxed)) }.and_then(|at| Some((at, libraries.get(at)?)))
                {
                    // The receiver is gone if `each` failed.
                    if sender.send((at, compare(library, options, folder, at))).is_err() {
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
pub fn compare_one(library: &str) -> io::Result<Comparison> {
    compare(library, DlscopeOptions::default(), &folder()?, 0)
}

fn folder() -> io::Result<TempDir> {
    tempfile::Builder::new().prefix("dlscope-").tempdir()
}

fn compare(library: &str, options: DlscopeOptions, folder: &TempDir, at: usize) -> io::Result<Comparison> {
    let system =
        run(WhichLoader::System, library, DlscopeOptions::default(), &folder.path().join(format!("{at}-system")))?;
    let dlscope = run(WhichLoader::Dlscope, library, options, &folder.path().join(format!("{at}-dlscope")))?;
    let (names, mut more) = (FileNames::default(), Vec::new());
    let mut result = judge(library, &system, &more, &dlscope, &names);
    for again in 0..AGAIN {
        if result.verdict != Verdict::Differ {
            break;
        }
        let out = folder.path().join(format!("{at}-system-{again}"));
        if let End::Told(LoadResult::Loaded(snapshot)) =
            run(WhichLoader::System, library, DlscopeOptions::default(), &out)?
        {
            more.push(snapshot);
            result = judge(library, &system, &more, &dlscope, &names);
        }
    }
    Ok(result)
}

/// Runs one child.
fn run(which: WhichLoader, library: &str, options: DlscopeOptions, out: &Path) -> io::Result<End<LoadResult>> {
    let (end, _) = child::run(out, |command| {
        command.arg("compare-child").arg(in_arguments(which)).arg(out);
        command.args(options.watched.then_some("--watched"));
        if let Some(corrupt) = options.corrupt {
            command.arg("--corrupt").arg(in_arguments(corrupt));
        }
        command.arg("--").arg(library);
    })?;
    Ok(end)
}

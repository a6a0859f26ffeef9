//! Runs the children of `profile`, one after the other.

use std::ffi::OsString;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use nix::libc;
use tempfile::TempDir;

use super::child::{ChildReport, RunKind};
use crate::Failure;
use crate::bytes::shown;
use crate::child::{self, End, in_arguments};
use crate::subject::SearchDirs;

/// What the children open, and the folder in which they write.
pub struct Children {
    library: OsString,
    search: SearchDirs,
    folder: TempDir,
}

impl Children {
    pub fn new(library: OsString, search: SearchDirs) -> io::Result<Children> {
        Ok(Children { library, search, folder: tempfile::Builder::new().prefix("dlscope-").tempdir()? })
    }

    /// Runs a child that measures in one way.
    ///
    /// # Errors
    /// The process died or did not finish in time.
    pub fn run(&self, kind: RunKind) -> Result<ChildReport, Failure> {
        self.run_with(kind, &[]).map(|(told, _)| told)
    }

    /// Runs a child with ld.so's statistics, and with a preloaded library if one is given. Returns its result and the
    /// text of ld.so.
    pub fn with_statistics(&self, kind: RunKind, preload: Option<&Path>) -> Result<(ChildReport, String), Failure> {
        let mut variables = vec![("LD_DEBUG", OsString::from("statistics"))];
        variables.push(("LD_DEBUG_OUTPUT", self.statistics().into()));
        if let Some(preload) = preload {
            variables.push(("LD_PRELOAD", preload.into()));
        }
        // Without this ld.so would count the first calls of the child's own functions, too.
        variables.push(("LD_BIND_NOW", "1".into()));
        self.run_with(kind, &variables)
    }

    fn statistics(&self) -> PathBuf {
        self.folder.path().join("statistics")
    }

    fn run_with(&self, kind: RunKind, variables: &[(&str, OsString)]) -> Result<(ChildReport, String), Failure> {
        let out = self.folder.path().join("told");
        let (end, id) = child::run(&out, |command| {
            command.arg("profile-child").arg(in_arguments(kind)).arg(&out);
            for dir in &self.search.dirs {
                command.arg("-L").arg(dir);
            }
            command.arg("--").arg(&self.library).envs(variables.iter().map(|(name, value)| (name, value)));
        })?;
        let statistics = fs::read_to_string(format!("{}.{id}", self.statistics().display())).unwrap_or_default();
        match end {
            End::Told(told) => Ok((told, statistics)),
            End::Died(how) => Err(self.refused(&how)),
            End::TimedOut => Err(self.refused("it did not finish in time")),
        }
    }

    fn refused(&self, why: &str) -> Failure {
        Failure::Refused(format!("{}: no load to measure: {why}", shown(&self.library)))
    }
}

/// `CLOCK_MONOTONIC` in nanoseconds, which is the same clock in every process.
pub fn monotonic() -> u64 {
    // SAFETY: clock_gettime(2) fills in the two numbers, for which zeros are valid, and does nothing else.
    let time = unsafe {
        let mut time: libc::timespec = std::mem::zeroed();
        libc::clock_gettime(libc::CLOCK_MONOTONIC, &raw mut time);
        time
    };
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

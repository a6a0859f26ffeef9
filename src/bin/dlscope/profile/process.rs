//! Starts the children, one after the other.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use clap::ValueEnum as _;
use nix::libc;
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use tempfile::TempDir;

use super::child::{Told, Way};
use crate::Failure;
use crate::compare::{how, wait};

/// What is opened, and where children may write.
pub struct Children {
    library: OsString,
    search_dirs: Vec<PathBuf>,
    folder: TempDir,
}

impl Children {
    pub fn new(library: OsString, search_dirs: Vec<PathBuf>) -> io::Result<Children> {
        Ok(Children { library, search_dirs, folder: tempfile::Builder::new().prefix("dlscope-").tempdir()? })
    }

    /// A new child, looking in this way.
    ///
    /// # Errors
    /// The load failed, the library ended the process, or it took more than ten seconds.
    pub fn run(&self, way: Way) -> Result<Told, Failure> {
        self.run_with(way, &[]).map(|(told, _)| told)
    }

    /// The same with ld.so's statistics on, and a preloaded library where one is given: what was told, what ld.so
    /// said.
    pub fn with_statistics(&self, way: Way, preload: Option<&Path>) -> Result<(Told, String), Failure> {
        let mut variables = vec![("LD_DEBUG", OsString::from("statistics"))];
        variables.push(("LD_DEBUG_OUTPUT", self.statistics().into()));
        if let Some(preload) = preload {
            variables.push(("LD_PRELOAD", preload.into()));
        }
        // Or the process's own first calls would be counted, too.
        variables.push(("LD_BIND_NOW", "1".into()));
        self.run_with(way, &variables)
    }

    fn statistics(&self) -> PathBuf {
        self.folder.path().join("statistics")
    }

    fn run_with(&self, way: Way, variables: &[(&str, OsString)]) -> Result<(Told, String), Failure> {
        let (out, complaints) = (self.folder.path().join("told"), self.folder.path().join("stderr"));
        // This very program, even if its file has been replaced meanwhile.
        let mut command = Command::new("/proc/self/exe");
        let name = way.to_possible_value().map_or(String::new(), |value| value.get_name().into());
        command.arg("profile-child").arg(name).arg(&out);
        for dir in &self.search_dirs {
            command.arg("-L").arg(dir);
        }
        command.arg("--").arg(&self.library).envs(variables.iter().map(|(name, value)| (name, value)));
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(File::create(&complaints)?);
        // A group of its own: what the library starts ends with it.
        command.process_group(0);
        let mut child = command.spawn()?;
        let status = wait(&mut child)?;
        let _ = killpg(Pid::from_raw(child.id() as i32), Signal::SIGKILL);
        let told = fs::read(&out).ok().and_then(|bytes| serde_json::from_slice(&bytes).ok());
        let said = String::from_utf8_lossy(&fs::read(&complaints).unwrap_or_default()).into_owned();
        let statistics = format!("{}.{}", self.statistics().display(), child.id());
        let statistics = fs::read_to_string(statistics).unwrap_or_default();
        let _ = fs::remove_file(&out);
        match (told, status) {
            (Some(told), _) => Ok((told, statistics)),
            (None, None) => Err(refused(&self.library, "it took more than ten seconds")),
            (None, Some(status)) => Err(refused(&self.library, &how(status, &said))),
        }
    }
}

/// `CLOCK_MONOTONIC` in nanoseconds: the same in every process.
pub fn monotonic() -> u64 {
    // SAFETY: clock_gettime(2) fills in the two numbers, for which zeros are valid, and does nothing else.
    let time = unsafe {
        let mut time: libc::timespec = std::mem::zeroed();
        libc::clock_gettime(libc::CLOCK_MONOTONIC, &raw mut time);
        time
    };
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

fn refused(library: &OsString, why: &str) -> Failure {
    Failure::Refused(format!("{}: no load to measure: {why}", library.to_string_lossy()))
}

//! Keeps what loaded code prints apart from the command's own output.
//!
//! A constructor may write to standard output, and so may a function that the command calls. In the middle of JSON
//! lines such text would make the stream unreadable, and libc may buffer it until the process ends. So while foreign
//! code may run, file descriptor 1 is a temporary file.

use std::fs::File;
use std::io::{self, Read as _, Seek as _};
use std::os::fd::OwnedFd;

use nix::unistd::{dup, dup2_stdout};

use crate::call::flush_c_output;

/// Until [`Capture::end`], everything that is written to descriptor 1 goes to a file.
pub struct Capture {
    file: File,
    stdout: OwnedFd,
}

impl Capture {
    /// Replaces standard output by a temporary file.
    pub fn begin() -> io::Result<Capture> {
        flush_c_output();
        let file = tempfile::tempfile()?;
        let stdout = dup(io::stdout())?;
        dup2_stdout(&file)?;
        Ok(Capture { file, stdout })
    }

    /// Restores standard output. Returns what was written meanwhile.
    pub fn end(mut self) -> io::Result<String> {
        flush_c_output();
        dup2_stdout(&self.stdout)?;
        let mut bytes = Vec::new();
        self.file.rewind()?;
        self.file.read_to_end(&mut bytes)?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }
}

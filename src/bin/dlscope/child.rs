//! Child processes: this program once more, with a hidden subcommand that does one thing to a library, writes what it
//! saw to a file and ends. Whatever the library does to such a process, the command itself stays whole.

use std::fs::{self, File};
use std::io;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use clap::ValueEnum;
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use serde::de::DeserializeOwned;

/// How long a child may take.
const LIMIT: Duration = Duration::from_secs(30);

/// How a child ended.
#[derive(Debug)]
pub enum End<T> {
    /// It wrote what it saw.
    Told(T),
    /// It ended before that: by a signal, or because the library ended it.
    Died(String),
    /// It was still running at the limit, and was killed.
    TimedOut,
}

impl<T> End<T> {
    /// What it wrote; otherwise how it ended, in words.
    pub fn told(&self) -> Result<&T, String> {
        match self {
            End::Told(told) => Ok(told),
            End::Died(how) => Err(how.clone()),
            End::TimedOut => Err(format!("did not finish within {} s", LIMIT.as_secs())),
        }
    }
}

/// Runs a child that writes JSON to the file `out`; `arguments` gives it its command line and environment. Returns how
/// it ended, and its process id.
pub fn run<T: DeserializeOwned>(out: &Path, arguments: impl FnOnce(&mut Command)) -> io::Result<(End<T>, u32)> {
    let stderr = out.with_extension("stderr");
    // This very program, even if its file has been replaced meanwhile.
    let mut command = Command::new("/proc/self/exe");
    arguments(&mut command);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(File::create(&stderr)?);
    // In a group of its own, so that what the library starts can be ended with it.
    command.process_group(0);
    let mut child = command.spawn()?;
    let status = wait(&mut child)?;
    let _ = killpg(Pid::from_raw(child.id() as i32), Signal::SIGKILL);
    let told = fs::read(out).ok().and_then(|bytes| serde_json::from_slice(&bytes).ok());
    // Sanitizers name the process, whose id is another one each time.
    let complaints = String::from_utf8_lossy(&fs::read(&stderr)?).replace(&child.id().to_string(), "PID");
    let _ = (fs::remove_file(&stderr), fs::remove_file(out));
    let end = match (status, told) {
        (None, _) => End::TimedOut,
        (Some(_), Some(told)) => End::Told(told),
        (Some(status), None) => End::Died(how(status, &complaints)),
    };
    Ok((end, child.id()))
}

/// Waits until the child has ended, or kills it at the limit.
fn wait(child: &mut Child) -> io::Result<Option<ExitStatus>> {
    let start = Instant::now();
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(Some(status));
        }
        let elapsed = start.elapsed();
        if elapsed > LIMIT {
            child.kill()?;
            child.wait()?;
            return Ok(None);
        }
        // A short load is noticed at once, and waiting for a long one costs little.
        thread::sleep((elapsed / 20).clamp(Duration::from_micros(200), Duration::from_millis(20)));
    }
}

/// How a child ended that wrote nothing, with the last line of its standard error.
fn how(status: ExitStatus, complaints: &str) -> String {
    let ended = match (status.signal(), status.code()) {
        (Some(signal), _) => {
            format!("killed by {}", Signal::try_from(signal).map_or("a signal", Signal::as_str))
        }
        (_, Some(code)) => format!("the process was ended with status {code}"),
        _ => "the process ended".into(),
    };
    match complaints.lines().rfind(|line| !line.trim().is_empty()) {
        Some(line) => format!("{ended}: {line}"),
        None => ended,
    }
}

/// A value as it is written on a command line.
pub fn in_arguments(value: impl ValueEnum) -> String {
    value.to_possible_value().map_or(String::new(), |value| value.get_name().into())
}

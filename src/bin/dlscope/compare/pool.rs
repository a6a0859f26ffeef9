//! Runs the children: each library by each loader in a process of its own, some libraries at once.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use tempfile::TempDir;

use super::child::Which;
use super::comparison::Comparison;
use super::names::FileNames;
use super::verdict::{End, judge};
use super::way::Way;

/// How long a child may take.
const LIMIT: Duration = Duration::from_secs(30);

/// Compares each library, `jobs` at a time, and hands out each result in the order of `libraries`.
pub fn compare_all(
    libraries: &[String],
    jobs: usize,
    way: Way,
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
                    // A receiver that is gone wants no more.
                    if sender.send((at, compare(library, way, folder, at))).is_err() {
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
    compare(library, Way::default(), &folder()?, 0)
}

fn folder() -> io::Result<TempDir> {
    tempfile::Builder::new().prefix("dlscope-").tempdir()
}

fn compare(library: &str, way: Way, folder: &TempDir, at: usize) -> io::Result<Comparison> {
    let system = run(Which::System, library, Way::default(), &folder.path().join(format!("{at}-system")))?;
    let dlscope = run(Which::Dlscope, library, way, &folder.path().join(format!("{at}-dlscope")))?;
    Ok(judge(library, &system, &dlscope, &FileNames::default()))
}

/// One child.
fn run(which: Which, library: &str, way: Way, out: &Path) -> io::Result<End> {
    let complaints = out.with_extension("stderr");
    // This very program, even if its file has been replaced meanwhile.
    let mut command = Command::new("/proc/self/exe");
    command.arg("compare-child").arg(which.name()).arg(out);
    command.args(way.watched.then_some("--watched"));
    if let Some(corrupt) = way.corrupt {
        command.args(["--corrupt", corrupt.name()]);
    }
    command.arg("--").arg(library);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(File::create(&complaints)?);
    // A group of its own: what the library starts ends with it.
    command.process_group(0);
    let mut child = command.spawn()?;
    let status = wait(&mut child)?;
    let _ = killpg(Pid::from_raw(child.id() as i32), Signal::SIGKILL);
    let said = fs::read(&complaints).unwrap_or_default();
    let told = fs::read(out).ok().and_then(|bytes| serde_json::from_slice(&bytes).ok());
    let _ = (fs::remove_file(&complaints), fs::remove_file(out));
    Ok(match (status, told) {
        (None, _) => End::TimedOut(LIMIT.as_secs()),
        (Some(_), Some(outcome)) => End::Told(outcome),
        // Sanitizers name the process, which is another one each time.
        (Some(status), None) => {
            let said = String::from_utf8_lossy(&said).replace(&child.id().to_string(), "PID");
            End::Died(how(status, &said))
        }
    })
}

/// Waits until the child has ended, or kills it at the limit.
pub fn wait(child: &mut Child) -> io::Result<Option<ExitStatus>> {
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
        // Short loads are seen at once, and long ones do not cost much.
        thread::sleep((elapsed / 20).clamp(Duration::from_micros(200), Duration::from_millis(20)));
    }
}

/// How a child ended that told nothing.
pub fn how(status: ExitStatus, said: &str) -> String {
    let ended = match (status.signal(), status.code()) {
        (Some(signal), _) => {
            format!("killed by {}", Signal::try_from(signal).map_or("a signal", Signal::as_str))
        }
        (_, Some(code)) => format!("the process was ended with status {code}"),
        _ => "the process ended".into(),
    };
    match said.lines().rfind(|line| !line.trim().is_empty()) {
        Some(line) => format!("{ended}: {line}"),
        None => ended,
    }
}

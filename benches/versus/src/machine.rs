//! Where the run took place, in general words.

use std::ffi::CStr;
use std::fs;
use std::thread;

/// A sentence with all that a reader needs to judge the figures.
pub fn describe(samples: usize) -> String {
    let cpus = thread::available_parallelism().map_or(1, usize::from);
    // SAFETY: it takes nothing and returns a constant string.
    let glibc = unsafe { CStr::from_ptr(libc::gnu_get_libc_version()) }.to_string_lossy();
    format!(
        "Machine: {cpus} CPUs, Linux {}, glibc {glibc}, page cache warm, huge pages on `{}`. Medians of {samples} \
         samples. Machines are noisy: compare within one run only.\n",
        kernel().unwrap_or_else(|| "of unknown version".into()),
        huge_pages().unwrap_or_else(|| "never".into()),
    )
}

/// Major and minor version.
fn kernel() -> Option<String> {
    let text = fs::read_to_string("/proc/sys/kernel/osrelease").ok()?;
    let mut parts = text.trim().split(['.', '-']);
    Some(format!("{}.{}", parts.next()?, parts.next()?))
}

fn huge_pages() -> Option<String> {
    let text = fs::read_to_string("/sys/kernel/mm/transparent_hugepage/enabled").ok()?;
    let (_, rest) = text.split_once('[')?;
    Some(rest.split_once(']')?.0.into())
}

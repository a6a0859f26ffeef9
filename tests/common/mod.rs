//! Tests that load libraries run in processes of their own: what a process has loaded, its threads and its
//! environment are the same for all tests in it.

#![allow(dead_code, reason = "each test uses a part")]

use std::process::{Command, Output};
use std::{env, fs};

const CHILD: &str = "DLSCOPE_TEST_CHILD";

/// Runs `body` in a process of its own, which runs just the test `name`; panics if that fails.
pub fn in_own_process(name: &str, body: impl FnOnce()) {
    in_own_process_with(name, |_| {}, body);
}

/// The same, with a change to the command that starts the process (its environment, …).
pub fn in_own_process_with(name: &str, change: impl FnOnce(&mut Command), body: impl FnOnce()) {
    if env::var(CHILD).is_ok_and(|child| child == name) {
        return body();
    }
    let mut command = Command::new(env::current_exe().unwrap());
    command.args([name, "--exact", "--nocapture", "--test-threads=1"]).env(CHILD, name);
    // One heap, which `maps` leaves out: the heaps of threads look like any other mapping.
    command.env("MALLOC_ARENA_MAX", "1");
    change(&mut command);
    let output = command.output().unwrap();
    assert!(output.status.success(), "{name}: {}\n{}", output.status, text(&output));
    assert!(text(&output).contains("1 passed"), "{name} ran no test:\n{}", text(&output));
}

fn text(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

/// A library of the system that a test needs: where it lies. `.ci/run` installs them all.
pub fn library(name: &str) -> Option<String> {
    let found = FOLDERS.iter().map(|dir| format!("{dir}/{name}")).find(|path| fs::exists(path).unwrap_or(false));
    required(name, found)
}

/// The same for a library whose name has a number that differs between systems (`libpython3.*.so.1.0`): the name of the
/// newest one.
pub fn newest(patterns: &[&str]) -> Option<&'static str> {
    let number = |name: &str| {
        patterns.iter().find_map(|pattern| {
            let (start, end) = pattern.split_once('*').unwrap();
            name.strip_prefix(start)?.strip_suffix(end)?.parse::<u32>().ok()
        })
    };
    let names = FOLDERS.iter().filter_map(|dir| fs::read_dir(dir).ok()).flatten();
    let names = names.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    let name = names.filter_map(|name| Some((number(&name)?, name))).max();
    required(patterns[0], name).map(|(_, name)| &*name.leak())
}

const FOLDERS: [&str; 4] = ["/lib/x86_64-linux-gnu", "/usr/lib/x86_64-linux-gnu", "/lib64", "/usr/lib64"];

fn required<T>(name: &str, found: Option<T>) -> Option<T> {
    if found.is_none() {
        assert!(env::var_os("CI").is_none(), "{name} is not installed");
        eprintln!("skipped: {name} is not installed");
    }
    found
}

/// Whether this is glibc 2.`minor` or newer.
pub fn glibc_is_at_least(minor: u32) -> bool {
    // SAFETY: it returns a constant string, as "2.36".
    let version = unsafe { std::ffi::CStr::from_ptr(nix::libc::gnu_get_libc_version()) }.to_str().unwrap();
    version.split('.').nth(1).and_then(|text| text.parse::<u32>().ok()).unwrap() >= minor
}

/// `/proc/self/maps` without the addresses that an allocator moves: what a failed load must leave unchanged.
pub fn maps() -> Vec<String> {
    let text = fs::read_to_string("/proc/self/maps").unwrap();
    text.lines().filter(|line| !line.contains("[heap]") && !line.contains("[stack]")).map(Into::into).collect()
}

/// The open descriptors, by number and target.
pub fn descriptors() -> Vec<String> {
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc/self/fd").unwrap() {
        let path = entry.unwrap().path();
        // The directory being read is open itself.
        if let Ok(target) = fs::read_link(&path) {
            let target = target.display().to_string();
            if !target.contains("/proc/") {
                found.push(format!("{} {target}", path.display()));
            }
        }
    }
    found.sort();
    found
}

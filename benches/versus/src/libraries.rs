//! The libraries of the tables.

use std::fs;
use std::path::Path;

use crate::generated;
use crate::run::{Job, Runner, Who};

/// From one page to a hundred megabytes, from one object to ninety.
const NAMES: &[&str] = &[
    "libz.so.1",
    "libsqlite3.so.0",
    "libxml2.so.2",
    "libcrypto.so.3",
    "libstdc++.so.6",
    "libpython3.11.so.1.0",
    "libicui18n.so.72",
    "libQt5Core.so.5",
    "libQt5Widgets.so.5",
    "libgtk-3.so.0",
    "libavcodec.so.59",
    "libopenblas.so.0",
    "libLLVM-14.so.1",
];

/// A library to measure.
pub struct Subject {
    /// What the table calls it.
    pub name: String,
    /// Every loader is given the same path.
    pub path: String,
    /// The objects that a load brings into the process, breadth first, by path; none if dlscope cannot load it.
    pub objects: Vec<String>,
}

impl Subject {
    /// A sample of how long its constructors take, and those of what it needs.
    ///
    /// # Errors
    /// When what measures them cannot be compiled.
    pub fn constructors(&self, runner: &Runner) -> Result<Job, String> {
        let args = vec!["constructors".into(), self.path.clone(), generated::around(&runner.folder, &self.path)?];
        Ok(Job { who: Who::Glibc, args, library_path: None })
    }

    /// A sample of this library.
    pub fn job(&self, who: Who, what: &str) -> Job {
        let mut args = vec![what.to_string(), self.path.clone()];
        if who == Who::Floor {
            args.extend(self.objects.iter().cloned());
        }
        Job { who, args, library_path: (who == Who::DlopenRs).then(|| self.folders()) }
    }

    /// Where its objects lie.
    fn folders(&self) -> String {
        let mut folders = Vec::new();
        for folder in self.objects.iter().filter_map(|path| Path::new(path).parent()) {
            if !folders.contains(&folder) {
                folders.push(folder);
            }
        }
        folders.iter().map(|folder| folder.to_string_lossy()).collect::<Vec<_>>().join(":")
    }
}

/// The libraries that are there, and the names of those that are not. `only`: beginnings of names; none means all.
///
/// # Errors
/// When the generated one cannot be compiled.
pub fn find(runner: &Runner, only: &[String]) -> Result<(Vec<Subject>, Vec<String>), String> {
    let wanted = |name: &&str| only.is_empty() || only.iter().any(|start| name.starts_with(&**start));
    let (mut found, mut missing) = (Vec::new(), Vec::new());
    if wanted(&"one function") {
        found.push(subject(runner, "one function", generated::one_function(&runner.folder)?));
    }
    for name in NAMES.iter().filter(|name| wanted(name)) {
        match search(name) {
            Some(path) => found.push(subject(runner, name, path)),
            None => missing.push((*name).to_string()),
        }
    }
    if found.is_empty() { Err("no library to measure".into()) } else { Ok((found, missing)) }
}

fn subject(runner: &Runner, name: &str, path: String) -> Subject {
    let args = vec!["objects".into(), path.clone()];
    let objects = runner.fields(&Job { who: Who::Dlscope, args, library_path: None }).unwrap_or_default();
    Subject { name: name.into(), path, objects }
}

/// Where the system has it; links resolved, so that files look the same in every loader's mappings.
fn search(name: &str) -> Option<String> {
    let folders = ["/usr/lib/x86_64-linux-gnu", "/lib/x86_64-linux-gnu", "/usr/lib64", "/lib64", "/usr/lib", "/lib"];
    let path = folders.iter().map(|folder| Path::new(folder).join(name)).find(|path| path.exists())?;
    Some(fs::canonicalize(path).ok()?.to_string_lossy().into_owned())
}

//! A probe that keeps the events that explain a load. It drops the others, most of which are about single relocations.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};

use dlscope::event::{Event, Kind, Probe, Rule, VersionOutcome};

use crate::bytes::path_of;

/// The probe of this subcommand.
#[derive(Default)]
pub struct Watcher {
    kept: Mutex<Vec<Event>>,
    /// The name for which the loader searches.
    name: Mutex<String>,
    pipes: Mutex<Vec<(PathBuf, File)>>,
}

impl Watcher {
    /// The events that were kept, in order.
    pub fn take(&self) -> Vec<Event> {
        std::mem::take(&mut lock(&self.kept))
    }

    /// The named pipes that the loader came to.
    pub fn pipes(&self) -> Vec<PathBuf> {
        lock(&self.pipes).iter().map(|(path, _)| path.clone()).collect()
    }

    /// The kernel lets whoever opens a named pipe wait for its other end. So that the loader does not wait, this keeps both
    /// ends open: the loader then fails to read from it.
    fn look_at(&self, path: PathBuf) {
        if path.metadata().is_ok_and(|file| file.file_type().is_fifo()) {
            let opened = OpenOptions::new().read(true).write(true).custom_flags(nix::libc::O_NONBLOCK).open(&path);
            lock(&self.pipes).extend(opened.ok().map(|file| (path, file)));
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Probe for Watcher {
    fn event(&self, event: &Event) {
        match &event.kind {
            Kind::Search { name, .. } => {
                lock(&self.name).clone_from(name);
                if name.contains('/') {
                    self.look_at(path_of(name));
                }
            }
            Kind::Rule { rule: Rule::Cache, dirs } => dirs.iter().for_each(|file| self.look_at(path_of(file))),
            Kind::Rule { dirs, .. } => {
                let name = path_of(&lock(&self.name));
                dirs.iter().for_each(|dir| self.look_at(path_of(dir).join(&name)));
            }
            _ => {}
        }
        let kind = match &event.kind {
            // The objects that were asked take the most memory, and `why` does not tell them.
            Kind::Lookup { name, version, hash, found: Some(found), .. } => Kind::Lookup {
                name: name.clone(),
                version: version.clone(),
                hash: *hash,
                candidates: Vec::new(),
                found: Some(found.clone()),
            },
            Kind::Host { .. }
            | Kind::Search { .. }
            | Kind::Rule { .. }
            | Kind::Try { .. }
            | Kind::Known { .. }
            | Kind::Planned { .. }
            | Kind::DynamicEntry { .. }
            | Kind::Needed { .. }
            | Kind::Fault { .. }
            | Kind::Scope { .. }
            | Kind::Pass { .. }
            | Kind::Version { outcome: VersionOutcome::ProviderHasNone, .. }
            | Kind::StaticTls { .. } => event.kind.clone(),
            _ => return,
        };
        let event = Event { kind, object: event.object.clone(), ..*event };
        lock(&self.kept).push(event);
    }
}

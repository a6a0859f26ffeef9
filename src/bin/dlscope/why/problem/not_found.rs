//! A library that is not found.

use std::path::{Path, PathBuf};

use dlscope::ErrorKind;
use dlscope::event::{Event, Kind, Outcome, Tag};

use super::super::candidates::{Wants, reject};
use super::super::graph::{Attempt, Node};
use super::super::machine::{DEFAULT_FOLDERS, versions_wanted};
use super::super::paths;
use super::super::words::is_in;
use super::way::{End, follow};
use super::{Evidence, Obstacle, ProblemKind};
use crate::bytes::path_of;
use crate::compare::file::identity;
use crate::page::short;

impl Evidence<'_> {
    pub(super) fn not_found(&self, user: Option<&Tag>, library: &str, errno: &str) -> ProblemKind {
        let is_asked = user.is_none();
        let user = user.and_then(|tag| self.graph.node(tag.id));
        let name = short(library);
        let search = match user {
            Some(user) => user.needs.iter().find(|need| need.name == *library).and_then(|need| need.search.as_ref()),
            None => self.graph.asked.as_ref(),
        };
        let search = search.or_else(|| self.graph.searches().find(|search| search.name == *library));
        let tried = search.map_or(&[][..], |search| &search.tried);
        let obstacle = tried.iter().filter(|attempt| !attempt.path.contains("/glibc-hwcaps")).find_map(obstacle);
        let paths = search.iter().flat_map(|search| &search.tried).map(|attempt| path_of(&attempt.path));
        let searched: Vec<PathBuf> = paths.filter_map(|path| path.parent()?.canonicalize().ok()).collect();
        let mut other_names = self.machine.with_soname(name);
        other_names.sort_by_key(|path| !path.parent().is_some_and(|folder| searched.iter().any(|s| s == folder)));
        let mut lies_in = self.machine.files_named(name);
        // An object that is called like the library that it needs is not that library.
        let own = user.and_then(|user| identity(&path_of(&user.tag.name)));
        lies_in.retain(|path| own.is_none() || identity(path) != own);
        let mut rejected = reject(&mut lies_in);
        if let Some(user) = user {
            let wants = self.wants(user, library);
            wants.sort(&mut lies_in);
            // Those in the folders that are searched stay first.
            let found = other_names.iter().take_while(|path| is_in(path, &searched)).count();
            let (of_searched, others) = other_names.split_at_mut(found);
            wants.sort(of_searched);
            wants.sort(others);
        }
        if !lies_in.is_empty() || !other_names.is_empty() {
            rejected.clear();
        }
        let of_paths = user.filter(|_| !library.contains('/') && obstacle.is_none());
        let mut mistakes = of_paths.map_or(Vec::new(), |user| paths::mistakes(user, library, &lies_in, self.graph));
        let in_default = |path: &PathBuf| path.parent().is_some_and(is_default_folder);
        if let Some(user) = user.filter(|user| user.no_default_dirs && lies_in.iter().any(in_default)) {
            mistakes.insert(0, format!(
                "{} was linked with -z nodefaultlib (DF_1_NODEFLIB in its DT_FLAGS_1): for what it needs the loader searches \
                 no default folder, and takes nothing from one by /etc/ld.so.cache",
                user.tag.short()
            ));
        }
        let written =
            user.zip(lies_in.first().or(other_names.first())).map(|(user, file)| paths::from_origin(user, file));
        let nowhere = lies_in.is_empty() && other_names.is_empty() && obstacle.is_none();
        let other_versions = if nowhere { self.machine.named_alike(name) } else { Vec::new() };
        let is_typed = nowhere && user.is_none() && other_versions.is_empty();
        let spelt_alike = if is_typed { self.machine.spelt_alike(name) } else { Vec::new() };
        let (library, errno) = (library.into(), errno.into());
        ProblemKind::NotFound {
            library,
            is_asked,
            errno,
            lies_in,
            mistakes,
            written,
            other_versions,
            other_names,
            obstacle,
            searched,
            spelt_alike,
            rejected,
            without_it: Vec::new(),
        }
    }

    /// What an object wants of a library that is missing.
    fn wants(&self, user: &Node, library: &str) -> Wants<'_> {
        let undefined = |event: &'_ &Event| event.object.as_ref() == Some(&user.tag);
        let symbols = self.events.iter().filter(undefined).filter_map(|event| match &event.kind {
            Kind::Fault { error } => match &error.kind {
                ErrorKind::UndefinedSymbol { symbol, .. } => Some(symbol.as_str()),
                _ => None,
            },
            _ => None,
        });
        Wants { versions: versions_wanted(&path_of(&user.tag.name), library), symbols: symbols.collect() }
    }
}

/// What is in the way at a path that was tried in vain.
fn obstacle(attempt: &Attempt) -> Option<Obstacle> {
    let Outcome::Missing(errno) = &attempt.outcome else { return None };
    let path = path_of(&attempt.path);
    match errno.as_str() {
        "ENOENT" | "ENOTDIR" => {
            let to = std::fs::read_link(&path).ok()?;
            Some(Obstacle::Dangling { link: path, to })
        }
        "ELOOP" => {
            let End::Loop(link) = follow(&path) else { return Some(Obstacle::Other { path, errno: errno.clone() }) };
            let is_folder = path.parent().is_some_and(|folder| folder.file_name() == link.file_name());
            Some(Obstacle::Loop { link, is_folder })
        }
        "EACCES" => match follow(&path) {
            End::Closed(path) => Some(Obstacle::Forbidden { path, is_folder: true }),
            End::File(path) => Some(Obstacle::Forbidden { path, is_folder: false }),
            End::Loop(_) => Some(Obstacle::Other { path, errno: errno.clone() }),
        },
        _ => Some(Obstacle::Other { path, errno: errno.clone() }),
    }
}

fn is_default_folder(folder: &Path) -> bool {
    DEFAULT_FOLDERS.iter().any(|default| Path::new(default).canonicalize().is_ok_and(|default| default == folder))
}

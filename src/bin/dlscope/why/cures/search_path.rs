//! Folders for the search path of a file, or for `LD_LIBRARY_PATH`.

use std::path::Path;

use dlscope::event::Rule;

use super::super::graph::Node;
use super::super::machine::{DEFAULT_FOLDERS, name_of};
use super::super::paths::{expanded, from_origin, is_nonsense, separated};
use super::super::problem::{Problem, ProblemKind};
use super::super::symbols::Nearest;
use super::super::symtab::shares_its_path;
use super::super::words::{folder, is_in};
use super::Maker;
use super::shell::{in_quotes, quoted};
use crate::bytes::{path_of, shown};
use crate::page::short;

impl Maker<'_> {
    /// The folders that are to be added to the search path of an object, as they are written in it: for all its problems.
    pub(super) fn additions(&self, node: &Node) -> Vec<String> {
        let mut added = Vec::new();
        for other in self.problems.iter().filter(|other| *other.object == *node.tag.name) {
            let new: Vec<String> = match &other.kind {
                ProblemKind::NotFound {
                    library,
                    is_asked: false,
                    obstacle: None,
                    written: Some(written),
                    searched,
                    other_names,
                    lies_in,
                    ..
                } if !library.contains('/') => {
                    let is_linked = other_names.first().is_some_and(|path| is_in(path, searched));
                    if is_linked || (lies_in.is_empty() && other_names.is_empty()) {
                        vec![]
                    } else {
                        vec![written.clone()]
                    }
                }
                ProblemKind::NoLongerNeeded { lies_in, .. } => {
                    let first = lies_in.first().filter(|path| !self.is_searched(node, path));
                    first.map(|path| from_origin(node, path)).into_iter().collect()
                }
                ProblemKind::Symbols { symbols, .. } => {
                    let providers = symbols.iter().filter_map(|missing| match missing.nearest.first() {
                        Some(Nearest::OtherLibrary(provider)) => Some(&provider.path),
                        _ => None,
                    });
                    providers.filter(|path| !self.is_searched(node, path)).map(|path| from_origin(node, path)).collect()
                }
                _ => vec![],
            };
            for written in new {
                if !added.contains(&written) {
                    added.push(written);
                }
            }
        }
        added
    }

    /// Whether the loader would find the file at `path` by its name, for the object `node`.
    pub(super) fn is_searched(&self, node: &Node, path: &Path) -> bool {
        let Some(folder) = path.parent().and_then(|folder| folder.canonicalize().ok()) else { return false };
        let is_it = |dir: &str| path_of(dir).canonicalize().is_ok_and(|dir| dir == folder);
        let lists = [&node.rpath, &node.runpath];
        let mut own = lists.into_iter().flatten().flat_map(|list| list.split(':'));
        let by_environment = shown(std::env::var_os("LD_LIBRARY_PATH").unwrap_or_default());
        let by_environment = by_environment.split([':', ';']).any(|dir| !dir.is_empty() && is_it(dir));
        let by_default = !node.no_default_dirs && DEFAULT_FOLDERS.iter().any(|dir| is_it(dir));
        let in_cache = || {
            let cache = std::fs::read("/etc/ld.so.cache").unwrap_or_default();
            let wanted = [b"\0", path.as_os_str().as_encoded_bytes(), b"\0"].concat();
            cache.windows(wanted.len()).any(|window| window == wanted)
        };
        own.any(|element| names_folder(node, element, &folder)) || by_environment || by_default || in_cache()
    }

    /// The command that changes the search path of an object as its problems ask for. It keeps what is there and is no
    /// mistake, and the kind of tag.
    pub(super) fn set_rpath(&self, node: &Node) -> Option<String> {
        let added = self.additions(node);
        let is_rpath = node.runpath.is_none() && (node.rpath.is_some() || self.inherits(node));
        let old = node.runpath.as_deref().or(node.rpath.as_deref()).unwrap_or_default();
        let old = mended(old);
        let mut elements = old.clone();
        self.put_newer_first(node, &mut elements);
        if added.is_empty() && elements == old {
            return None;
        }
        let added: Vec<String> = added.into_iter().filter(|folder| !elements.contains(folder)).collect();
        elements.extend(added);
        let new = elements.iter().filter(|element| !old.contains(element));
        if new.into_iter().any(|folder| folder.contains([':', '\''])) {
            return None;
        }
        // It would destroy the name of a symbol, a library or a version.
        if shares_its_path(&path_of(&node.tag.name)) {
            return None;
        }
        let file = self.file_of(&node.tag.name);
        if elements.is_empty() {
            return Some(format!("patchelf --remove-rpath {file}"));
        }
        let force = if is_rpath { " --force-rpath" } else { "" };
        let list = in_quotes(&elements.join(":"));
        Some(format!("patchelf --set-rpath {list} {file}{force}"))
    }

    /// Whether the object has no search path of its own, and finds something by another object's `DT_RPATH`. A
    /// `DT_RUNPATH` of its own would end that.
    fn inherits(&self, node: &Node) -> bool {
        let by_rpath = |name: &str| {
            let found = self.nodes.iter().find(|other| *other.tag.name == *name);
            found.is_some_and(|other| matches!(other.found_by, Some(Rule::Rpath(_))))
        };
        let none = node.rpath.is_none() && node.runpath.is_none();
        none && node.needs.iter().any(|need| need.object.as_ref().is_some_and(|object| by_rpath(&object.name)))
    }

    pub(super) fn also_set_rpath(&mut self, problem: &Problem) -> String {
        let command = self.node(problem).and_then(|node| self.set_rpath(node)).map(|command| self.command(command));
        command.map_or(String::new(), |command| format!(" So that it is found: {command}."))
    }

    /// `LD_LIBRARY_PATH` with the folders of everything that lies where it is not searched. `None` where that would
    /// bring another C library into the process.
    pub(super) fn library_path(&self) -> Option<String> {
        let mut folders: Vec<String> = Vec::new();
        let lies_elsewhere = |problem: &Problem| problem.folder_elsewhere().is_some();
        let is_alone = !self.problems.iter().any(lies_elsewhere);
        for problem in self.problems {
            let path = match &problem.kind {
                ProblemKind::NotFound { library, obstacle: None, lies_in, other_names, searched, .. }
                    if !library.contains('/') && !other_names.first().is_some_and(|path| is_in(path, searched)) =>
                {
                    // Its link is made by a command, which helps alone if this is all that is missing.
                    lies_in.first().or(other_names.first().filter(|_| !is_alone))
                }
                ProblemKind::Version { library, lies_in, .. } if !is_of_glibc(library) => lies_in.first(),
                _ => None,
            };
            let Some(path) = path else { continue };
            let folder = folder(path);
            // The libc that came first by its soname would be used for all that glibc consists of.
            if path_of(&folder).join("libc.so.6").exists() || folder.contains([':', ';']) {
                return None;
            }
            if !folders.contains(&folder) {
                folders.push(folder);
            }
        }
        let old = shown(std::env::var_os("LD_LIBRARY_PATH").unwrap_or_default());
        folders.extend((!old.is_empty()).then_some(old));
        (!folders.is_empty()).then(|| format!("LD_LIBRARY_PATH={}", quoted(&folders.join(":"))))
    }

    pub(super) fn library_of<'p>(&self, problem: &'p Problem) -> &'p str {
        match &problem.kind {
            ProblemKind::NotFound { library, .. } => library,
            _ => "",
        }
    }

    pub(super) fn for_one_run(&mut self) -> Option<String> {
        self.library_path().map(|setting| self.setting(setting))
    }

    pub(super) fn relink(&mut self, problem: &Problem, path: &Path, written: &str) -> String {
        let user = problem.whose();
        let node = self.node(problem);
        let added = node.map_or(Vec::new(), |node| self.additions(node));
        let added = if added.is_empty() { written.to_string() } else { added.join(":") };
        if added.contains('\'') || folder(path).contains(':') {
            return format!(
                "Move {} to a folder whose name has no ':' and no quotes: ':' separates the elements of a search path.",
                shown(path)
            );
        }
        let inherits = node.is_some_and(|node| self.inherits(node));
        let tag = if inherits { "--disable-new-dtags," } else { "" };
        let mut text = format!("Link {user} with -Wl,{tag}-rpath,'{added}'");
        if let Some(command) = node.and_then(|node| self.set_rpath(node)) {
            text += &format!(", or change the file: {}", self.command(command));
        }
        text += ".";
        if shares_its_path(&path_of(&problem.object)) {
            text +=
                " (Not by patchelf: the old path is the end of another name in the file, which that would overwrite.)";
        }
        if inherits {
            text +=
                &format!(" (DT_RPATH, not DT_RUNPATH: {user} inherits another object's DT_RPATH, and that would end.)");
        }
        match self.for_one_run() {
            Some(setting) => text += &format!(" For one run: {setting}."),
            None if folder(path).contains(';') => {
                text += " LD_LIBRARY_PATH cannot lead there: a ';' in the name of a folder separates its elements.";
            }
            // Without its link it is not found there, either.
            None if name_of(path) != short(self.library_of(problem)) => {}
            None if path.with_file_name("libc.so.6").exists() => {
                text += &format!(
                    " {} has a C library of its own beside it, so that folder does not belong into LD_LIBRARY_PATH.",
                    short(&shown(path))
                );
            }
            None => {}
        }
        text
    }
}

/// Whether an element of the search path of `node` means this folder.
pub(super) fn names_folder(node: &Node, element: &str, folder: &Path) -> bool {
    let dir = expanded(element, &node.origin());
    !element.is_empty() && path_of(&dir).canonicalize().is_ok_and(|dir| dir == folder)
}

/// The elements of a search path, without those that cannot mean anything.
pub(super) fn mended(list: &str) -> Vec<String> {
    let mut elements: Vec<String> = Vec::new();
    for element in list.split(':').flat_map(separated) {
        if !element.is_empty() && !is_nonsense(&element) && !elements.contains(&element) {
            elements.push(element);
        }
    }
    elements
}

/// Whether a library is a part of glibc: all its parts are of one version, and none can be exchanged alone.
pub fn is_of_glibc(library: &str) -> bool {
    const PARTS: [&str; 10] =
        ["libc", "libm", "libpthread", "libdl", "librt", "libresolv", "libutil", "libanl", "libmvec", "libnsl"];
    let stem = library.split(".so").next().unwrap_or(library);
    PARTS.contains(&stem) || library.starts_with("ld-linux-")
}

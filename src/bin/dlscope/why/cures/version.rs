//! A version that the library found does not have.

use std::path::{Path, PathBuf};

use dlscope::event::Rule;

use super::super::graph::Node;
use super::super::paths::from_origin;
use super::super::problem::{Problem, ProblemKind};
use super::super::words::{folder, offer};
use super::Maker;
use super::search_path::{is_of_glibc, names_folder};
use super::shell::quoted;
use crate::bytes::{path_of, shown};

/// A library that lacks a version, and one that has it.
pub(super) struct Newer<'n> {
    /// The library that was found.
    older: &'n str,
    newer: &'n Path,
    /// Whether the loader would come to the newer one, if the older one were not there.
    is_reached: bool,
}

impl Maker<'_> {
    pub(super) fn version(&mut self, problem: &Problem) -> String {
        let ProblemKind::Version { version, library, offered, found_by, .. } = &problem.kind else {
            return String::new();
        };
        let user = problem.whose();
        let Some(newer) = self.newer(problem) else { return version_cure(version, library, offered, user) };
        let path = shown(newer.newer);
        match found_by {
            Some(Rule::LdLibraryPath) if newer.is_reached => self.out_of_the_variable(&newer),
            Some(Rule::Rpath(whose)) => self.out_of_the_path(&newer, whose, "DT_RPATH"),
            Some(Rule::Runpath(whose)) if newer.is_reached => self.out_of_the_path(&newer, whose, "DT_RUNPATH"),
            _ => match self.for_one_run() {
                Some(setting) => format!("{path} has it: set {setting}, or link {user} with a path to it."),
                None => format!("{path} has it: link {user} with a path to it."),
            },
        }
    }

    /// A library that has the version that this problem is about.
    fn newer<'p>(&self, problem: &'p Problem) -> Option<Newer<'p>> {
        let ProblemKind::Version { library, path: older, lies_in, .. } = &problem.kind else { return None };
        let of_others = |path: &&PathBuf| self.node(problem).is_some_and(|node| self.is_searched(node, path));
        let reached = lies_in.iter().find(of_others);
        let newer = reached.or(lies_in.first()).filter(|_| !is_of_glibc(library))?;
        Some(Newer { older, newer, is_reached: reached.is_some() })
    }

    /// The libraries to which the search path of an object leads, and that are too old: the loader cannot come to the newer
    /// ones as long as the path is as it is.
    fn overruled(&self, node: &Node) -> Vec<Newer<'_>> {
        let of_path = |problem: &&Problem| match &problem.kind {
            ProblemKind::Version { found_by: Some(Rule::Rpath(whose) | Rule::Runpath(whose)), .. } => {
                whose == node.tag.short()
            }
            _ => false,
        };
        let newer = self.problems.iter().filter(of_path).filter_map(|problem| self.newer(problem));
        newer.filter(|newer| newer.is_reached || node.runpath.is_none()).collect()
    }

    /// Changes the elements of an object's search path so that the newer libraries are found.
    pub(super) fn put_newer_first(&self, node: &Node, elements: &mut Vec<String>) {
        for newer in self.overruled(node) {
            let Some(folder) = path_of(newer.older).parent().and_then(|folder| folder.canonicalize().ok()) else {
                continue;
            };
            let leads_there = |element: &String| names_folder(node, element, &folder);
            if newer.is_reached && elements.iter().any(leads_there) && !self.gives_others(&newer) {
                elements.retain(|element| !leads_there(element));
                continue;
            }
            let first = from_origin(node, newer.newer);
            elements.retain(|element| *element != first);
            elements.insert(0, first);
        }
    }

    /// Whether other libraries were found in the folder of the older one.
    fn gives_others(&self, newer: &Newer<'_>) -> bool {
        let folder = |path: &str| path_of(path).parent().and_then(|folder| folder.canonicalize().ok());
        let own = folder(newer.older);
        let by_path = |node: &Node| !matches!(node.found_by, None | Some(Rule::Path | Rule::Cache | Rule::Default));
        let mut others = self.nodes.iter().filter(|node| !node.of_host && *node.tag.name != *newer.older);
        others.any(|node| by_path(node) && folder(&node.tag.name) == own)
    }

    /// The newer library for the program from its start: it has the soname, so the older one is not looked for.
    fn preloaded(&mut self, newer: &Newer<'_>) -> Option<String> {
        let path = shown(newer.newer);
        // The variable's value is a list.
        (!path.contains([' ', ':'])).then(|| self.setting(format!("LD_PRELOAD={}", quoted(&path))))
    }

    fn out_of_the_variable(&mut self, newer: &Newer<'_>) -> String {
        let older = folder(&path_of(newer.older));
        let mut text = format!(
            "{} has it, and would be found without LD_LIBRARY_PATH, by which {} comes first.",
            shown(newer.newer),
            newer.older
        );
        let there = path_of(&older).canonicalize().ok();
        if there.is_some() && !self.gives_others(newer) {
            let all = shown(std::env::var_os("LD_LIBRARY_PATH").unwrap_or_default());
            let rest = all.split([':', ';']).filter(|dir| !dir.is_empty() && path_of(dir).canonicalize().ok() != there);
            let rest: Vec<&str> = rest.collect();
            let setting = self.setting(format!("LD_LIBRARY_PATH={}", quoted(&rest.join(":"))));
            text += &format!(" Take {older} out of it: {setting}.");
        }
        if let Some(setting) = self.preloaded(newer) {
            text += &format!(" Or let the program have the newer one from its start: {setting}.");
        }
        text
    }

    fn out_of_the_path(&mut self, newer: &Newer<'_>, whose: &str, tag: &str) -> String {
        let (path, older) = (shown(newer.newer), newer.older);
        let mut text = match newer.is_reached {
            true => {
                format!("{path} has it, and would be found without the {tag} of {whose}, by which {older} comes first.")
            }
            false => format!(
                "{path} has it. The {tag} of {whose}, by which {older} is found, comes before LD_LIBRARY_PATH, so that \
                 variable does not help."
            ),
        };
        let node = self.nodes.iter().copied().find(|node| node.tag.short() == whose);
        match node.and_then(|node| self.set_rpath(node)).map(|command| self.command(command)) {
            Some(command) => text += &format!(" Change that path: {command}."),
            None => text += &format!(" Link {whose} anew, with the folder of the newer one first in its path."),
        }
        if let Some(setting) = self.preloaded(newer) {
            text += &format!(" Or let the program have the newer one from its start: {setting}.");
        }
        text
    }
}

pub(super) fn version_cure(version: &str, library: &str, offered: &[String], user: &str) -> String {
    let offer = offer(version, offered);
    if version.starts_with("GLIBC_") {
        return format!(
            "{user} was built on a system with a newer C library than this one ({offer}). Build it here, or on the oldest \
             system that it shall run on; or run it on a newer system. libc itself cannot be exchanged for one library."
        );
    }
    if ["GLIBCXX_", "CXXABI_"].iter().any(|family| version.starts_with(family)) {
        return format!(
            "{user} was built with a newer GCC than this {library} belongs to. Install a newer {library} (it stays \
             compatible with older programs), or build {user} with this system's compiler."
        );
    }
    format!(
        "Install a {library} that has {version}, or set LD_LIBRARY_PATH to its folder; or build {user} anew against the one \
         that is there."
    )
}

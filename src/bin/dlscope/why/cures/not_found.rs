//! A library that is not found, or that something stands before.

use std::path::PathBuf;

use super::super::machine::{is_in_ld_so_conf, name_of};
use super::super::paths::from_origin;
use super::super::problem::{Obstacle, Problem, ProblemKind, Refusal};
use super::super::words::{folder, is_in};
use super::Maker;
use super::shell::{in_quotes, quoted};
use crate::bytes::{path_of, shown};
use crate::page::{few, short};

impl Maker<'_> {
    pub(super) fn not_found(&mut self, problem: &Problem) -> String {
        let ProblemKind::NotFound {
            library,
            is_asked,
            lies_in,
            written,
            other_versions,
            other_names,
            spelt_alike,
            obstacle,
            searched,
            rejected,
            ..
        } = &problem.kind
        else {
            return String::new();
        };
        let name = short(library);
        if let Some(obstacle) = obstacle {
            return self.obstacle(obstacle, name, lies_in, other_names);
        }
        if library.contains('/') {
            return match is_asked {
                true => "A name with a '/' is a path and is opened as it is, from the current directory.".into(),
                false => self.path_needed(problem, library, lies_in),
            };
        }
        // Only the link is missing, in a folder that is searched or in another one.
        let unlinked = other_names.first().filter(|path| lies_in.is_empty() || is_in(path, searched));
        let mut link = String::new();
        if let Some(path) = unlinked {
            let there = path.with_file_name(path_of(name));
            let made = self.command(format!("ln -s {} {}", quoted(&name_of(path)), self.quoted_path(&there)));
            link = format!(
                "Make the link of that name: {made} (`ldconfig -n {}` makes it, too).",
                self.quoted_path(path.parent().unwrap_or(path))
            );
            if is_in(path, searched) {
                return link;
            }
        }
        let root = self.root.map_or(String::new(), |root| format!(" -r {}", quoted(&shown(root))));
        let no_default = self.node(problem).is_some_and(|node| node.no_default_dirs);
        if let Some(path) = lies_in.first().filter(|path| !no_default && path.parent().is_some_and(is_in_ld_so_conf)) {
            return format!(
                "Run ldconfig{root} (as root): {} is a folder of /etc/ld.so.conf, and /etc/ld.so.cache was made before {name} came.",
                folder(path)
            );
        }
        if let (false, Some(path), Some(written)) = (*is_asked, lies_in.first().or(unlinked), written) {
            let relink = self.relink(problem, path, written);
            return if link.is_empty() { relink } else { format!("{link} {relink}") };
        }
        if let Some(path) = lies_in.first().or(unlinked) {
            let run = self.for_one_run().map_or(String::new(), |setting| format!(", or set {setting}"));
            return format!("{link} Ask for {}{run}.", shown(path)).trim_start().into();
        }
        if let Some(rejected) = rejected.first() {
            let path = shown(self.as_seen_here(&rejected.path));
            return match &rejected.reason {
                Refusal::Class32 | Refusal::Machine(_) => format!("Install the x86_64 build of {name}."),
                Refusal::Program => format!("Install the package that has {name} (Debian: apt-file search {name})."),
                reason => reason.cure(name, &path),
            };
        }
        if let Some(path) = other_versions.first() {
            if shown(path).contains(&format!("{name}.")) {
                return format!(
                    "{name} is the name for the linker, without a number; the library itself is {}: ask for that, \
                     or install the development package.",
                    shown(path)
                );
            }
            let names = few(other_versions.iter().map(shown), 3);
            if *is_asked {
                return format!(
                    "There is {names}, but another number behind .so means another interface: install the package that has \
                     {library}, or ask for {}, if that one will do.",
                    short(&shown(path))
                );
            }
            return format!(
                "There is {names}, but another number behind .so means another interface: install the \
                 package that has {library}, or build {} anew against {}.",
                problem.whose(),
                short(&shown(path))
            );
        }
        if !spelt_alike.is_empty() {
            return format!("Is {} meant?", spelt_alike.join(", or "));
        }
        format!(
            "Install the package that has {library} (Debian: apt-file search {library}), or, if it lies \
             somewhere else, set LD_LIBRARY_PATH to its folder."
        )
    }

    pub(super) fn obstacle(
        &mut self,
        obstacle: &Obstacle,
        name: &str,
        lies_in: &[PathBuf],
        other_names: &[PathBuf],
    ) -> String {
        match obstacle {
            Obstacle::Loop { link, is_folder: true } => match lies_in.first().and_then(|path| path.parent()) {
                Some(folder) => {
                    let to = if folder.parent() == link.parent() { name_of(folder) } else { shown(folder) };
                    let link = quoted(&shown(link));
                    format!("Make the link anew: {}.", self.command(format!("ln -sfn {} {link}", quoted(&to))))
                }
                None => {
                    format!("Make {} a link to the folder in which {name} lies, or that folder itself.", shown(link))
                }
            },
            Obstacle::Dangling { link, .. } | Obstacle::Loop { link, .. } => {
                let parent = link.parent().and_then(|parent| parent.canonicalize().ok()).unwrap_or_default();
                let beside = other_names.iter().find(|path| path.parent() == Some(&parent));
                let to = match beside {
                    Some(path) => name_of(path),
                    None => match lies_in.iter().chain(other_names).next() {
                        Some(path) => shown(path),
                        None => {
                            return format!(
                                "Put the file back to which {} should lead, or install the package that has {name} again; a \
                                 link to nothing can go.",
                                shown(link)
                            );
                        }
                    },
                };
                let link = self.quoted_path(link);
                format!("Make the link anew: {}.", self.command(format!("ln -sfn {} {link}", quoted(&to))))
            }
            Obstacle::Forbidden { path, is_folder } => {
                let right = if *is_folder { "a+x" } else { "a+r" };
                let change = self.command(format!("chmod {right} {}", self.quoted_path(path)));
                format!(
                    "Give this user the permission to {}, as its owner: {change}.",
                    if *is_folder { "pass through the folder" } else { "read the file" }
                )
            }
            Obstacle::Other { path, errno } => {
                format!("See open(2) for {errno}: the kernel says it about {}.", shown(path))
            }
        }
    }

    /// The cure for a `DT_NEEDED` that is a path.
    pub(super) fn path_needed(&mut self, problem: &Problem, library: &str, lies_in: &[PathBuf]) -> String {
        let user = problem.whose();
        let again = format!(
            "Or give the library a soname (-Wl,-soname,{}), and link {user} anew: then {user} needs that name, which is searched.",
            short(library)
        );
        let (Some(path), Some(node)) = (lies_in.first(), self.node(problem)) else {
            if library.starts_with('/') {
                return format!("Put the library back to {library}. {again}");
            }
            return format!("Start the program in the folder from which {library} can be reached. {again}");
        };
        let to = format!("{}/{}", from_origin(node, path), name_of(path));
        let change = self.command(format!(
            "patchelf --replace-needed {} {} {}",
            in_quotes(library),
            in_quotes(&to),
            self.file_of(&problem.object)
        ));
        format!("Say in the file where the library is: {change}. {again}")
    }
}

//! A file that is found and cannot be used.

use std::os::unix::fs::FileTypeExt;
use std::path::Path;

use dlscope::event::Tag;
use dlscope::{ErrorKind, Refusal as Error};

use super::super::content::Content;
use super::super::graph::{Node, Search};
use super::super::system::noexec_mount;
use super::{Evidence, LoaderWords, Problem, ProblemKind, Refusal, SystemCause};
use crate::bytes::path_of;
use crate::page::short;

impl Evidence<'_> {
    /// The problem of a file that was found, as the opened library or as a dependency.
    pub(super) fn unsuitable(&self, user: Option<&Tag>, error: &Error, searched: Option<&str>) -> ProblemKind {
        let needs = user.and_then(|tag| self.graph.node(tag.id)).map(|node| &node.needs);
        // The dependency whose search came to this file.
        let of_file = |search: &Search| search.tried.iter().any(|t| *t.path == error.object);
        let need = needs.and_then(|needs| needs.iter().find(|n| n.search.as_ref().is_some_and(of_file)));
        let library = match (searched, need) {
            (Some(name), _) if user.is_some() => name,
            (_, Some(need)) => &need.name,
            _ => short(self.asked),
        };
        let path = &path_of(&error.object);
        let reason = Refusal::of(&error.kind, path);
        ProblemKind::Unsuitable {
            library: library.into(),
            is_asked: user.is_none(),
            path: error.object.clone(),
            reason,
            without_it: Vec::new(),
        }
    }

    /// The runtime of a sanitizer that this load would bring.
    pub(super) fn late_runtime(&self) -> Option<Problem> {
        const RUNTIMES: [(&str, &str); 2] = [("libasan.so", "address"), ("libhwasan.so", "hwaddress")];
        let root = self.graph.root()?;
        let of_node = |node: &Node| {
            let (runtime, option) = RUNTIMES.into_iter().find(|(name, _)| node.tag.short().starts_with(name))?;
            let library = node.tag.short().to_string();
            let user =
                self.graph.nodes.iter().find(|user| user.needs.iter().any(|need| need.name == library)).unwrap_or(root);
            let cause = Some(SystemCause::LateRuntime { library, option, runtime });
            Some(Problem {
                object: user.tag.name.to_string(),
                kind: ProblemKind::System { message: String::new(), cause },
            })
        };
        self.graph.nodes.iter().filter(|node| !node.of_host).find_map(of_node)
    }
}

impl Refusal {
    /// The reason behind the loader's error about the file at `path`.
    pub fn of(kind: &ErrorKind, path: &Path) -> Refusal {
        match kind {
            _ if let Some(special) = special(path) => Refusal::Special(special),
            ErrorKind::Unsuitable { field, .. } if field == "e_ident[EI_CLASS]" => Refusal::Class32,
            ErrorKind::Unsuitable { field, found, .. } if field == "e_machine" => Refusal::Machine(found.clone()),
            ErrorKind::Unsuitable { field, .. } if field == "DT_FLAGS_1" => Refusal::Program,
            ErrorKind::Unsuitable { field, .. } if field == "e_ident magic" => Refusal::Content(Content::of(path)),
            ErrorKind::Unsuitable { field, found, .. } if field == "e_type" && found.starts_with("EXEC") => {
                Refusal::Program
            }
            ErrorKind::Unsuitable { field, found, .. } if field == "e_type" && found.starts_with("REL") => {
                Refusal::ObjectFile
            }
            ErrorKind::System { errno: nix::errno::Errno::EPERM | nix::errno::Errno::EACCES, .. }
                if let Some(mount) = noexec_mount(path) =>
            {
                Refusal::NoExec(mount)
            }
            ErrorKind::Malformed { rule, .. } if rule.starts_with("the file is damaged or cut") => {
                Refusal::Short(std::fs::metadata(path).map_or(0, |file| file.len()))
            }
            ErrorKind::System { errno: nix::errno::Errno::EISDIR, .. } => Refusal::Folder,
            kind => Refusal::Other(LoaderWords::of(kind)),
        }
    }
}

/// What a path is that is neither a file nor a folder.
fn special(path: &Path) -> Option<&'static str> {
    let kind = path.metadata().ok()?.file_type();
    let kinds = [
        (kind.is_fifo(), "a named pipe"),
        (kind.is_socket(), "a socket"),
        (kind.is_char_device() || kind.is_block_device(), "a device"),
    ];
    kinds.into_iter().find(|(is_it, _)| *is_it).map(|(_, name)| name)
}

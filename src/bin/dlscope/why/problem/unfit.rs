//! An object that `dlopen` may not bring into a process, as the library that was opened or as a dependency.

use dlscope::event::Tag;
use dlscope::{ErrorKind, Refusal as Error};

use super::super::graph::Node;
use super::{Evidence, Problem, ProblemKind, Refusal};
use crate::page::short;

/// Whether a fault is about `DF_1_PIE` or `DF_1_NOOPEN`.
pub(super) fn is_unfit(kind: &ErrorKind) -> bool {
    match kind {
        ErrorKind::Unsuitable { field, .. } => field == "DT_FLAGS_1",
        ErrorKind::Policy { what, .. } => what == "DT_FLAGS_1",
        _ => false,
    }
}

impl Evidence<'_> {
    /// Adds the objects whose dynamic section tells no symbols, as where a download or a disk broke off.
    pub(super) fn damaged(&self, problems: &mut Vec<Problem>) {
        for node in self.graph.nodes.iter().filter(|node| !node.has_symbols && !node.of_host) {
            let is_known = |problem: &Problem| {
                *problem.object == *node.tag.name
                    || matches!(&problem.kind, ProblemKind::Unsuitable { path, .. } if **path == *node.tag.name)
            };
            if !problems.iter().any(is_known) {
                problems.push(self.of_file(node, None, &node.tag.name, Refusal::NoSymbols(node.entries)));
            }
        }
    }

    /// The problem of the first such object. The loader names it as it was asked for, and not who needs it.
    pub(super) fn unfit(&self, user: Option<&Tag>, error: &Error) -> Problem {
        let reason = match &error.kind {
            ErrorKind::Policy { .. } => Refusal::NoOpen,
            _ => Refusal::Program,
        };
        match self.graph.nodes.iter().find(|node| node.unfit && !node.of_host) {
            Some(node) => self.of_file(node, user, &node.tag.name, reason),
            None => {
                let object = user.map_or(self.asked, |tag| &*tag.name).to_string();
                let (library, path) = (short(self.asked).into(), error.object.clone());
                let kind = ProblemKind::Unsuitable { library, is_asked: true, path, reason, without_it: Vec::new() };
                Problem { object, kind }
            }
        }
    }

    /// The problem with the file of an object: for the first object that needs it, unless it is the library itself.
    fn of_file(&self, file: &Node, user: Option<&Tag>, path: &str, reason: Refusal) -> Problem {
        let of_user = self.graph.nodes.iter().filter(|_| self.graph.root().is_some_and(|root| root.tag != file.tag));
        let is_it = |object: &Option<Tag>| object.as_ref().is_some_and(|object| object.id == file.tag.id);
        let of_user = of_user
            .flat_map(|node| node.needs.iter().map(move |need| (node, need)))
            .find(|(_, need)| is_it(&need.object));
        let path = path.to_string();
        let (object, library) = match of_user {
            Some((node, need)) => (node.tag.name.to_string(), need.name.clone()),
            None => {
                (user.map_or(self.graph.label(self.asked), |tag| &*tag.name).to_string(), short(self.asked).to_string())
            }
        };
        let is_asked = of_user.is_none();
        Problem { object, kind: ProblemKind::Unsuitable { library, is_asked, path, reason, without_it: Vec::new() } }
    }
}

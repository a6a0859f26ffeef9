//! An object that `dlopen` may not bring into a process, as the library that was opened or as a dependency.

use dlscope::event::Tag;
use dlscope::{ErrorKind, Refusal as Error};

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
    /// The problem of the first such object. The loader names it as it was asked for, and not who needs it.
    pub(super) fn unfit(&self, user: Option<&Tag>, error: &Error) -> Problem {
        let reason = match &error.kind {
            ErrorKind::Policy { .. } => Refusal::NoOpen,
            _ => Refusal::Program,
        };
        let nodes = &self.graph.nodes;
        let unfit = nodes.iter().find(|node| node.unfit && !node.of_host);
        let of_user = unfit.and_then(|unfit| {
            let is_it = |object: &Option<Tag>| object.as_ref().is_some_and(|object| object.id == unfit.tag.id);
            let users = nodes.iter().filter(|_| self.graph.root().is_some_and(|root| root.tag != unfit.tag));
            users.flat_map(|node| node.needs.iter().map(move |need| (node, need))).find(|(_, need)| is_it(&need.object))
        });
        let path = unfit.map_or(&*error.object, |node| &node.tag.name).to_string();
        let (object, library) = match of_user {
            Some((node, need)) => (node.tag.name.to_string(), need.name.clone()),
            None => (user.map_or(self.asked, |tag| &*tag.name).to_string(), short(self.asked).to_string()),
        };
        let is_asked = of_user.is_none();
        Problem { object, kind: ProblemKind::Unsuitable { library, is_asked, path, reason, without_it: Vec::new() } }
    }
}

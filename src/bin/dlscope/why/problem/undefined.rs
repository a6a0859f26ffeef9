//! Symbols that nobody defines, and what follows from them.

use std::sync::Arc;

use dlscope::event::Tag;
use dlscope::{ErrorKind, Refusal as Error};

use super::super::machine::{defines, file_of_version};
use super::super::symbols::{Missing, find_nearest};
use super::{Evidence, Problem, ProblemKind};
use crate::bytes::path_of;

impl Evidence<'_> {
    /// Adds the undefined symbols: to a problem that explains them, else as a new problem for each object.
    pub(super) fn symbols(&self, undefined: &[(&Tag, &Arc<Error>)], problems: &mut Vec<Problem>) {
        let mut own: Vec<(&Tag, Vec<Missing>)> = Vec::new();
        for (object, error) in undefined {
            let ErrorKind::UndefinedSymbol { symbol, version, wanted_by, .. } = &error.kind else { continue };
            if self.host.symbols.contains(symbol) || self.is_consequence(object, symbol, version.as_deref(), problems) {
                continue;
            }
            if own.last().is_none_or(|(last, _)| last != object) {
                own.push((object, Vec::new()));
            }
            let Some((_, missing)) = own.last_mut() else { continue };
            let called = wanted_by.contains("R_X86_64_JUMP_SLOT");
            match missing.iter_mut().find(|m| m.name == *symbol && m.version == *version) {
                Some(known) => known.only_called &= called,
                None => missing.push(Missing::new(symbol, version.as_deref(), called)),
            }
        }
        let known: Vec<&str> = self.graph.nodes.iter().map(|node| &*node.tag.name).collect();
        let mut missing: Vec<&mut Missing> = own.iter_mut().flat_map(|(_, missing)| missing).collect();
        find_nearest(&mut missing, self.exports, &known, self.machine);
        problems.extend(own.into_iter().map(|(object, symbols)| {
            let bind_now = self.graph.node(object.id).is_some_and(|node| node.bind_now);
            Problem { object: object.name.to_string(), kind: ProblemKind::Symbols { symbols, bind_now } }
        }));
    }

    /// Whether the symbol is missing because a library is missing, refused or too old. If so, adds it to that problem.
    pub(super) fn is_consequence(
        &self,
        user: &Tag,
        symbol: &str,
        version: Option<&str>,
        problems: &mut [Problem],
    ) -> bool {
        let file = version.and_then(|version| file_of_version(&path_of(&user.name), version));
        let needs = self.graph.node(user.id).map_or(&[][..], |node| &node.needs);
        let mut later: Option<&mut Vec<String>> = None;
        for problem in problems {
            let (library, without_it) = match &mut problem.kind {
                ProblemKind::Version { version: missing, .. } if Some(missing.as_str()) == version => return true,
                ProblemKind::NotFound { library, lies_in, without_it, .. } => {
                    // If there is a file of the library, only the symbols that it defines are consequences.
                    if lies_in.first().is_some_and(|path| !defines(path, symbol)) {
                        continue;
                    }
                    (library, without_it)
                }
                ProblemKind::Unsuitable { library, without_it, .. }
                | ProblemKind::OtherLibc { library, without_it, .. } => (library, without_it),
                // Its symbols are undefined since it is not needed.
                ProblemKind::NoLongerNeeded { library, .. } if file.as_ref() == Some(library) => return true,
                _ => continue,
            };
            let needs_it = needs.iter().any(|need| need.name == *library);
            match &file {
                Some(file) if file == library => {
                    note(without_it, symbol);
                    return true;
                }
                Some(_) => {}
                None if needs_it => {
                    note(without_it, symbol);
                    return true;
                }
                None => later = later.or(Some(without_it)),
            }
        }
        // Another object's dependency is missing, which may have defined the symbol.
        let is_later = later.is_some();
        later.into_iter().for_each(|without_it| note(without_it, symbol));
        is_later
    }
}

fn note(names: &mut Vec<String>, name: &str) {
    if !names.iter().any(|known| known == name) {
        names.push(name.into());
    }
}

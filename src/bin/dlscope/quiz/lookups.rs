//! Questions before a lookup: whose bloom filter says no, who defines the symbol, whose definition is taken?

use std::collections::{HashMap, HashSet};
use std::path::Path;

use dlscope::elf::symbol::Probing;
use dlscope::event::{Candidate, Kind, Tag};
use goblin::elf::Elf;
use goblin::elf::sym::{STB_LOCAL, STV_HIDDEN, STV_INTERNAL};

use super::{Answer, Choice, Concept, MOST_OPTIONS, Question};
use crate::bytes::path_of;
use crate::narrate::lookup::{in_brief, outcome};
use crate::walk::Walk;

/// The function that a destructor in every library calls: the compiler's start-up files have put it there.
const FINALIZE: &str = "__cxa_finalize";

/// A lookup that was recorded, with the scope in which the loader searched.
struct Search<'w> {
    at: usize,
    name: &'w str,
    candidates: &'w [Candidate],
    winner: Option<&'w Tag>,
    scope: Vec<&'w Tag>,
}

/// Of the lookups for the opened library: who wins, for one that several objects define if there is one, and for one
/// that only another object defines; and the bloom filters of one.
pub fn questions(walk: &Walk, opened: &Tag) -> Vec<Question> {
    let searches = searches(walk, opened);
    let mut names = Names::default();
    let contested = searches.iter().find(|search| search.definers(&mut names).len() > 1);
    let outside = searches.iter().filter(|search| search.winner.is_some_and(|winner| winner != opened));
    let outside = outside.max_by_key(|search| (search.name != FINALIZE, std::cmp::Reverse(search.at)));
    let filtered = searches.iter().filter(|search| search.candidates.len() > 1);
    // The best one has both answers in it.
    let filtered = filtered.max_by_key(|search| {
        let no = search.candidates.iter().filter(|candidate| says_no(candidate)).count();
        (no.min(search.candidates.len() - no), search.name != FINALIZE, std::cmp::Reverse(search.at))
    });
    let mut questions = Vec::new();
    if let Some(search) = contested {
        questions.push(search.who_defines(&mut names));
    }
    let other = outside.filter(|search| contested.is_none_or(|contested| contested.at != search.at));
    questions.extend(contested.into_iter().chain(other).map(|search| search.who_wins(&mut names)));
    questions.extend(filtered.map(Search::who_says_no));
    questions
}

fn searches<'w>(walk: &'w Walk, opened: &Tag) -> Vec<Search<'w>> {
    let mut scope = Vec::new();
    let mut searches: Vec<Search<'w>> = Vec::new();
    for (at, event) in walk.events.iter().enumerate() {
        match &event.kind {
            Kind::Scope { global, local } => {
                scope.clear();
                for tag in global.iter().chain(local) {
                    if !scope.contains(&tag) {
                        scope.push(tag);
                    }
                }
            }
            Kind::Lookup { name, candidates, found, .. } if event.object.as_ref() == Some(opened) => {
                let is_new = searches.iter().all(|search| search.name != name);
                // Somebody's definition that is in no object stands outside of the scope.
                let elsewhere = found.as_ref().is_some_and(|found| found.object.is_none());
                if is_new && !elsewhere && !candidates.is_empty() {
                    let winner = found.as_ref().and_then(|found| found.object.as_ref());
                    searches.push(Search { at, name, candidates, winner, scope: scope.clone() });
                }
            }
            _ => {}
        }
    }
    searches
}

impl<'w> Search<'w> {
    /// The objects of the scope that define the name, in the order of the scope.
    fn definers(&self, names: &mut Names) -> Vec<&'w Tag> {
        self.scope.iter().copied().filter(|tag| Some(*tag) == self.winner || names.defines(tag, self.name)).collect()
    }

    /// Objects to choose from: those that define it and those that were asked, in the order of the scope.
    fn shown(&self, names: &mut Names) -> Vec<&'w Tag> {
        let definers = self.definers(names);
        let mut shown = definers;
        for &tag in &self.scope {
            if shown.len() + 1 < MOST_OPTIONS && !shown.contains(&tag) {
                shown.push(tag);
            }
        }
        shown.truncate(MOST_OPTIONS - 1);
        shown.sort_by_key(|tag| self.scope.iter().position(|other| other == tag));
        shown
    }

    fn given(&self) -> Vec<String> {
        let scope: Vec<_> = self.scope.iter().map(|tag| tag.short()).collect();
        vec![format!("scope: {}", scope.join(", "))]
    }

    fn who_defines(&self, names: &mut Names) -> Question {
        let definers = self.definers(names);
        let option = |tag: &Tag| {
            let right = definers.contains(&tag);
            let does = if right { "defines" } else { "does not define" };
            Choice { text: tag.short().into(), right, why: format!("{} {does} {}.", tag.short(), self.name) }
        };
        let list: Vec<_> = definers.iter().map(|tag| tag.short()).collect();
        Question {
            at: self.at,
            concept: Concept::Interposition,
            text: format!("{} is needed. Which objects define it?", self.name),
            given: self.given(),
            answer: Answer::Some { options: self.shown(names).into_iter().map(option).collect(), one: false },
            because: format!("It is defined in {}.", list.join(" and ")),
        }
    }

    fn who_wins(&self, names: &mut Names) -> Question {
        let definers = self.definers(names);
        let winner = self.winner.map_or("nobody", Tag::short);
        let mut options: Vec<Choice> = self
            .shown(names)
            .into_iter()
            .map(|tag| {
                let right = self.winner == Some(tag);
                let said = self.candidates.iter().find(|candidate| candidate.object == *tag);
                let why = match said {
                    _ if right => format!("{winner} is the first in the scope that defines it."),
                    _ if definers.contains(&tag) => {
                        format!("{tag} defines it, too, but {winner} stands before it in the scope.")
                    }
                    Some(candidate) => format!("{tag} was asked: {}.", outcome(&candidate.steps)),
                    None => format!("{tag} does not define it."),
                };
                Choice { text: tag.short().into(), right, why }
            })
            .collect();
        let nobody = self.winner.is_none();
        options.push(Choice { text: "nobody's".into(), right: nobody, why: format!("It is there: in {winner}.") });
        let because = match self.winner {
            Some(winner) => format!(
                "The first definition in the order of the scope is taken, that of {winner} ({}).",
                in_brief(self.candidates)
            ),
            None => "Nobody defines it: a weak reference then gets 0.".into(),
        };
        Question {
            at: self.at,
            concept: Concept::Interposition,
            text: format!("{} is needed. Whose definition is taken?", self.name),
            given: self.given(),
            answer: Answer::Some { options, one: true },
            because,
        }
    }

    fn who_says_no(&self) -> Question {
        let option = |candidate: &Candidate| {
            let (object, right) = (candidate.object.short(), says_no(candidate));
            let why = if right {
                format!("{object} does not have it, and its filter knows that: of the two bits for this hash one is 0.")
            } else {
                format!("The filter of {object} lets it through; then: {}.", outcome(&candidate.steps))
            };
            Choice { text: object.into(), right, why }
        };
        let options: Vec<_> = self.candidates.iter().rev().take(MOST_OPTIONS).rev().map(option).collect();
        let who: Vec<_> = options.iter().filter(|option| option.right).map(|option| option.text.clone()).collect();
        let who = match &who[..] {
            [] => "No filter says no here.".into(),
            [one] => format!("Only the filter of {one} says no."),
            _ => format!("The filters of {} say no.", who.join(", ")),
        };
        Question {
            at: self.at,
            concept: Concept::Bloom,
            text: format!("These are asked for {}, one after the other. Whose bloom filter says no?", self.name),
            given: vec![
                "A filter says no only if the name is certainly not there; it may say maybe without need.".into(),
            ],
            answer: Answer::Some { options, one: false },
            because: format!("{who} The search ends with the first object that has the symbol."),
        }
    }
}

fn says_no(candidate: &Candidate) -> bool {
    candidate.steps == [Probing::BloomNo]
}

/// The names that each object defines, as its file says.
#[derive(Default)]
struct Names {
    of: HashMap<u32, HashSet<String>>,
}

impl Names {
    fn defines(&mut self, tag: &Tag, name: &str) -> bool {
        self.of.entry(tag.id).or_insert_with(|| defined(&path_of(&tag.name)).unwrap_or_default()).contains(name)
    }
}

fn defined(path: &Path) -> Option<HashSet<String>> {
    let bytes = std::fs::read(path).ok()?;
    let elf = Elf::parse(&bytes).ok()?;
    let is_there = |symbol: &goblin::elf::Sym| {
        let is_hidden = [STV_HIDDEN, STV_INTERNAL].contains(&symbol.st_visibility());
        symbol.st_shndx != 0 && symbol.st_bind() != STB_LOCAL && !is_hidden
    };
    let defined = elf.dynsyms.iter().filter(is_there);
    Some(defined.filter_map(|symbol| Some(elf.dynstrtab.get_at(symbol.st_name)?.to_string())).collect())
}

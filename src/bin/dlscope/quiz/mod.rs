//! Questions about a load, made from its record: `step --quiz` and `report --quiz` ask them.
//!
//! A question is asked before the event that answers it. What is right, and why something else is wrong, is computed
//! from the events and from the files, so every library makes questions of its own.

use std::collections::HashMap;

use serde::Serialize;

use crate::story;
use crate::walk::Walk;

mod grade;
mod lookups;
mod order;
mod score;
mod seal;
mod slots;

pub use grade::Verdict;
pub use score::Score;

/// What a question is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(into = "&'static str")]
pub enum Concept {
    Relocation,
    Bloom,
    Interposition,
    Relro,
    Order,
    Close,
}

impl From<Concept> for &'static str {
    fn from(concept: Concept) -> &'static str {
        match concept {
            Concept::Relocation => "relocation",
            Concept::Bloom => "bloom filter",
            Concept::Interposition => "interposition",
            Concept::Relro => "RELRO",
            Concept::Order => "order of constructors",
            Concept::Close => "dlclose",
        }
    }
}

/// A question.
#[derive(Clone, Debug, Serialize)]
pub struct Question {
    /// The event that answers it, by its index. The question comes before that event is shown.
    pub at: usize,
    pub concept: Concept,
    /// The question itself.
    pub text: String,
    /// What one must know to answer it, a line each.
    pub given: Vec<String>,
    pub answer: Answer,
    /// The right answer, and why it is right.
    pub because: String,
}

/// What is right, and what to say about mistakes.
#[derive(Clone, Debug, Serialize)]
#[serde(tag = "form", rename_all = "snake_case")]
pub enum Answer {
    /// Eight bytes, given as a number, as a formula with letters, or byte by byte.
    Word {
        value: Number,
        /// The letters that a formula may have: B, S, A.
        letters: Vec<(char, Number)>,
        /// Values that come from a mistake, and what the mistake is.
        slips: Vec<(Number, String)>,
    },
    /// Some of the options: none, one or several.
    Some {
        options: Vec<Choice>,
        /// Whether just one of them is right, and the question says so.
        one: bool,
    },
    /// All options in their order. They are listed in another one.
    Order {
        options: Vec<String>,
        /// The options as they were, by their places in `options`.
        right: Vec<usize>,
        /// Pairs of options of which the first must come before the second, and why.
        rules: Vec<(usize, usize, String)>,
    },
}

/// An option.
#[derive(Clone, Debug, Serialize)]
pub struct Choice {
    pub text: String,
    pub right: bool,
    /// Why it is right or wrong.
    pub why: String,
}

/// A number of 64 bits. In JSON it is a text, since a number in JavaScript has only 53.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Number(pub u64);

impl Serialize for Number {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&format_args!("{:#x}", self.0))
    }
}

/// The most options of a question: each has one digit.
const MOST_OPTIONS: usize = 9;

/// The questions of a load, by their events; of each kind only a few.
pub fn questions(walk: &Walk) -> Vec<Question> {
    let Some(opened) = story::opened(&walk.events) else { return Vec::new() };
    let mut all = slots::questions(walk, opened);
    all.extend(lookups::questions(walk, opened));
    all.extend(seal::question(walk, opened));
    all.extend(order::of_constructors(walk));
    all.extend(order::of_close(walk, opened));
    // Of two questions before one event, the one about what comes first in the loader's work is asked first.
    all.sort_by_key(|question| question.at);
    all
}

/// The options in an order that does not tell the answer: by name, and turned if that is the right one.
fn mixed(right: &[String]) -> Vec<String> {
    let mut options = right.to_vec();
    options.sort();
    if options == right {
        options.reverse();
    }
    options
}

/// Where each of `wanted` stands in `options`.
fn places(options: &[String], wanted: &[String]) -> Vec<usize> {
    let at: HashMap<&String, usize> = options.iter().enumerate().map(|(at, option)| (option, at)).collect();
    wanted.iter().map(|option| at[option]).collect()
}

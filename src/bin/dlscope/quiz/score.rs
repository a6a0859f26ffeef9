//! What a learner got right, by concept.

use std::collections::BTreeMap;
use std::path::Path;
use std::{fs, io};

use serde::Serialize;

use super::{Concept, Question};
use crate::page::count;

/// The answers so far.
#[derive(Default)]
pub struct Score {
    answers: Vec<Given>,
}

/// A question that was answered.
#[derive(Serialize)]
struct Given {
    /// The number of the event that answers it, from 1.
    event: usize,
    concept: Concept,
    question: String,
    answer: String,
    right: bool,
}

/// The file for teachers.
#[derive(Serialize)]
struct Sheet<'s> {
    library: &'s str,
    asked: usize,
    answered: usize,
    right: usize,
    concepts: BTreeMap<&'static str, Mark>,
    answers: &'s [Given],
}

#[derive(Clone, Copy, Default, Serialize)]
struct Mark {
    answered: usize,
    right: usize,
}

impl Score {
    /// Notes the answer to a question.
    pub fn note(&mut self, question: &Question, answer: &str, right: bool) {
        let (event, concept, text) = (question.at + 1, question.concept, question.text.clone());
        self.answers.push(Given { event, concept, question: text, answer: answer.trim().into(), right });
    }

    /// `4 of 6 right`, and a line for each concept.
    pub fn lines(&self, asked: usize) -> Vec<String> {
        let open = asked.saturating_sub(self.answers.len());
        let open = if open == 0 { String::new() } else { format!(", {} not answered", count(open as u64, "question")) };
        let mut lines = vec![format!("{} of {} right{open}", self.right(), self.answers.len())];
        let marks = self.marks();
        lines
            .extend(marks.iter().map(|(concept, mark)| format!("  {concept:<22} {} of {}", mark.right, mark.answered)));
        lines
    }

    /// Writes the answers and the score as JSON.
    pub fn write(&self, path: &Path, library: &str, asked: usize) -> io::Result<()> {
        let (answered, right) = (self.answers.len(), self.right());
        let sheet = Sheet { library, asked, answered, right, concepts: self.marks(), answers: &self.answers };
        let mut text = serde_json::to_string_pretty(&sheet)?;
        text.push('\n');
        fs::write(path, text).map_err(|e| io::Error::new(e.kind(), format!("{}: {e}", path.display())))
    }

    fn right(&self) -> usize {
        self.answers.iter().filter(|answer| answer.right).count()
    }

    fn marks(&self) -> BTreeMap<&'static str, Mark> {
        let mut marks: BTreeMap<&'static str, Mark> = BTreeMap::new();
        for answer in &self.answers {
            let mark = marks.entry(answer.concept.into()).or_default();
            mark.answered += 1;
            mark.right += usize::from(answer.right);
        }
        marks
    }
}

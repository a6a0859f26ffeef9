//! `step --quiz`: before some events the screen asks what will happen.

use std::path::PathBuf;

use ratatui::text::Line;

use super::colours::{BAD, GOOD, QUIET, STRONG};
use crate::page::count;
use crate::quiz::{Question, Score, Verdict};

/// The questions, and how far the learner is.
pub struct Quiz {
    questions: Vec<Question>,
    /// Whether each of them was answered or passed over.
    done: Vec<bool>,
    /// The question on the screen.
    asked: usize,
    /// What there is to say about the answer on the screen.
    verdict: Option<Verdict>,
    score: Score,
    /// Where to write the result.
    result: Option<PathBuf>,
}

impl Quiz {
    pub fn new(questions: Vec<Question>, result: Option<PathBuf>) -> Quiz {
        let done = vec![false; questions.len()];
        Quiz { questions, done, asked: 0, verdict: None, score: Score::default(), result }
    }

    /// Takes up the first open question that event `at` answers.
    pub fn before(&mut self, at: usize) -> bool {
        self.take(|question| question.at == at)
    }

    /// Takes up the first open question about an event behind `at`, else the first one. Returns the event.
    pub fn next(&mut self, at: usize) -> Option<usize> {
        (self.take(|question| question.at > at) || self.take(|_| true)).then(|| self.questions[self.asked].at)
    }

    fn take(&mut self, is_it: impl Fn(&Question) -> bool) -> bool {
        let mut open = self.questions.iter().zip(&self.done);
        let Some(found) = open.position(|(question, done)| !done && is_it(question)) else { return false };
        (self.asked, self.verdict) = (found, None);
        true
    }

    /// The learner has pressed Enter. Returns the event to go to if the question is done with.
    ///
    /// # Errors
    /// What is wrong with the form of the answer.
    pub fn enter(&mut self, typed: &str) -> Result<Option<usize>, String> {
        let question = &self.questions[self.asked];
        if self.verdict.is_some() {
            return Ok(Some(question.at));
        }
        let verdict = question.judge(typed)?;
        self.score.note(question, typed, verdict.right);
        self.done[self.asked] = true;
        self.verdict = Some(verdict);
        Ok(None)
    }

    /// The learner does not want to answer. Returns the event to go to.
    pub fn pass(&mut self) -> usize {
        self.done[self.asked] = true;
        self.questions[self.asked].at
    }

    /// Whether the learner may type.
    pub fn is_open(&self) -> bool {
        self.verdict.is_none()
    }

    /// For the line at the bottom: how many questions are left.
    pub fn left(&self) -> String {
        match self.done.iter().filter(|done| !**done).count() {
            0 => "no question is left: q shows the result".into(),
            left => format!("Tab next question, {} left", count(left as u64, "question")),
        }
    }

    /// The title of the question's page.
    pub fn title(&self) -> String {
        let concept: &str = self.questions[self.asked].concept.into();
        format!("question {} of {} · {concept}", self.asked + 1, self.questions.len())
    }

    /// The question's page.
    pub fn lines(&self) -> Vec<Line<'static>> {
        let question = &self.questions[self.asked];
        let mut lines = vec![Line::styled(question.text.clone(), STRONG), Line::default()];
        lines.extend(question.given.iter().map(|line| Line::from(format!("  {line}"))));
        if !question.given.is_empty() {
            lines.push(Line::default());
        }
        lines.extend(question.options().into_iter().map(|option| Line::from(format!("  {option}"))));
        lines.push(Line::default());
        match &self.verdict {
            None => lines.push(Line::styled(format!("Answer with {}.", question.how()), QUIET)),
            Some(verdict) => {
                let (word, style) = if verdict.right { ("Right. ", GOOD) } else { ("Not so. ", BAD) };
                lines.push(Line::styled(format!("{word}{}", verdict.text), style));
            }
        }
        lines
    }

    /// Prints the result, and writes it if it was asked for.
    pub fn finish(&self, library: &str) -> std::io::Result<()> {
        let asked = self.questions.len();
        for line in self.score.lines(asked) {
            anstream::println!("{line}");
        }
        self.result.as_ref().map_or(Ok(()), |path| self.score.write(path, library, asked))
    }
}

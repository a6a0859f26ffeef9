//! `trace A --against B`: two loads side by side, and only what differs.
//!
//! Each load happens in a process of its own, so neither sees what the other left behind. The process tells each event
//! in one sentence without addresses (`essence`); the two lists of sentences are then aligned like the lines of two
//! files.

use std::ffi::OsString;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use similar::{Algorithm, DiffOp, capture_diff_slices};

use crate::Failure;
use crate::child;
use crate::fixtures::Fixture;
use crate::page::{Page, bad, count, dim, good, heading};
use crate::subject::{Format, Subject, print_json};
use crate::walk::Walk;

mod essence;

/// The command line of the process that loads one of the two.
#[derive(clap::Args)]
pub struct ChildArgs {
    #[command(flatten)]
    subject: Subject,
    /// The file for what it tells
    #[arg(long)]
    out: PathBuf,
}

/// What such a process tells.
#[derive(Serialize, Deserialize)]
struct Told {
    /// The name of the library.
    library: String,
    events: usize,
    lines: Vec<Line>,
}

/// One or more events in a row that are told by the same sentence.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
struct Line {
    /// `8 relocate`.
    stage: String,
    text: String,
    times: usize,
    /// The object to which this happens as it does to nearly every object.
    routine_of: Option<String>,
}

/// Loads the library and writes what it tells.
pub fn run_child(args: &ChildArgs) -> Result<(), Failure> {
    Walk::record(&args.subject, &mut |walk| {
        let told = Told { library: walk.title.clone(), events: walk.len(), lines: essence::lines(&walk) };
        fs::write(&args.out, serde_json::to_vec(&told).map_err(io::Error::from)?)?;
        Ok(())
    })
}

/// One of the two: the words that name it, and the arguments for the process.
pub struct Side {
    pub title: String,
    pub arguments: Vec<OsString>,
}

impl Side {
    /// Reads the words of a side: a fixture or a library, and options.
    pub fn of(words: &str) -> Side {
        // A path may have spaces in it.
        let words: Vec<&str> = if Path::new(words).exists() { vec![words] } else { words.split_whitespace().collect() };
        let is_name =
            |at: usize| !words[at].starts_with('-') && (at == 0 || !matches!(words[at - 1], "-L" | "--timeout"));
        let mut arguments = Vec::new();
        for (at, word) in words.iter().enumerate() {
            if is_name(at) && !word.contains('/') && Fixture::named(word).is_ok() {
                arguments.push("--fixture".into());
            }
            arguments.push(word.into());
        }
        Side { title: words.join(" "), arguments }
    }
}

/// Loads both and tells what differs.
pub fn run(sides: [Side; 2], format: Format) -> Result<(), Failure> {
    let folder = tempfile::Builder::new().prefix("dlscope-").tempdir()?;
    let told = |side: &Side| {
        let out = folder.path().join("told");
        let (end, _) = child::run::<Told>(&out, |command| {
            command.arg("against-child").arg("--out").arg(&out).args(&side.arguments);
        })?;
        match end {
            child::End::Told(told) => Ok(told),
            end => Err(Failure::Refused(format!("{}: {}", side.title, end.told().err().unwrap_or_default()))),
        }
    };
    let both = [told(&sides[0])?, told(&sides[1])?];
    let differences = differences(&both);
    match format {
        Format::Json => print_json(&differences)?,
        Format::Text => show(&sides, &both, &differences)?,
    }
    Ok(())
}

/// Neighbouring lines of one stage of which the other side has none, or others in their place.
#[derive(Serialize)]
struct Difference {
    stage: String,
    a: Vec<String>,
    b: Vec<String>,
}

fn differences(told: &[Told; 2]) -> Vec<Difference> {
    let [a, b] = told.each_ref().map(|told| &told.lines[..]);
    let mut found: Vec<Difference> = Vec::new();
    for op in capture_diff_slices(Algorithm::Myers, a, b) {
        if matches!(op, DiffOp::Equal { .. }) {
            continue;
        }
        let mut own = [(&a[op.old_range()], &told[1]), (&b[op.new_range()], &told[0])];
        // Of a load that fails the other side shows no more than that it goes on.
        let failed = own.map(|(lines, _)| lines.iter().any(Line::is_failure));
        let goes_on = match failed {
            [false, true] => Some(std::mem::take(&mut own[0].0)),
            [true, false] => Some(std::mem::take(&mut own[1].0)),
            _ => None,
        };
        let mut own = own.map(|(lines, other)| told_alone(lines, other));
        if let Some(rest) = goes_on {
            let side = usize::from(failed[0]);
            let stage = own[1 - side].last().map_or(String::new(), |line| line.stage.clone());
            let same_stage: Vec<Line> = rest.iter().filter(|line| line.stage == stage).cloned().collect();
            if same_stage.len() < rest.len() {
                own[side].extend(told_alone(&same_stage, &told[1 - side]));
                own[side].push(Line { stage, text: "the load goes on".into(), times: 1, routine_of: None });
            }
        }
        let mut stages: Vec<&String> = Vec::new();
        for line in own.iter().flatten() {
            if !stages.contains(&&line.stage) {
                stages.push(&line.stage);
            }
        }
        let of = |lines: &[Line], stage: &String| lines.iter().filter(|l| l.stage == *stage).map(Line::shown).collect();
        let pair = |stage: &String| Difference { stage: stage.clone(), a: of(&own[0], stage), b: of(&own[1], stage) };
        found.extend(stages.into_iter().map(pair));
    }
    found
}

/// The lines that one side has alone, without those that are routine for an object which the other side has not.
fn told_alone(lines: &[Line], other: &Told) -> Vec<Line> {
    let is_there = |object: &String| other.lines.iter().any(|line| line.routine_of.as_ref() == Some(object));
    let tells = |line: &&Line| line.routine_of.as_ref().is_none_or(is_there);
    lines.iter().filter(tells).cloned().collect()
}

impl Line {
    fn is_failure(&self) -> bool {
        self.text.starts_with(essence::FAILS)
    }

    fn shown(&self) -> String {
        if self.times == 1 { self.text.clone() } else { format!("{} × {}", self.times, self.text) }
    }
}

fn show(sides: &[Side; 2], told: &[Told; 2], differences: &[Difference]) -> io::Result<()> {
    let mut page = Page::stdout();
    let marks = [bad("A"), good("B")];
    for ((side, told), mark) in sides.iter().zip(told).zip(&marks) {
        let library = if side.title.contains(&told.library) { String::new() } else { format!("{} · ", told.library) };
        let events = dim(&format!("{library}{}", count(told.events as u64, "event")));
        page.raw(&format!("{mark}  {}   {events}", heading(&side.title)));
    }
    let mut stage = "";
    for difference in differences {
        if stage != difference.stage {
            page.gap();
            page.label(difference.stage.clone());
            stage = &difference.stage;
        }
        for (lines, mark) in [&difference.a, &difference.b].into_iter().zip(&marks) {
            lines.iter().for_each(|line| page.prose(&format!("{mark}  {line}"), 3));
        }
    }
    page.gap();
    let own = |of: fn(&Difference) -> &Vec<String>| differences.iter().map(|d| of(d).len()).sum::<usize>();
    let (a, b) = (own(|d| &d.a), own(|d| &d.b));
    page.raw(&match (a, b) {
        (0, 0) => "Nothing differs, addresses aside.".into(),
        _ => format!(
            "Only in A: {}. Only in B: {}. All else is the same, addresses and sizes aside.",
            count(a as u64, "line"),
            count(b as u64, "line")
        ),
    });
    page.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(lines: &[(&str, &str)]) -> Told {
        let line = |(stage, text): &(&str, &str)| Line {
            stage: (*stage).into(),
            text: (*text).into(),
            times: 1,
            routine_of: None,
        };
        Told { library: "l".into(), events: lines.len(), lines: lines.iter().map(line).collect() }
    }

    #[test]
    fn only_what_differs_is_left_in_the_order_of_the_stages() {
        let a = told(&[("1 find", "x"), ("8 relocate", "f is found in a"), ("8 relocate", "g")]);
        let b = told(&[
            ("1 find", "x"),
            ("5 dynamic", "DT_SYMBOLIC"),
            ("8 relocate", "f is found in b"),
            ("8 relocate", "g"),
        ]);
        let found = differences(&[a, b]);
        let shown: Vec<_> = found.iter().map(|d| (d.stage.as_str(), d.a.join("|"), d.b.join("|"))).collect();
        let of = |stage, a: &str, b: &str| (stage, a.to_string(), b.to_string());
        assert_eq!(shown, [of("8 relocate", "f is found in a", "f is found in b"), of("5 dynamic", "", "DT_SYMBOLIC")]);
    }

    #[test]
    fn a_side_is_a_fixture_or_a_library_with_options() {
        let arguments = |words| Side::of(words).arguments;
        assert_eq!(arguments("plt --lazy"), ["--fixture", "plt", "--lazy"]);
        assert_eq!(arguments("libz.so.1"), ["libz.so.1"]);
        assert_eq!(arguments("-L add libz.so.1"), ["-L", "add", "libz.so.1"]);
    }
}

//! Paper: a left margin with the stage, lines beside it, tables whose columns line up, and style.
//!
//! Text carries its style as escape sequences from the start; `anstream` takes them out again where nobody can see
//! them (not a terminal, `NO_COLOR`).

use std::fmt::Write as _;
use std::io::{self, Write};

use anstyle::{AnsiColor, Style};

/// Width of the left margin: the longest is `8 relocate  `.
pub const MARGIN: usize = 12;

/// Lines are written here; the first error of the stream is kept and ends all writing.
pub struct Page {
    out: anstream::AutoStream<io::Stdout>,
    width: usize,
    label: String,
    note: String,
    failed: io::Result<()>,
    blank: bool,
}

impl Page {
    /// Standard output, as wide as the terminal, or 120 columns.
    pub fn stdout() -> Page {
        let width = terminal_width().unwrap_or(120).clamp(80, 160);
        Page { out: anstream::stdout(), width, label: String::new(), note: String::new(), failed: Ok(()), blank: true }
    }

    /// Columns beside the margin.
    pub fn room(&self) -> usize {
        self.width - MARGIN
    }

    /// The next line gets this in its margin.
    pub fn label(&mut self, label: String) {
        self.label = label;
    }

    /// The next line gets this small remark in its margin, unless a stage begins there.
    pub fn note(&mut self, note: &str) {
        self.note = note.into();
    }

    /// One line beside the margin.
    pub fn line(&mut self, text: impl AsRef<str>) {
        let (label, note) = (std::mem::take(&mut self.label), std::mem::take(&mut self.note));
        let margin = match (&*label, &*note) {
            ("", "") => String::new(),
            ("", note) => dim(&format!("{note:>width$}", width = MARGIN - 2)),
            (label, _) => heading(label),
        };
        let gap = MARGIN.saturating_sub(width_of(&margin));
        self.raw(&format!("{margin}{:gap$}{}", "", text.as_ref()));
    }

    /// One line beside the margin, set in by two.
    pub fn sub(&mut self, text: impl AsRef<str>) {
        self.line(format!("  {}", text.as_ref()));
    }

    /// A line with a remark: to the right of it where there is room, else below.
    pub fn remarked(&mut self, text: &str, at: usize, remark: &str) {
        let column = at.max(width_of(text));
        if remark.is_empty() {
            self.line(text);
        } else if column + 3 + width_of(remark) <= self.room() {
            let gap = column - width_of(text) + 3;
            self.line(format!("{text}{:gap$}{}", "", dim(remark)));
        } else {
            self.line(text);
            self.line(format!("    {}", dim(remark)));
        }
    }

    /// Words, broken into lines, the later ones set in by `indent`.
    pub fn prose(&mut self, text: &str, indent: usize) {
        let mut line = String::new();
        for word in text.split(' ') {
            if !line.trim().is_empty() && width_of(&line) + 1 + width_of(word) > self.room() {
                self.line(&line);
                line = " ".repeat(indent);
            }
            if !line.trim().is_empty() {
                line.push(' ');
            }
            line.push_str(word);
        }
        self.line(line);
    }

    /// Words in the style of explanations, all lines set in by `indent`.
    pub fn prose_in(&mut self, text: &str, indent: usize) {
        let mut line = String::new();
        for word in text.split(' ') {
            if !line.is_empty() && indent + line.chars().count() + 1 + word.chars().count() > self.room() {
                self.line(format!("{:indent$}{}", "", dim(&std::mem::take(&mut line))));
            }
            if !line.is_empty() {
                line.push(' ');
            }
            line.push_str(word);
        }
        self.line(format!("{:indent$}{}", "", dim(&line)));
    }

    /// A table, set in by two. Its last column may be cut off at the right edge, never wrapped.
    pub fn table(&mut self, table: &Table) {
        let room = self.room() - 2;
        for line in table.lines() {
            self.sub(if table.whole { line } else { cut(&line, room) });
        }
    }

    /// A table that begins right at the margin.
    pub fn table_flush(&mut self, table: &Table) {
        let room = self.room();
        for line in table.lines() {
            self.line(if table.whole { line } else { cut(&line, room) });
        }
    }

    /// A table, set in by four, with a line of its own below a row where `below` has one.
    pub fn table_below(&mut self, table: &Table, below: impl Fn(usize) -> Option<String>) {
        let room = self.room() - 4;
        for (at, line) in table.lines().enumerate() {
            let fit = |line: &str| if table.whole { line.to_string() } else { cut(line, room) };
            self.sub(format!("  {}", fit(&line)));
            if let Some(more) = below(at) {
                self.prose_in(&more, 6);
            }
        }
    }

    /// A table without margin.
    pub fn list(&mut self, table: &Table) {
        for line in table.lines() {
            self.raw(&line);
        }
    }

    /// An empty line, unless the next line begins a stage and has one already.
    pub fn gap_unless_labelled(&mut self) {
        if self.label.is_empty() {
            self.gap();
        }
    }

    /// An empty line, but never two.
    pub fn gap(&mut self) {
        if !self.blank {
            self.raw("");
        }
    }

    /// One line without margin.
    pub fn raw(&mut self, text: &str) {
        self.blank = text.is_empty();
        if self.failed.is_ok() {
            self.failed = writeln!(self.out, "{}", text.trim_end());
        }
    }

    /// The first error that writing met, if any.
    pub fn finish(mut self) -> io::Result<()> {
        self.failed?;
        self.out.flush()
    }

    /// Whether writing makes sense any more.
    pub fn is_closed(&self) -> bool {
        self.failed.is_err()
    }
}

/// The width of the terminal that standard output is, if it is one.
fn terminal_width() -> Option<usize> {
    // SAFETY: `winsize` is four numbers, for which zeros are valid.
    let mut size: nix::libc::winsize = unsafe { std::mem::zeroed() };
    // SAFETY: TIOCGWINSZ writes a `winsize` through the pointer, and nothing else.
    let result = unsafe { nix::libc::ioctl(1, nix::libc::TIOCGWINSZ, &raw mut size) };
    (result == 0 && size.ws_col > 0).then_some(size.ws_col.into())
}

/// Rows of cells. A cell that begins with a digit of a number is not treated apart: all stand left.
#[derive(Default)]
pub struct Table {
    rows: Vec<Vec<String>>,
    whole: bool,
}

impl Table {
    /// Nothing of it is ever cut off.
    pub fn whole(whole: bool) -> Table {
        Table { rows: Vec::new(), whole }
    }

    /// Adds a row.
    pub fn row<C: Into<String>>(&mut self, cells: impl IntoIterator<Item = C>) {
        self.rows.push(cells.into_iter().map(Into::into).collect());
    }

    /// Adds cells to the row that was added last.
    pub fn amend_last<C: Into<String>>(&mut self, cells: impl IntoIterator<Item = C>) {
        if let Some(row) = self.rows.last_mut() {
            row.extend(cells.into_iter().map(Into::into));
        }
    }

    fn lines(&self) -> impl Iterator<Item = String> + '_ {
        let columns = self.rows.iter().map(Vec::len).max().unwrap_or(0);
        let width = |column: usize| self.rows.iter().filter_map(|row| row.get(column)).map(|cell| width_of(cell)).max();
        let widths: Vec<usize> = (0..columns).map(|column| width(column).unwrap_or(0)).collect();
        self.rows.iter().map(move |row| {
            let mut line = String::new();
            for (at, (cell, width)) in row.iter().zip(&widths).enumerate() {
                line.push_str(cell);
                if at + 1 < row.len() {
                    let gap = width - width_of(cell) + if *width > 0 { 2 } else { 0 };
                    let _ = write!(line, "{:gap$}", "");
                }
            }
            line
        })
    }
}

// ── style ────────────────────────────────────────────────────────────────────────────────────────────────

fn styled(style: Style, text: &str) -> String {
    if text.is_empty() { String::new() } else { format!("{style}{text}{style:#}") }
}

/// For stages and names of objects.
pub fn heading(text: &str) -> String {
    styled(Style::new().bold(), text)
}

/// For what explains, and may be skipped.
pub fn dim(text: &str) -> String {
    styled(Style::new().dimmed(), text)
}

/// For what was found.
pub fn good(text: &str) -> String {
    styled(AnsiColor::Green.on_default(), text)
}

/// For what is missing or wrong.
pub fn bad(text: &str) -> String {
    styled(AnsiColor::Red.on_default(), text)
}

/// For symbols.
pub fn symbol(text: &str) -> String {
    styled(AnsiColor::Cyan.on_default(), text)
}

/// How many columns a text takes, escape sequences left out.
pub fn width_of(text: &str) -> usize {
    anstream::adapter::strip_str(text).map(|part| part.chars().count()).sum()
}

/// The text, cut off at `room` columns if it is longer. What is cut loses its style.
fn cut(text: &str, room: usize) -> String {
    if width_of(text) <= room {
        return text.into();
    }
    let plain = anstream::adapter::strip_str(text).to_string();
    let kept: String = plain.chars().take(room.saturating_sub(1)).collect();
    format!("{}…", kept.trim_end())
}

/// A long name with its middle left out.
pub fn shortened(name: &str, room: usize) -> String {
    let length = name.chars().count();
    if length <= room {
        return name.into();
    }
    let (front, back) = (room * 2 / 3, room - room * 2 / 3 - 1);
    let start: String = name.chars().take(front).collect();
    let end: String = name.chars().skip(length - back).collect();
    format!("{start}…{end}")
}

/// `15,584`.
pub fn thousands(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// `1 page`, `2 pages`.
pub fn count(number: u64, one: &str) -> String {
    let plural = match one {
        _ if number == 1 => one.to_string(),
        _ if one.ends_with('y') && !one.ends_with("ey") => format!("{}ies", &one[..one.len() - 1]),
        _ => format!("{one}s"),
    };
    format!("{} {plural}", thousands(number))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_names_are_shown_for_people() {
        assert_eq!(thousands(15_584), "15,584");
        assert_eq!(thousands(999), "999");
        assert_eq!(count(2, "entry"), "2 entries");
        assert_eq!(shortened("_ZN1234567890E", 9), "_ZN123…0E");
    }

    #[test]
    fn columns_line_up_whatever_their_style() {
        let mut table = Table::default();
        table.row([bad("a").as_str(), "1"]);
        table.row(["bbb", "2"]);
        let lines: Vec<_> = table.lines().map(|line| anstream::adapter::strip_str(&line).to_string()).collect();
        assert_eq!(lines, ["a    1", "bbb  2"]);
    }
}

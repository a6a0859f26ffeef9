//! Text output: a left margin for the name of the stage, lines beside it, tables with aligned columns, and colours.
//!
//! A text contains its escape sequences from the start. `anstream` removes them where they would not be shown: in a
//! file or a pipe, and with `NO_COLOR`.

use std::fmt::Write as _;
use std::io::{self, Write};

use anstyle::{AnsiColor, Style};

/// Width of the left margin. The longest text there is `8 relocate  `.
const MARGIN: usize = 12;

/// Standard output, line by line. After the first error of writing it writes nothing any more.
pub struct Page {
    out: anstream::AutoStream<io::Stdout>,
    width: usize,
    label: String,
    note: String,
    failed: io::Result<()>,
    blank: bool,
}

impl Page {
    /// Standard output, as wide as the terminal; 120 columns if it is no terminal.
    pub fn stdout() -> Page {
        let width = terminal_width().unwrap_or(120).clamp(80, 160);
        Page { out: anstream::stdout(), width, label: String::new(), note: String::new(), failed: Ok(()), blank: true }
    }

    /// Columns of a whole line.
    pub fn width(&self) -> usize {
        self.width
    }

    /// Columns beside the margin.
    pub fn room(&self) -> usize {
        self.width - MARGIN
    }

    /// Puts the name of a stage into the margin of the next line.
    pub fn label(&mut self, label: String) {
        self.label = label;
    }

    /// Puts a remark into the margin of the next line, unless the name of a stage goes there.
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

    /// A line with a remark, which stands to its right where there is room, else below.
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

    /// Words beside the margin, broken into lines; those after the first are set in by `indent`.
    pub fn prose(&mut self, text: &str, indent: usize) {
        wrapped(text, self.room(), indent).iter().for_each(|line| self.line(line));
    }

    /// Words that explain something, beside the margin; all lines are set in by `indent`.
    pub fn explanation(&mut self, text: &str, indent: usize) {
        for line in wrapped(text, self.room() - indent, 0) {
            self.line(format!("{:indent$}{}", "", dim(&line)));
        }
    }

    /// Words without margin; all lines are set in by `indent`.
    pub fn paragraph(&mut self, text: &str, indent: usize) {
        for line in wrapped(text, self.width - indent, 0) {
            self.raw(&format!("{:indent$}{line}", ""));
        }
    }

    /// A table beside the margin, set in by `indent`. A line too long for the page is cut off, unless the table is
    /// whole.
    pub fn table(&mut self, table: &Table, indent: usize) {
        self.table_below(table, indent, |_| Vec::new());
    }

    /// A table with an explanation below each row for which `below` has one.
    pub fn table_below(&mut self, table: &Table, indent: usize, below: impl Fn(usize) -> Vec<String>) {
        let room = self.room() - indent;
        for (at, line) in table.lines().enumerate() {
            let line = if table.whole { line } else { cut(&line, room) };
            self.line(format!("{:indent$}{line}", ""));
            for explanation in below(at) {
                self.explanation(&explanation, indent + 2);
            }
        }
    }

    /// A table without margin.
    pub fn list(&mut self, table: &Table) {
        for line in table.lines() {
            self.raw(&line);
        }
    }

    /// An empty line, unless the next line begins a stage: then there is one already.
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

    /// Ends the output. Returns the first error of writing, if there was one.
    pub fn finish(mut self) -> io::Result<()> {
        self.failed?;
        self.out.flush()
    }

    /// Whether writing has failed, so that more lines would be lost.
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

/// Rows of cells. All columns are left-aligned, numbers too.
#[derive(Default)]
pub struct Table {
    rows: Vec<Vec<String>>,
    whole: bool,
}

impl Table {
    /// An empty table. If it is whole, its lines are never cut off.
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

/// For explanations, which a reader may skip.
pub fn dim(text: &str) -> String {
    styled(Style::new().dimmed(), text)
}

/// For success.
pub fn good(text: &str) -> String {
    styled(AnsiColor::Green.on_default(), text)
}

/// For what is missing or wrong.
pub fn bad(text: &str) -> String {
    styled(AnsiColor::Red.on_default(), text)
}

/// For time that page faults take.
pub fn warm(text: &str) -> String {
    styled(AnsiColor::Yellow.on_default(), text)
}

/// For symbols, and for the loader's own work.
pub fn symbol(text: &str) -> String {
    styled(AnsiColor::Cyan.on_default(), text)
}

/// How many columns a text takes. Escape sequences take none.
pub fn width_of(text: &str) -> usize {
    anstream::adapter::strip_str(text).map(|part| part.chars().count()).sum()
}

/// The words in lines of at most `room` columns, a longer word in a line of its own. All lines but the first are set in
/// by `indent`.
fn wrapped(text: &str, room: usize, indent: usize) -> Vec<String> {
    let mut lines = Vec::new();
    let mut line = String::new();
    for word in text.split(' ') {
        if !line.trim().is_empty() && width_of(&line) + 1 + width_of(word) > room {
            lines.push(std::mem::replace(&mut line, " ".repeat(indent)));
        }
        if !line.trim().is_empty() {
            line.push(' ');
        }
        line.push_str(word);
    }
    lines.push(line);
    lines
}

/// The text, cut off at `room` columns if it is longer. A text that is cut loses its colours.
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

/// The first `most` names, and how many more there are.
pub fn few(names: impl ExactSizeIterator<Item = String>, most: usize) -> String {
    let length = names.len();
    let mut shown = names.take(most).collect::<Vec<_>>().join(", ");
    if length > most {
        shown.push_str(&format!(" and {} more", thousands((length - most) as u64)));
    }
    shown
}

/// The last part of a path.
pub fn short(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
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

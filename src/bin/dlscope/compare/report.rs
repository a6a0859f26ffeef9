//! The output of `compare`, and the table of `--corpus`.

use std::ffi::OsString;
use std::fmt::Write as _;
use std::io::{self, IsTerminal as _, Write as _};

use anstyle::{AnsiColor, Style};

use super::comparison::{Comparison, Count, Difference, Verdict};
use crate::bytes::shown;
use crate::page::{short, thousands};
use crate::subject::print_json;

/// At most so many differences of one library are told.
const SHOWN: usize = 20;
/// With more libraries than this, only remarkable results are told.
const FEW: usize = 10;

/// Tells each result when it is known.
pub struct Printer {
    json: bool,
    few: bool,
}

impl Printer {
    pub fn new(json: bool, libraries: usize) -> Printer {
        Printer { json, few: libraries <= FEW }
    }

    pub fn tell(&self, result: &Comparison) -> io::Result<()> {
        if self.json {
            print_json(result)
        } else if self.few || result.is_remarkable() {
            write!(anstream::stdout(), "{}", text(result))
        } else {
            Ok(())
        }
    }

    /// Tells how many results there are of each verdict.
    pub fn finish(&self, results: &[Comparison]) -> io::Result<()> {
        if self.json || results.len() < 2 {
            return Ok(());
        }
        let mut out = anstream::stdout().lock();
        writeln!(out, "\n{} libraries", results.len())?;
        for (verdict, count) in totals(results) {
            let style = style(verdict);
            writeln!(out, "{count:7}  {style}{:17}{style:#} {}", verdict.name(), verdict.meaning())?;
        }
        Ok(())
    }
}

/// A progress bar on the last line of a terminal.
pub struct Bar {
    of: usize,
    shown: bool,
}

impl Bar {
    const WIDTH: usize = 40;

    pub fn new(of: usize) -> Bar {
        Bar { of, shown: of > 1 && io::stderr().is_terminal() }
    }

    pub fn draw(&mut self, done: usize) -> io::Result<()> {
        if !self.shown {
            return Ok(());
        }
        let full = done * Bar::WIDTH / self.of;
        write!(io::stderr(), "\r[{}{}] {done} of {}", "#".repeat(full), ".".repeat(Bar::WIDTH - full), self.of)
    }

    /// Removes the bar, so that a result can be written.
    pub fn clear(&mut self) -> io::Result<()> {
        if self.shown { write!(io::stderr(), "\r\x1b[K") } else { Ok(()) }
    }
}

fn style(verdict: Verdict) -> Style {
    if verdict.is_bad() {
        AnsiColor::Red.on_default().bold()
    } else if verdict == Verdict::Agree {
        AnsiColor::Green.on_default()
    } else {
        AnsiColor::Yellow.on_default()
    }
}

/// The result for one library, with its differences.
fn text(result: &Comparison) -> String {
    let style = style(result.verdict);
    let mut text = format!("{}: {style}{}{style:#}", result.library, result.verdict.name());
    if result.objects.compared + result.symbols.compared > 0 {
        let _ = write!(text, "   {}", counts(result));
    }
    text.push('\n');
    for (who, reason) in [("system", &result.reasons.system), ("dlscope", &result.reasons.dlscope)] {
        if let Some(reason) = reason {
            let _ = writeln!(text, "    {who:8} {}", reason.trim_end().replace('\n', "\n      "));
        }
    }
    for detail in result.details.iter().take(SHOWN) {
        text += &difference(detail);
    }
    if result.details.len() > SHOWN {
        let _ = writeln!(text, "  … and {} more; --format json has all", result.details.len() - SHOWN);
    }
    text
}

fn difference(d: &Difference) -> String {
    let place = place(d);
    let about = if d.about.is_empty() { String::new() } else { format!("  {}", d.about) };
    let value = |value: &Option<String>| value.clone().unwrap_or_else(|| "nothing".into());
    format!("  {place}{about}\n    system   {}\n    dlscope  {}\n", value(&d.system), value(&d.dlscope))
}

fn place(d: &Difference) -> String {
    match d.what {
        "object" => d.place.clone(),
        _ => format!("{} {} of {}", d.what, d.place, short(&d.object)),
    }
}

/// `1 object, 80 of 80 slots, 163 of 163 exports, 31 of 31 pages`, and how many slots constructors changed.
fn counts(r: &Comparison) -> String {
    let new = match r.objects.compared {
        0 => "no new object".into(),
        1 => "1 object".into(),
        _ if r.objects.different == 0 => format!("{} objects", r.objects.compared),
        _ => of(r.objects, "objects"),
    };
    let mut text = format!("{new}, {}", same(r));
    if r.slots.changed_by_constructors > 0 {
        let _ = write!(text, "; constructors changed {} slot(s)", r.slots.changed_by_constructors);
    }
    text
}

fn same(r: &Comparison) -> String {
    format!("{}, {}, {}", of(r.slots.count, "slots"), of(r.symbols, "exports"), of(r.pages, "pages"))
}

fn of(count: Count, what: &str) -> String {
    format!("{} of {} {what}", count.same(), count.compared)
}

/// The result for one library, in one sentence.
pub fn sentence(r: &Comparison) -> String {
    let first_line = |reason: &Option<String>| {
        reason.as_deref().and_then(|r| r.lines().next()).unwrap_or("no reason given").trim_end_matches('.').to_string()
    };
    let (system, dlscope) = (first_line(&r.reasons.system), first_line(&r.reasons.dlscope));
    match r.verdict {
        Verdict::Agree => format!("The system's dlopen agrees: {}.", same(r)),
        Verdict::Differ => {
            format!(
                "The system's dlopen differs: only {} are the same; `dlscope compare` lists the differences.",
                same(r)
            )
        }
        Verdict::OnlySystem => format!("The system's dlopen accepts the library, dlscope does not: {dlscope}."),
        Verdict::Crash => format!("The system's dlopen accepts the library; with dlscope the process died: {dlscope}."),
        Verdict::Timeout => format!("The system's dlopen loads the library; dlscope {dlscope}."),
        Verdict::OnlyDlscope => format!("The system's dlopen does not accept the library: {system}."),
        Verdict::RefusedByPolicy => "dlscope refuses the library on purpose, whatever the system's dlopen does.".into(),
        Verdict::BothRefuse => format!("The system's dlopen refuses the library, too: {system}."),
        Verdict::BothDie => format!("The process dies with the system's dlopen, too: {system}."),
    }
}

/// How many results there are of each verdict, without verdicts that do not occur.
fn totals(results: &[Comparison]) -> impl Iterator<Item = (Verdict, usize)> {
    let count = |verdict| results.iter().filter(|r| r.verdict == verdict).count();
    Verdict::ALL.into_iter().map(move |verdict| (verdict, count(verdict))).filter(|(_, count)| *count > 0)
}

/// The table of all libraries that do not agree, as Markdown.
pub fn table(results: &[Comparison], folders: &[OsString]) -> String {
    let folders: Vec<String> = folders.iter().map(shown).collect();
    let below = if folders.is_empty() { "/lib* and /usr/lib*".into() } else { folders.join(", ") };
    let mut text = format!(
        "# Compatibility\n\n\
         Every shared object below `{below}` of one machine, loaded by the system's `dlopen` and by dlscope, each in \
         a process of its own. Compared are the objects and their order, exported symbols, relocated words and \
         page protections. Made by `dlscope compare --corpus {}-o docs/compatibility.md`.\n\n",
        folders.iter().map(|folder| format!("{folder} ")).collect::<String>(),
    );
    let _ = writeln!(text, "{}.\n\n| verdict | libraries | |\n|---|---:|---|", machine());
    for (verdict, count) in totals(results) {
        let _ = writeln!(text, "| {} | {count} | {} |", verdict.name(), verdict.meaning());
    }
    let sum = |part: fn(&Comparison) -> usize| thousands(results.iter().map(part).sum::<usize>() as u64);
    let _ = writeln!(
        text,
        "\nCompared: {} relocated words ({} of them changed by constructors), {} exports, {} pages.",
        sum(|r| r.slots.count.compared),
        sum(|r| r.slots.changed_by_constructors),
        sum(|r| r.symbols.compared),
        sum(|r| r.pages.compared),
    );
    for (verdict, _) in totals(results).filter(|(verdict, _)| *verdict != Verdict::Agree) {
        let _ = writeln!(text, "\n## {}\n\n| library | the system's dlopen | dlscope |\n|---|---|---|", verdict.name());
        results.iter().filter(|r| r.verdict == verdict).for_each(|r| text += &row(r));
    }
    text
}

fn row(r: &Comparison) -> String {
    let cell = |reason: &Option<String>| {
        let line = reason.as_deref().and_then(|r| r.lines().next()).unwrap_or("accepts it");
        // The row has the path of the library already.
        line.strip_prefix(&format!("{}: ", r.library)).unwrap_or(line).replace('|', "\\|")
    };
    if r.verdict != Verdict::Differ {
        return format!("| {} | {} | {} |\n", r.library, cell(&r.reasons.system), cell(&r.reasons.dlscope));
    }
    let value = |value: &Option<String>| value.clone().unwrap_or_else(|| "nothing".into());
    let line = |d: &Difference| {
        let what = format!("{} {}", place(d), d.about);
        format!("| {}: {} | {} | {} |\n", r.library, what.trim_end(), value(&d.system), value(&d.dlscope))
    };
    r.details.iter().map(line).collect()
}

/// `Debian GNU/Linux 12 (bookworm), glibc 2.36`.
fn machine() -> String {
    let release = std::fs::read_to_string("/etc/os-release").unwrap_or_default();
    let name = release.lines().find_map(|line| line.strip_prefix("PRETTY_NAME=")).unwrap_or("Linux").trim_matches('"');
    // SAFETY: a string that is always there.
    let glibc = unsafe { std::ffi::CStr::from_ptr(nix::libc::gnu_get_libc_version()) };
    format!("{name}, glibc {}", glibc.to_string_lossy())
}

//! `dlscope explain`: what a word of dynamic linking means, and the chapters of the documentation.

use std::io::{self, IsTerminal as _, Write as _};

use include_dir::{Dir, File, include_dir};
use termimad::MadSkin;
use termimad::crossterm::terminal;

use crate::Failure;
use crate::page::{Page, Table, dim, heading, symbol};
use crate::words::glossary::{GLOSSARY, Word};

/// The chapters, as they lie in the project.
static CHAPTERS: Dir<'_> = include_dir!("$CARGO_MANIFEST_DIR/docs/chapters");

/// The pages that the chapters lead to.
const PAGES: [(&str, &str); 5] = [
    ("lazy", include_str!("../../../docs/lazy.md")),
    ("tls", include_str!("../../../docs/tls.md")),
    ("why", include_str!("../../../docs/why.md")),
    ("events", include_str!("../../../docs/events.md")),
    ("gdb", include_str!("../../../docs/gdb.md")),
];

/// The widest line of a chapter.
const WIDTH: usize = 110;

/// Explain a word of dynamic linking, or show a chapter of the documentation
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  dlscope explain               all words, and all chapters
  dlscope explain GOT           what the GOT is, and a command that shows it
  dlscope explain load bias     a word may have several parts
  dlscope explain 08-relocate   the chapter on the eighth stage")]
pub struct Args {
    /// The word, or the name of a chapter; without it, the list of all
    #[arg(value_name = "WORD")]
    word: Vec<String>,
}

/// Runs the subcommand.
pub fn run(args: &Args) -> Result<(), Failure> {
    let name = args.word.join(" ");
    if name.is_empty() {
        return list().map_err(Failure::Io);
    }
    if let Some(word) = Word::find(&name) {
        return explain(word).map_err(Failure::Io);
    }
    match chapters().find(|(chapter, _)| *chapter == name.trim_end_matches(".md")) {
        Some((_, text)) => show(text).map_err(Failure::Io),
        None => Err(Failure::Usage(unknown(&name))),
    }
}

/// The chapters by name, in the order of the stages, and the pages that they lead to.
pub fn chapters() -> impl Iterator<Item = (&'static str, &'static str)> {
    let mut files: Vec<_> = CHAPTERS.files().collect();
    files.sort_by_key(|file| file.path());
    let named = |file: &'static File<'static>| Some((file.path().file_stem()?.to_str()?, file.contents_utf8()?));
    files.into_iter().filter_map(named).chain(PAGES)
}

fn list() -> io::Result<()> {
    let mut page = Page::stdout();
    page.raw(&heading("words"));
    let mut table = Table::whole(true);
    for word in GLOSSARY.iter() {
        let first = word.text.split(". ").next().unwrap_or_default();
        table.row([symbol(word.names[0]), first.trim_end_matches('.').into()]);
    }
    page.list(&table);
    page.gap();
    page.raw(&heading("chapters"));
    let mut table = Table::whole(true);
    for (name, text) in chapters() {
        table.row([symbol(&name_of(name)), text.lines().next().unwrap_or_default().trim_start_matches("# ").into()]);
    }
    page.list(&table);
    page.finish()
}

fn explain(word: &Word) -> io::Result<()> {
    let mut page = Page::stdout();
    let others = word.names[1..].join(", ");
    let others = if others.is_empty() { others } else { dim(&format!("  {others}")) };
    page.raw(&format!("{}{others}", heading(word.names[0])));
    page.prose(word.text, 0);
    if !word.picture.is_empty() {
        page.gap();
        word.picture.iter().for_each(|line| page.line(*line));
        page.gap();
    }
    page.line(format!("see it   {}", symbol(word.see)));
    let (file, section) = word.read.split_once('#').unwrap_or((word.read, ""));
    let chapter = file.rsplit('/').next().unwrap_or(file).trim_end_matches(".md");
    let title = section_title(chapter, section).map_or(String::new(), |title| dim(&format!("  \"{title}\"")));
    page.line(format!("read on  {}{title}", symbol(&format!("dlscope explain {}", name_of(chapter)))));
    page.finish()
}

/// What to ask for to see this chapter: its name, with `.md` if a word has the same.
fn name_of(chapter: &str) -> String {
    if Word::find(chapter).is_some() { format!("{chapter}.md") } else { chapter.into() }
}

/// The title of the section of a chapter that links name so.
fn section_title(chapter: &str, anchor: &str) -> Option<&'static str> {
    let (_, text) = chapters().find(|(name, _)| *name == chapter)?;
    let mut titles = text.lines().filter(|line| line.starts_with('#')).map(|line| line.trim_start_matches('#').trim());
    titles.find(|title| anchor_of(title) == anchor)
}

/// How links name a section: in lower case, with `-` for spaces, without other signs.
pub fn anchor_of(title: &str) -> String {
    let words = title.to_lowercase().replace(' ', "-");
    words.chars().filter(|&c| c.is_alphanumeric() || matches!(c, '-' | '_')).collect()
}

/// Markdown with one line for each paragraph, for a page of another width.
fn unwrapped(markdown: &str) -> String {
    let mut text = String::new();
    let mut is_code = false;
    // Whether the line before may go on.
    let mut is_open = false;
    for line in markdown.lines() {
        let is_fence = line.starts_with("```");
        let begins = is_code || is_fence || line.is_empty() || line.starts_with(['#', '|', '-', '>']);
        let begins = begins || line.starts_with(|c: char| c.is_ascii_digit());
        if is_open && !begins {
            text.push(' ');
            text.push_str(line.trim_start());
        } else {
            text.push_str(if text.is_empty() { "" } else { "\n" });
            text.push_str(line);
        }
        is_open = !is_code && !is_fence && !line.is_empty() && !line.starts_with(['#', '|']);
        is_code ^= is_fence;
    }
    text
}

/// Shows Markdown as text for a terminal. `anstream` leaves out colours where they do not belong.
fn show(markdown: &str) -> io::Result<()> {
    let width =
        if io::stdout().is_terminal() { terminal::size().map_or(WIDTH, |(width, _)| width.into()) } else { WIDTH };
    let skin = MadSkin::default();
    writeln!(anstream::stdout(), "{}", skin.text(&unwrapped(markdown), Some(width.min(WIDTH))))
}

/// The error for a word that nobody explains, with those that come near.
fn unknown(name: &str) -> String {
    let names = || GLOSSARY.iter().flat_map(|word| word.names.iter().copied()).chain(chapters().map(|(name, _)| name));
    let lower = name.to_lowercase();
    let mut near: Vec<_> =
        names().map(|known| (strsim::damerau_levenshtein(&known.to_lowercase(), &lower), known)).collect();
    near.sort();
    let holds = names().filter(|known| lower.len() > 2 && known.to_lowercase().contains(&lower));
    let near = near.into_iter().filter(|(far, _)| *far <= 1 + lower.len() / 4).map(|(_, known)| known);
    let mut like: Vec<&str> = Vec::new();
    for known in near.chain(holds) {
        if !like.contains(&known) && like.len() < 5 {
            like.push(known);
        }
    }
    let hint = if like.is_empty() { String::new() } else { format!("\n       close to it: {}", like.join(", ")) };
    format!("no word and no chapter is called {name:?}{hint}\n       `dlscope explain` lists all")
}

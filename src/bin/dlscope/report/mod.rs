//! `dlscope report`: the record of a load as one HTML file.
//!
//! The file needs no other file and no network: it has the page, its style, its script, and the compressed data of the
//! [`model`], with the glossary and the chapters of the documentation. All words are made here; the script only shows them
//! and knows nothing about loading.

use std::fs;
use std::io::{self, Write as _};
use std::path::PathBuf;

use crate::Failure;
use crate::bytes::shown;
use crate::page::{count, thousands};
use crate::subject::Subject;
use crate::walk::Walk;

mod builder;
mod chapters;
mod document;
mod effects;
mod fold;
mod model;
mod objects;
mod texts;

/// Write the record of a load as one HTML file that needs no other file
#[derive(clap::Args)]
#[command(after_help = "\
Without LIB, dlscope shows a small C library that is built into this command.

Examples:
  dlscope report                              a first look: writes libadd.so.html
  dlscope report libsqlite3.so.0 -o walk.html another library, another file
  dlscope report ./libmine.so --no-run -o -   run none of the library's code; write to standard output

The file opens from disk and makes no requests. It explains the words of dynamic linking where they stand, and has the
chapters of the documentation. Before you give it away: it contains the bytes that the events are about, the paths that
were searched, and addresses. A failed load makes a report, too, with exit status 1.")]
pub struct Args {
    #[command(flatten)]
    subject: Subject,
    /// The file to write, `-` for standard output [default: the library's name with .html, in this folder]
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Show at most N relocations of each object one by one, and the rest of them as one step
    #[arg(long, value_name = "N", default_value_t = 25_000)]
    most: usize,
    /// Show every relocation one by one, however many there are
    #[arg(long, conflicts_with = "most")]
    all: bool,
}

/// Runs the subcommand.
pub fn run(args: &Args) -> Result<(), Failure> {
    Walk::record(&args.subject, &mut |walk| write(args, walk))
}

fn write(args: &Args, mut walk: Walk) -> Result<(), Failure> {
    let most = if args.all { usize::MAX } else { args.most };
    let events = walk.len();
    let (model, bytes) = builder::model(&mut walk, most);
    // The record of a large load is hundreds of megabytes, which are free for what comes next.
    let (title, error) = (std::mem::take(&mut walk.title), walk.error.take());
    drop(walk);
    let html = document::html(&title, &model, &bytes)?;
    match &args.output {
        Some(path) if path.as_os_str() == "-" => io::stdout().write_all(html.as_bytes())?,
        path => {
            let path = path.clone().unwrap_or_else(|| format!("{title}.html").into());
            fs::write(&path, &html).map_err(|e| io::Error::new(e.kind(), format!("{}: {e}", shown(&path))))?;
            let address = fs::canonicalize(&path)?;
            let mut out = anstream::stdout();
            writeln!(
                out,
                "{}: {}, {} bytes. Open it in a browser: file://{}",
                shown(&path),
                count(events as u64, "event"),
                thousands(html.len() as u64),
                address.display()
            )?;
        }
    }
    error.map_or(Ok(()), Err)
}

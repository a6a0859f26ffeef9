//! `dlscope report`: the walk through a load as one file for a browser.
//!
//! The file has everything in it and asks for nothing: the page, its style and script, and, compressed, a
//! [`model`]: what happened, in words that were all made here. The script knows nothing about loading; it shows.

use std::fs;
use std::io::{self, Write as _};
use std::path::PathBuf;

use crate::Failure;
use crate::page::{count, thousands};
use crate::subject::Subject;
use crate::walk::Walk;

mod builder;
mod document;
mod effects;
mod fold;
mod model;
mod objects;
mod texts;

/// Write the walk through a load as one HTML file that needs nothing else
#[derive(clap::Args)]
#[command(after_help = "\
Without LIB a small C library is shown that is built into this command.

Examples:
  dlscope report                              libadd.so.html, a first look
  dlscope report libsqlite3.so.0 -o walk.html another library, another file
  dlscope report ./libmine.so --no-run -o -   run none of its code; to standard output

The file opens from disk, makes no requests, and can be given away: it has the bytes that the events are about, the
paths that were searched, and where things lay in memory. A failed load makes a report, too, and exit status 1.")]
pub struct Args {
    #[command(flatten)]
    subject: Subject,
    /// The file to write, `-` for standard output [default: the library's name with .html, in this folder]
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Tell at most N relocations of each object one by one, and the rest of them as one step
    #[arg(long, value_name = "N", default_value_t = 25_000)]
    most: usize,
    /// Tell every relocation, however many
    #[arg(long, conflicts_with = "most")]
    all: bool,
}

/// Runs the subcommand.
pub fn run(args: &Args) -> Result<(), Failure> {
    let mut walk = Walk::record(&args.subject)?;
    let most = if args.all { usize::MAX } else { args.most };
    let (model, bytes) = builder::model(&mut walk, most);
    let html = document::html(&walk.title, &model, &bytes)?;
    match &args.output {
        Some(path) if path.as_os_str() == "-" => io::stdout().write_all(html.as_bytes())?,
        path => {
            let path = path.clone().unwrap_or_else(|| format!("{}.html", walk.title).into());
            fs::write(&path, &html).map_err(|e| io::Error::new(e.kind(), format!("{}: {e}", path.display())))?;
            let address = fs::canonicalize(&path)?;
            let mut out = anstream::stdout();
            writeln!(
                out,
                "{}: {}, {} bytes. Open it in a browser: file://{}",
                path.display(),
                count(walk.len() as u64, "event"),
                thousands(html.len() as u64),
                address.display()
            )?;
        }
    }
    walk.error.map_or(Ok(()), Err)
}

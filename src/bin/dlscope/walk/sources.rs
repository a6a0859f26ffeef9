//! dlscope's own source, built into the command, so that a view can show the lines that emitted an event.

use dlscope::event::Source;
use include_dir::{Dir, include_dir};

static SOURCES: Dir<'_> = include_dir!("$CARGO_MANIFEST_DIR/src");

/// The lines around a place in the source, with their numbers. Empty for a file that is not dlscope's.
pub fn excerpt(source: Source, before: u32, after: u32) -> Vec<(u32, &'static str)> {
    let file = source.file.strip_prefix("src/").and_then(|path| SOURCES.get_file(path));
    let text = file.and_then(|file| file.contents_utf8()).unwrap_or_default();
    let first = source.line.saturating_sub(before).max(1);
    let lines = (1..).zip(text.lines()).skip(first as usize - 1);
    lines.take_while(|(number, _)| *number <= source.line + after).collect()
}

//! Rows of bytes: of a structure in the file, and of memory before and after an event.

use dlscope::elf::addr::Addr;
use ratatui::style::Style;
use ratatui::text::{Line, Span};

use super::colours::{BAD, GOOD, HERE, QUIET, field};
use crate::walk::{Record, Scene, Walk, Window};

/// The width of the column with the address of the bytes.
const LABEL: usize = 21;
/// From this width of the screen on, the letters stand beside the digits.
const ROOM_FOR_LETTERS: u16 = 90;

/// The bytes of an event: of its structure in the file, and of the memory that it is about.
pub fn lines(walk: &Walk, scene: &Scene, width: u16) -> Vec<Line<'static>> {
    let mut lines = Vec::new();
    if let Some(record) = &scene.record {
        lines.extend(structure(walk, record));
    }
    let (Some(window), Some((from, length))) = (&scene.window, scene.touched) else { return lines };
    // The structure lies in this memory, and its bytes were just shown.
    if scene.record.as_ref().is_some_and(|record| record.address == Some(from)) {
        return lines;
    }
    let touched = |at: u64| from.0 <= at && at - from.0 < length;
    for row in (0..window.after.len()).step_by(16) {
        lines.extend(memory(window, row, &touched, width >= ROOM_FOR_LETTERS));
    }
    lines
}

/// The bytes of a structure, each in the colour of its field.
fn structure(walk: &Walk, record: &Record) -> Vec<Line<'static>> {
    let bytes = match (record.offset, record.address) {
        (Some(offset), _) => walk.memory().file_bytes(&record.path, offset.0..offset.0 + record.length as u64),
        (None, Some(address)) => walk.memory().read(address, record.length),
        (None, None) => None,
    };
    let place = match (record.offset, record.address) {
        (Some(offset), _) => format!("file {offset}"),
        (None, Some(address)) => address.to_string(),
        (None, None) => String::new(),
    };
    let bytes = bytes.unwrap_or_default();
    let colour = |at: usize| {
        let of = record.fields.iter().position(|field| field.bytes.contains(&at));
        of.map_or(QUIET, field)
    };
    let rows = bytes.chunks(16).enumerate();
    rows.map(|(row, bytes)| {
        let mut spans = vec![label(if row == 0 { &place } else { "" })];
        let styled = bytes.iter().enumerate().map(|(n, byte)| (Some(*byte), colour(row * 16 + n)));
        push_bytes(&mut spans, styled);
        Line::from(spans)
    })
    .collect()
}

/// One row of memory, or two rows (before, after) if the event changed it.
fn memory(window: &Window, row: usize, touched: &dyn Fn(u64) -> bool, letters: bool) -> Vec<Line<'static>> {
    let address = Addr(window.start + row as u64);
    let (before, after) = (&window.before[row..row + 16], &window.after[row..row + 16]);
    let line = |title: &str, bytes: &[Option<u8>], changed: Style| {
        let styled = (0..16).map(|n| {
            let style = match (touched(address.0 + n as u64), before[n] == after[n]) {
                (true, true) => Style::new(),
                (_, false) => changed,
                (false, true) => QUIET,
            };
            (bytes[n], style)
        });
        let styled: Vec<_> = styled.collect();
        let mut spans = vec![label(&format!("{:012x} {title}", address.0))];
        push_bytes(&mut spans, styled.iter().copied());
        if letters {
            spans.push(Span::from("  "));
            spans.extend(styled.iter().map(|(byte, style)| Span::styled(letter(*byte), *style)));
        }
        Line::from(spans)
    };
    if before == after {
        vec![line("", after, GOOD)]
    } else {
        vec![line("before", before, BAD), line("after", after, GOOD)]
    }
}

/// A screen of memory from `top` on. The bytes that the event changed are marked.
pub fn page(walk: &mut Walk, top: u64, rows: u16) -> Vec<Line<'static>> {
    let end = top.saturating_add(16 * u64::from(rows));
    let [before, after] = walk.bytes(top..end);
    let touched = walk.touched(walk.at());
    let is_touched = |at: u64| touched.is_some_and(|(from, length)| from.0 <= at && at - from.0 < length.min(64));
    let line = |row: usize| {
        let address = Addr(top + 16 * row as u64);
        let byte = |n: usize| {
            let at = 16 * row + n;
            let style = match before[at] == after[at] {
                false => GOOD.patch(HERE),
                true if is_touched(address.0 + n as u64) => HERE,
                true => Style::new(),
            };
            (after[at], style)
        };
        let mut spans = vec![Span::styled(format!("{:012x}  ", address.0), QUIET)];
        push_bytes(&mut spans, (0..16).map(byte));
        spans.push(Span::from("  "));
        spans.extend((0..16).map(byte).map(|(byte, style)| Span::styled(letter(byte), style)));
        Line::from(spans)
    };
    (0..usize::from(rows)).map(line).collect()
}

fn label(text: &str) -> Span<'static> {
    Span::styled(format!("{text:<LABEL$}"), QUIET)
}

/// Two digits for each byte, with spaces between them, two in the middle of the row.
fn push_bytes(spans: &mut Vec<Span<'static>>, bytes: impl Iterator<Item = (Option<u8>, Style)>) {
    for (n, (byte, style)) in bytes.enumerate() {
        if n > 0 {
            spans.push(Span::from(if n == 8 { "  " } else { " " }));
        }
        spans.push(Span::styled(byte.map_or("··".into(), |byte| format!("{byte:02x}")), style));
    }
}

/// The byte as an ASCII letter, or a dot.
fn letter(byte: Option<u8>) -> String {
    match byte {
        Some(byte @ b' '..=b'~') => char::from(byte).to_string(),
        Some(_) => ".".into(),
        None => " ".into(),
    }
}

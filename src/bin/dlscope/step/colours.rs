//! What colours mean here. All are of the terminal's own sixteen, so that its light or dark scheme holds.

use ratatui::style::{Color, Modifier, Style};

/// What explains, and may be skipped.
pub const QUIET: Style = Style::new().add_modifier(Modifier::DIM);
/// What to look at.
pub const STRONG: Style = Style::new().add_modifier(Modifier::BOLD);
/// Where we are.
pub const HERE: Style = Style::new().add_modifier(Modifier::REVERSED);
/// Names of symbols, and system calls.
pub const SYMBOL: Style = Style::new().fg(Color::Cyan);
/// What is there now, or was found.
pub const GOOD: Style = Style::new().fg(Color::Green);
/// What stood there before, or is missing.
pub const BAD: Style = Style::new().fg(Color::Red);

/// The fields of a structure, each a colour of its own, the same beside its name and in its bytes.
pub fn field(number: usize) -> Style {
    const WHEEL: [Color; 5] = [Color::Cyan, Color::Yellow, Color::Magenta, Color::Green, Color::Blue];
    Style::new().fg(WHEEL[number % WHEEL.len()])
}

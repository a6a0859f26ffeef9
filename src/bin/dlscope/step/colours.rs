//! The colours of `step`. All are of the terminal's own sixteen, so that they fit its light or dark scheme.

use ratatui::style::{Color, Modifier, Style};

/// For explanations, which a reader may skip.
pub const QUIET: Style = Style::new().add_modifier(Modifier::DIM);
/// For the most important text.
pub const STRONG: Style = Style::new().add_modifier(Modifier::BOLD);
/// For the current place.
pub const HERE: Style = Style::new().add_modifier(Modifier::REVERSED);
/// For names of symbols, and system calls.
pub const SYMBOL: Style = Style::new().fg(Color::Cyan);
/// For bytes after an event, and for success.
pub const GOOD: Style = Style::new().fg(Color::Green);
/// For bytes before an event, and for errors.
pub const BAD: Style = Style::new().fg(Color::Red);

/// The colour of a structure's field. The value of the field and its bytes have the same colour.
pub fn field(number: usize) -> Style {
    const WHEEL: [Color; 5] = [Color::Cyan, Color::Yellow, Color::Magenta, Color::Green, Color::Blue];
    Style::new().fg(WHEEL[number % WHEEL.len()])
}

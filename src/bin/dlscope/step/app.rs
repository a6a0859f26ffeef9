//! The state of the screen, and the effect of each key on it.

use ratatui::crossterm::event::{
    Event, KeyCode, KeyEvent, KeyEventKind, KeyModifiers, MouseButton, MouseEvent, MouseEventKind,
};
use ratatui::layout::Rect;
use tui_input::Input;
use tui_input::backend::crossterm::EventHandler as _;

use dlscope::elf::addr::{Addr, Vaddr};
use dlscope::event::Stage;

use super::quiz::Quiz;
use crate::walk::{Direction, Walk};

/// The mode, which decides what a key does.
pub enum Mode {
    /// Steps through events.
    Walk,
    /// The user types what to search for.
    Search,
    /// The user types where to go.
    Go,
    /// Shows the list of keys.
    Help,
    /// Shows memory from this address on.
    Memory(u64),
    /// Shows everything about one event, from this line on.
    Details(u16),
    /// Explains the words of one event, from this line on.
    Words(u16),
    /// Asks a question, or says whether the answer was right.
    Question,
}

/// The state of the program.
pub struct App {
    pub walk: Walk,
    pub mode: Mode,
    /// The text that the user types.
    pub input: Input,
    /// A message about the last key.
    pub message: Option<String>,
    pub quit: bool,
    /// The place of each stage on the screen, for clicks.
    pub stage_places: Vec<(Rect, Stage)>,
    /// How many rows of memory or text fit on the screen.
    pub rows: u16,
    /// The questions of `--quiz`.
    pub quiz: Option<Quiz>,
    searched: String,
}

impl App {
    pub fn new(walk: Walk, quiz: Option<Quiz>) -> App {
        App {
            walk,
            mode: Mode::Walk,
            input: Input::default(),
            message: None,
            quit: false,
            stage_places: Vec::new(),
            rows: 0,
            quiz,
            searched: String::new(),
        }
    }

    /// Carries out a key.
    pub fn key(&mut self, key: KeyEvent) {
        if key.kind == KeyEventKind::Release {
            return;
        }
        self.message = None;
        if key.modifiers.contains(KeyModifiers::CONTROL) && key.code == KeyCode::Char('c') {
            self.quit = true;
            return;
        }
        match self.mode {
            Mode::Search | Mode::Go => self.write(key),
            Mode::Question => self.answer(key),
            Mode::Help => self.mode = Mode::Walk,
            Mode::Memory(top) => self.look(key.code, top),
            Mode::Details(top) => self.read(key.code, top, Mode::Details),
            Mode::Words(top) => self.read(key.code, top, Mode::Words),
            Mode::Walk => self.step(key.code),
        }
    }

    /// Carries out a turn of the mouse wheel, or a click.
    pub fn mouse(&mut self, mouse: MouseEvent) {
        match mouse.kind {
            MouseEventKind::ScrollDown => self.by(1),
            MouseEventKind::ScrollUp => self.by(-1),
            MouseEventKind::Down(MouseButton::Left) => {
                let hit = |(place, _): &&(Rect, Stage)| place.contains((mouse.column, mouse.row).into());
                if let Some(&(_, stage)) = self.stage_places.iter().find(hit) {
                    let first = self.walk.events.iter().position(|event| event.stage == stage);
                    self.go(first, "");
                }
            }
            _ => {}
        }
    }

    fn step(&mut self, code: KeyCode) {
        match code {
            KeyCode::Right | KeyCode::Down | KeyCode::Char('l' | 'j' | ' ') if self.is_asked() => {
                self.ask(Mode::Question)
            }
            KeyCode::Right | KeyCode::Down | KeyCode::Char('l' | 'j' | ' ') => self.by(1),
            KeyCode::Left | KeyCode::Up | KeyCode::Char('h' | 'k') | KeyCode::Backspace => self.by(-1),
            KeyCode::PageDown => self.by(20),
            KeyCode::PageUp => self.by(-20),
            KeyCode::Home => self.walk.go(0),
            KeyCode::End => self.walk.go(usize::MAX),
            KeyCode::Char(']') => self.go(self.walk.stage(Direction::Forwards), "this is the last stage"),
            KeyCode::Char('[') => self.go(self.walk.stage(Direction::Backwards), "this is the first stage"),
            KeyCode::Char('n') => self.go(self.walk.alike(Direction::Forwards), "no later event of this type"),
            KeyCode::Char('N') => self.go(self.walk.alike(Direction::Backwards), "no earlier event of this type"),
            KeyCode::Char('/') => self.ask(Mode::Search),
            KeyCode::Char('g') => self.ask(Mode::Go),
            KeyCode::Char('m') => self.open_memory(),
            KeyCode::Enter => self.mode = Mode::Details(0),
            KeyCode::Tab => self.next_question(),
            KeyCode::Char('w') => self.mode = Mode::Words(0),
            KeyCode::Char('?') => self.mode = Mode::Help,
            KeyCode::Char('q') | KeyCode::Esc => self.quit = true,
            _ => {}
        }
    }

    fn by(&mut self, events: isize) {
        let to = self.walk.at().saturating_add_signed(events);
        if to == self.walk.at() || to >= self.walk.len() && self.walk.at() + 1 == self.walk.len() {
            self.message = Some(if events < 0 { "this is the first event" } else { "this is the last event" }.into());
        }
        self.walk.go(to);
    }

    fn go(&mut self, to: Option<usize>, otherwise: &str) {
        match to {
            Some(to) => self.walk.go(to),
            None => self.message = Some(otherwise.into()),
        }
    }

    /// Whether a question comes before the next event.
    fn is_asked(&mut self) -> bool {
        let next = self.walk.at() + 1;
        self.quiz.as_mut().is_some_and(|quiz| quiz.before(next))
    }

    /// Goes to the event before the next question, and asks it.
    fn next_question(&mut self) {
        let at = self.walk.at();
        let next = self.quiz.as_mut().and_then(|quiz| quiz.next(at));
        match next {
            Some(next) => {
                self.walk.go(next.saturating_sub(1));
                self.ask(Mode::Question);
            }
            None if self.quiz.is_some() => self.message = Some("no question is left".into()),
            None => self.message = Some("there are questions with --quiz".into()),
        }
    }

    /// Carries out a key on the page of a question.
    fn answer(&mut self, key: KeyEvent) {
        let Some(quiz) = &mut self.quiz else { return self.mode = Mode::Walk };
        let done = match key.code {
            KeyCode::Esc => Some(quiz.pass()),
            KeyCode::Enter => match quiz.enter(self.input.value()) {
                Ok(done) => done,
                Err(message) => return self.message = Some(message),
            },
            // Once the answer is judged, the keys that lead to the next event do so.
            KeyCode::Right | KeyCode::Char(' ') if !quiz.is_open() => quiz.enter("").unwrap_or_default(),
            _ if quiz.is_open() => {
                self.input.handle_event(&Event::Key(key));
                None
            }
            _ => None,
        };
        let Some(to) = done else { return };
        if quiz.before(to) {
            return self.ask(Mode::Question);
        }
        self.mode = Mode::Walk;
        self.walk.go(to);
    }

    fn ask(&mut self, mode: Mode) {
        self.mode = mode;
        self.input.reset();
    }

    /// Carries out a key while the user types.
    fn write(&mut self, key: KeyEvent) {
        match key.code {
            KeyCode::Esc => self.mode = Mode::Walk,
            KeyCode::Enter => {
                let text = self.input.value().trim().to_string();
                if matches!(std::mem::replace(&mut self.mode, Mode::Walk), Mode::Search) {
                    self.search(text);
                } else {
                    self.go_to(&text);
                }
            }
            _ => {
                self.input.handle_event(&Event::Key(key));
            }
        }
    }

    /// Searches for a text; for the last one again if it is empty.
    fn search(&mut self, text: String) {
        if !text.is_empty() {
            self.searched = text;
        }
        if !self.searched.is_empty() {
            let found = self.walk.find(&self.searched);
            self.go(found, &format!("no event contains {:?}", self.searched));
        }
    }

    /// Goes to an event number (`61`), or to the next event that changes the byte at an address (`0x7f…`,
    /// `libadd.so+0x4010`).
    fn go_to(&mut self, text: &str) {
        if let Ok(number) = text.trim_start_matches('#').parse::<usize>() {
            return self.walk.go(number.saturating_sub(1));
        }
        match self.address(text) {
            Some(address) => {
                self.go(self.walk.touching(address), &format!("no event changes the byte at {address:#x}"));
            }
            None if text.is_empty() => {}
            None => self.message = Some(format!("{text:?} is no event number, address, or object+offset")),
        }
    }

    fn address(&self, text: &str) -> Option<u64> {
        let number = |text: &str| u64::from_str_radix(text.strip_prefix("0x")?, 16).ok();
        if let Some((name, offset)) = text.rsplit_once('+') {
            let bias = self.walk.atlas.named_object(name)?.bias?;
            return Some((bias + Vaddr(number(offset)?)).0);
        }
        number(text)
    }

    /// Carries out a key on a page about one event. Another event is shown from its first line on.
    fn read(&mut self, code: KeyCode, top: u16, page: fn(u16) -> Mode) {
        self.mode = page(match code {
            KeyCode::Right | KeyCode::Left | KeyCode::Char(']' | '[' | 'n' | 'N') => {
                self.step(code);
                0
            }
            KeyCode::Enter | KeyCode::Esc | KeyCode::Char('q' | 'w') => return self.mode = Mode::Walk,
            _ => top.saturating_add_signed(self.scroll(code)),
        });
    }

    /// How many rows a key scrolls.
    fn scroll(&self, code: KeyCode) -> i16 {
        let page = self.rows.max(2) as i16 - 1;
        match code {
            KeyCode::Down | KeyCode::Char('j') => 1,
            KeyCode::Up | KeyCode::Char('k') => -1,
            KeyCode::PageDown | KeyCode::Char(' ') => page,
            KeyCode::PageUp => -page,
            _ => 0,
        }
    }

    /// Shows the memory that the event is about, or else that of the first object.
    fn open_memory(&mut self) {
        let touched = self.walk.touched(self.walk.at()).map(|(from, _)| from.0);
        let first = || self.walk.memory().pages().next().map(|(at, _)| at.0);
        match touched.filter(|&at| self.walk.memory().page(Addr(at)).is_some()).or_else(first) {
            Some(at) => {
                // A few rows above that memory are shown, too, if they are mapped.
                let above = (at & !15).saturating_sub(16 * 4);
                let is_mapped = self.walk.memory().page(Addr(above)).is_some();
                self.mode = Mode::Memory(if is_mapped { above } else { at & !15 });
            }
            None => self.message = Some("no object is mapped at this event".into()),
        }
    }

    /// Carries out a key on the page of memory.
    fn look(&mut self, code: KeyCode, top: u64) {
        match code {
            KeyCode::Right | KeyCode::Left | KeyCode::Char(']' | '[' | 'n' | 'N') => self.step(code),
            KeyCode::Char('m') => self.open_memory(),
            KeyCode::Esc | KeyCode::Char('q') => self.mode = Mode::Walk,
            _ => self.mode = Mode::Memory(top.saturating_add_signed(16 * i64::from(self.scroll(code)))),
        }
    }
}

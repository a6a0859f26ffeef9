//! A program on a terminal: a pty that it writes to, and an emulator that says what stands on the screen.

use std::io::{Read as _, Write};
use std::num::NonZeroU16;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use portable_pty::{Child, CommandBuilder, ExitStatus, MasterPty, PtySize, native_pty_system};

/// How long a screen may take to appear. Not a measure of speed: only a way out.
const PATIENCE: Duration = Duration::from_secs(60);

/// A running program and its screen.
pub struct Terminal {
    screen: Arc<Screen>,
    pty: Box<dyn MasterPty + Send>,
    keyboard: Box<dyn Write + Send>,
    child: Box<dyn Child + Send + Sync>,
}

struct Screen {
    parser: Mutex<vt100::Parser>,
    changed: Condvar,
}

impl Terminal {
    /// Starts `dlscope` with these arguments on a terminal of this size.
    pub fn start(arguments: &[&str], columns: u16, rows: u16) -> Terminal {
        let pair = native_pty_system().openpty(size(columns, rows)).unwrap();
        let mut command = CommandBuilder::new(env!("CARGO_BIN_EXE_dlscope"));
        command.args(arguments);
        command.cwd(env!("CARGO_MANIFEST_DIR"));
        command.env("TERM", "xterm-256color");
        command.env_remove("NO_COLOR");
        let child = pair.slave.spawn_command(command).unwrap();
        let screen = Arc::new(Screen {
            parser: Mutex::new(vt100::Parser::new(at_least_one(rows), at_least_one(columns), 0)),
            changed: Condvar::new(),
        });
        let mut output = pair.master.try_clone_reader().unwrap();
        let keyboard = pair.master.take_writer().unwrap();
        let seen = screen.clone();
        thread::spawn(move || {
            let (mut buffer, mut pending) = ([0; 4096], Vec::new());
            while let Ok(length @ 1..) = output.read(&mut buffer) {
                pending.extend_from_slice(&buffer[..length]);
                let whole = whole_frames(&pending);
                seen.parser.lock().unwrap_or_else(PoisonError::into_inner).process(&pending[..whole]);
                pending.drain(..whole);
                seen.changed.notify_all();
            }
        });
        Terminal { screen, pty: pair.master, keyboard, child }
    }

    /// Types, as it comes from a keyboard.
    pub fn press(&mut self, keys: &str) {
        self.keyboard.write_all(keys.as_bytes()).unwrap();
        self.keyboard.flush().unwrap();
    }

    /// Waits until the screen holds `text`, and gives it.
    pub fn wait_for(&self, text: &str) -> String {
        self.wait(text, |screen| screen.contains(text))
    }

    /// Waits until the screen is as `wanted`, which `what` describes.
    pub fn wait(&self, what: &str, wanted: impl Fn(&str) -> bool) -> String {
        let start = Instant::now();
        let mut parser = self.screen.parser.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            let contents = text(parser.screen());
            if wanted(&contents) {
                return contents;
            }
            assert!(start.elapsed() < PATIENCE, "{what:?} did not appear; on the screen stands:\n{contents}");
            let waited = self.screen.changed.wait_timeout(parser, Duration::from_millis(200));
            parser = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// The terminal gets another size.
    pub fn resize(&mut self, columns: u16, rows: u16) {
        let mut parser = self.screen.parser.lock().unwrap_or_else(PoisonError::into_inner);
        parser.screen_mut().set_size(at_least_one(rows), at_least_one(columns));
        drop(parser);
        self.pty.resize(size(columns, rows)).unwrap();
    }

    /// The process on it.
    pub fn process(&self) -> i32 {
        self.child.process_id().unwrap() as i32
    }

    /// Waits for the program to end; with what stands on the screen then, and whether the screen is the ordinary one
    /// again, with a cursor.
    pub fn end(mut self) -> (ExitStatus, String, bool) {
        let status = self.child.wait().unwrap();
        let ordinary = |screen: &vt100::Screen| !screen.alternate_screen() && !screen.hide_cursor();
        let start = Instant::now();
        loop {
            let parser = self.screen.parser.lock().unwrap_or_else(PoisonError::into_inner);
            let (contents, restored) = (text(parser.screen()), ordinary(parser.screen()));
            drop(parser);
            // The last bytes may still be on their way.
            if restored || start.elapsed() > Duration::from_secs(5) {
                thread::sleep(Duration::from_millis(100));
                let parser = self.screen.parser.lock().unwrap_or_else(PoisonError::into_inner);
                return (status, if restored { text(parser.screen()) } else { contents }, restored);
            }
            thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        // A test that failed leaves nothing running.
        let _ = self.child.kill();
    }
}

/// How much of what was written may be shown: not a frame of which only the beginning is there (synchronized output,
/// DEC private mode 2026).
fn whole_frames(written: &[u8]) -> usize {
    let last = |mark: &[u8]| written.windows(mark.len()).rposition(|part| part == mark);
    match (last(b"\x1b[?2026h"), last(b"\x1b[?2026l")) {
        (Some(begin), end) if end.is_none_or(|end| end < begin) => begin,
        _ => written.len(),
    }
}

/// What stands on the screen, without spaces at the ends of lines: a terminal need not tell them from nothing.
fn text(screen: &vt100::Screen) -> String {
    screen.contents().lines().map(|line| line.trim_end().to_string() + "\n").collect()
}

fn at_least_one(size: u16) -> NonZeroU16 {
    NonZeroU16::new(size).expect("a terminal has rows and columns")
}

fn size(columns: u16, rows: u16) -> PtySize {
    PtySize { rows, cols: columns, pixel_width: 0, pixel_height: 0 }
}

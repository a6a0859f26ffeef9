//! How a run of `trace` is told: as text for people, or as JSON lines for programs.

use std::io::{self, Write as _};
use std::time::Duration;

use dlscope::event::{Arrival, Event, Kind, STREAM_VERSION};

use crate::Failure;
use crate::fixture_call::FixtureCall;
use crate::narrate::{Teller, View};
use crate::page::{Page, bad, count, dim, good, heading, symbol, thousands};
use crate::subject::Target;
use crate::trace::{Args, Format};

/// Text or JSON.
pub enum Telling {
    Text(Box<Text>),
    Json(io::BufWriter<io::Stdout>),
}

/// What the text needs to know besides the events.
pub struct Text {
    teller: Teller,
    subject: String,
    teaches: Option<String>,
    symbol: Option<String>,
    ran: bool,
    calls: usize,
}

impl Telling {
    /// Nothing is told yet; of JSON, the first line.
    pub fn begin(args: &Args, target: &Target) -> io::Result<Telling> {
        if args.format == Format::Json {
            let mut out = io::BufWriter::new(io::stdout());
            let header = Header {
                stream: "dlscope",
                version: STREAM_VERSION,
                dlscope: env!("CARGO_PKG_VERSION"),
                library: &target.name(),
                run: !args.subject.no_run,
            };
            serde_json::to_writer(&mut out, &header)?;
            out.write_all(b"\n")?;
            return Ok(Telling::Json(out));
        }
        let view = View { all: args.all, symbol: args.symbol.clone(), explain: args.explain };
        let (subject, teaches) = match target {
            Target::Library(name) => (name.clone(), None),
            Target::Fixture(fixture, _) => {
                let remark = fixture.remark().map_or(String::new(), |remark| format!(" ({remark})"));
                (fixture.main.to_string(), Some(format!("fixture {}: {}{remark}", fixture.name, fixture.teaches)))
            }
        };
        let teller = Teller::new(Page::stdout(), view);
        let text = Text { teller, subject, teaches, symbol: args.symbol.clone(), ran: !args.subject.no_run, calls: 0 };
        Ok(Telling::Text(Box::new(text)))
    }

    /// The load, whether it went well or not.
    pub fn load(&mut self, events: &[Event], took: Duration, printed: &str) -> io::Result<()> {
        match self {
            Telling::Json(out) => json(out, events, printed),
            Telling::Text(text) => {
                text.summary(events, took);
                text.teller.tell(events);
                text.printed(printed);
                Ok(())
            }
        }
    }

    /// One call of a fixture.
    pub fn call(
        &mut self,
        call: &str,
        events: &[Event],
        result: &Result<String, Failure>,
        printed: &str,
    ) -> io::Result<()> {
        match self {
            Telling::Json(out) => json(out, events, printed),
            Telling::Text(text) => {
                text.call(call, events, result, printed);
                Ok(())
            }
        }
    }

    /// The end of the library.
    pub fn close(&mut self, events: &[Event], printed: &str) -> io::Result<()> {
        match self {
            Telling::Json(out) => json(out, events, printed),
            Telling::Text(text) => {
                text.teller.tell(events);
                text.printed(printed);
                Ok(())
            }
        }
    }

    /// What the system's loader did with the same file.
    pub fn verdict(&mut self, line: impl FnOnce() -> String) {
        if let Telling::Text(text) = self {
            // Whoever asks about one symbol has the answer already.
            if text.symbol.is_none() {
                text.teller.page.gap();
                text.teller.page.raw(&line());
            }
        }
    }

    /// The last words, and the first error that writing met.
    pub fn finish(self, well: bool) -> io::Result<()> {
        match self {
            Telling::Json(mut out) => out.flush(),
            Telling::Text(text) => text.finish(well),
        }
    }
}

/// The first line of the stream.
#[derive(serde::Serialize)]
struct Header<'h> {
    stream: &'static str,
    version: u32,
    dlscope: &'static str,
    library: &'h str,
    run: bool,
}

/// Events as JSON lines. What the library printed must not come between them: it goes to standard error.
fn json(out: &mut impl io::Write, events: &[Event], printed: &str) -> io::Result<()> {
    io::stderr().write_all(printed.as_bytes())?;
    for event in events {
        serde_json::to_writer(&mut *out, event)?;
        out.write_all(b"\n")?;
    }
    Ok(())
}

impl Text {
    /// The first lines: what, how big, how long.
    fn summary(&mut self, events: &[Event], took: Duration) {
        let file_length = events.iter().find_map(|event| match &event.kind {
            Kind::Header { file_length, .. } => Some(*file_length),
            _ => None,
        });
        let name = self.subject.rsplit('/').next().unwrap_or_default();
        let mut parts = vec![heading(name)];
        parts.extend(file_length.map(|length| format!("{} bytes", thousands(length))));
        parts.extend(Some(objects(events)).filter(|text| !text.is_empty()));
        let failed = events.iter().any(|event| matches!(event.kind, Kind::End { error: Some(_) }));
        let verb = if failed {
            "given up after"
        } else if self.ran {
            "loaded in"
        } else {
            "prepared in"
        };
        let milliseconds = took.as_secs_f64() * 1e3;
        parts.push(format!("{verb} {milliseconds:.2} ms, slower now because you are watching"));
        let page = &mut self.teller.page;
        page.raw(&parts.join(" · "));
        if let Some(teaches) = &self.teaches {
            page.raw(&dim(teaches));
        }
    }

    fn call(&mut self, text: &str, events: &[Event], result: &Result<String, Failure>, printed: &str) {
        let Ok(call) = FixtureCall::parse(text) else { return };
        self.teller.tell(events);
        if self.symbol.is_some() {
            return;
        }
        self.calls += 1;
        let page = &mut self.teller.page;
        page.label("call".into());
        let result = match result {
            Ok(result) => result.clone(),
            Err(_) => return page.line(bad(&format!("{} cannot be called", call.shown()))),
        };
        let verdict = match &call.expected {
            Some(expected) if *expected == result => good("as it should be"),
            Some(expected) => bad(&format!("expected {expected}")),
            None => String::new(),
        };
        page.line(format!("{} = {}  {verdict}", symbol(&call.shown()), heading(&result)));
        self.printed(printed);
    }

    fn printed(&mut self, printed: &str) {
        if self.symbol.is_none() {
            for line in printed.lines() {
                self.teller.page.note("it prints");
                self.teller.page.line(line);
            }
        }
    }

    /// The last lines: what to look at next.
    fn finish(mut self, well: bool) -> io::Result<()> {
        let page = &mut self.teller.page;
        match &self.symbol {
            Some(name) if self.teller.told_about_symbol == 0 => {
                page.gap();
                let hint = "names are as readelf --dyn-syms shows them, without a version";
                page.raw(&format!("No lookup and no relocation of this load names {name:?}; {hint}."));
            }
            Some(_) => {}
            None if well => {
                page.gap();
                let asked = if self.teaches.is_some() { String::new() } else { format!(" {}", self.subject) };
                let next = format!("dlscope trace{asked} with --all, --symbol NAME, --explain or --format json");
                page.raw(&dim(&format!("More: {next}. To check the numbers: readelf -ldrW, strace.")));
            }
            None => page.gap(),
        }
        self.teller.page.finish()
    }
}

/// `2 objects mapped, 3 adopted · 118 relocations`.
fn objects(events: &[Event]) -> String {
    let mapped = events.iter().filter(|e| matches!(e.kind, Kind::Planned { .. })).count();
    let mut adopted: Vec<u32> = Vec::new();
    for event in events {
        if let Kind::Needed { object, how: Arrival::Adopted, .. } = &event.kind {
            adopted.push(object.id);
        }
    }
    adopted.sort_unstable();
    adopted.dedup();
    let relocations = events.iter().filter(|e| matches!(e.kind, Kind::Relocation { .. })).count();
    if mapped == 0 {
        return String::new();
    }
    let adopted = if adopted.is_empty() { String::new() } else { format!(", {} adopted", adopted.len()) };
    format!("{} mapped{adopted} · {}", count(mapped as u64, "object"), count(relocations as u64, "relocation"))
}

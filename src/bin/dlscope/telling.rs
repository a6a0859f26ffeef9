//! The output of `trace`: text for people, or JSON lines for programs.

use std::collections::HashSet;
use std::io::{self, Write as _};
use std::time::Duration;

use dlscope::event::{Arrival, Event, Kind, STREAM_VERSION};

use crate::Failure;
use crate::bytes::shown;
use crate::fixture_call::FixtureCall;
use crate::narrate::{Teller, View};
use crate::page::{Page, bad, count, dim, good, heading, short, symbol, thousands};
use crate::subject::{Format, Phase, Target};
use crate::trace::Args;

/// The output of `trace`, in one of its formats.
pub enum Telling {
    Text(Box<TextTelling>),
    Json(io::BufWriter<io::Stdout>),
}

/// The output as text, and what it needs besides the events.
pub struct TextTelling {
    teller: Teller,
    subject: String,
    teaches: Option<String>,
    symbol: Option<String>,
    ran: bool,
}

impl Telling {
    /// Begins the output. For JSON it writes the first line.
    pub fn begin(args: &Args, target: &Target) -> io::Result<Telling> {
        if args.format == Format::Json {
            let mut out = io::BufWriter::new(io::stdout());
            let header = Header {
                stream: "dlscope",
                version: STREAM_VERSION,
                dlscope: env!("CARGO_PKG_VERSION"),
                library: &shown(target.name()),
                run: !args.subject.no_run,
            };
            serde_json::to_writer(&mut out, &header)?;
            out.write_all(b"\n")?;
            return Ok(Telling::Json(out));
        }
        let (subject, shows, teaches) = match target {
            Target::Library(name) => (shown(name), &[][..], None),
            Target::Fixture(fixture, _) => {
                let remark = fixture.remark().map_or(String::new(), |remark| format!(" ({remark})"));
                (
                    fixture.main.to_string(),
                    fixture.shows,
                    Some(format!("fixture {}: {}{remark}", fixture.name, fixture.teaches)),
                )
            }
        };
        let view = View { all: args.all, symbol: args.symbol.clone(), shows, explain: args.explain };
        let teller = Teller::new(Page::stdout(), view);
        let text = TextTelling { teller, subject, teaches, symbol: args.symbol.clone(), ran: !args.subject.no_run };
        Ok(Telling::Text(Box::new(text)))
    }

    /// Tells a phase of the run, with its events and what the loaded code printed meanwhile.
    pub fn part(&mut self, part: &Phase<'_>, events: &[Event], printed: &str) -> io::Result<()> {
        match self {
            Telling::Json(out) => json(out, events, printed),
            Telling::Text(text) => {
                text.part(part, events, printed);
                Ok(())
            }
        }
    }

    /// The result of the comparison with the system's loader.
    pub fn verdict(&mut self, line: impl FnOnce() -> String) {
        if let Telling::Text(text) = self {
            // A user who asks for one symbol has the answer already.
            if text.symbol.is_none() {
                text.teller.page.gap();
                text.teller.page.raw(&line());
            }
        }
    }

    /// Ends the output. Returns the first error of writing.
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

/// Events as JSON lines. What the library printed goes to standard error, so that it does not come between them.
fn json(out: &mut impl io::Write, events: &[Event], printed: &str) -> io::Result<()> {
    io::stderr().write_all(printed.as_bytes())?;
    for event in events {
        serde_json::to_writer(&mut *out, event)?;
        out.write_all(b"\n")?;
    }
    Ok(())
}

impl TextTelling {
    fn part(&mut self, part: &Phase<'_>, events: &[Event], printed: &str) {
        if let Phase::Load { took } = part {
            self.summary(events, *took);
        }
        self.teller.tell(events);
        if self.symbol.is_some() {
            return;
        }
        if let Phase::Call { text, result } = part {
            self.call(text, result);
        }
        for line in printed.lines() {
            self.teller.page.note("it prints");
            self.teller.page.line(line);
        }
    }

    /// The first line: the library, its size, and how long the load took.
    fn summary(&mut self, events: &[Event], took: Duration) {
        let file_length = events.iter().find_map(|event| match &event.kind {
            Kind::Header { file_length, .. } => Some(*file_length),
            _ => None,
        });
        let name = short(&self.subject);
        let mut parts = vec![heading(name)];
        parts.extend(file_length.map(|length| format!("{} bytes", thousands(length))));
        parts.extend(Some(objects(events)).filter(|text| !text.is_empty()));
        let end = events.iter().rev().find_map(|event| match &event.kind {
            Kind::End { error } if event.parent.is_none() => Some(error.is_some()),
            _ => None,
        });
        let verb = if end == Some(true) {
            "failed after"
        } else if end.is_none() {
            "came to no end after"
        } else if self.ran {
            "loaded in"
        } else {
            "prepared in"
        };
        let milliseconds = took.as_secs_f64() * 1e3;
        parts.push(format!("{verb} {milliseconds:.2} ms, slower than without a trace"));
        let page = &mut self.teller.page;
        page.raw(&parts.join(" · "));
        if let Some(teaches) = &self.teaches {
            page.raw(&dim(teaches));
        }
    }

    fn call(&mut self, text: &str, result: &Result<String, Failure>) {
        let Ok(call) = FixtureCall::parse(text) else { return };
        let page = &mut self.teller.page;
        page.label("call".into());
        let Ok(result) = result else { return page.line(bad(&format!("{} cannot be called", call.shown()))) };
        let verdict = match &call.expected {
            Some(expected) if expected == result => good("as it should be"),
            Some(expected) => bad(&format!("expected {expected}")),
            None => String::new(),
        };
        page.line(format!("{} = {}  {verdict}", symbol(&call.shown()), heading(result)));
    }

    /// The last lines, which say what to look at next.
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
    let adopted: HashSet<u32> = events
        .iter()
        .filter_map(|event| match &event.kind {
            Kind::Needed { object, how: Arrival::Adopted, .. } => Some(object.id),
            _ => None,
        })
        .collect();
    let relocations = events.iter().filter(|e| matches!(e.kind, Kind::Relocation { .. })).count();
    if mapped == 0 {
        return String::new();
    }
    let adopted = if adopted.is_empty() { String::new() } else { format!(", {} adopted", adopted.len()) };
    format!("{} mapped{adopted} · {}", count(mapped as u64, "object"), count(relocations as u64, "relocation"))
}

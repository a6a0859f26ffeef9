//! One sentence about an event, with the names and numbers of this very one.

use dlscope::elf::addr::Addr;
use dlscope::elf::plan::Step;
use dlscope::event::{Arrival, Asked, Event, Kind, Outcome, ProtectReason, Purpose, SameBy, Tag, VersionOutcome};

use super::Walk;
use crate::page::{count, thousands};

impl Walk {
    /// The sentence for event `at`.
    pub fn sentence(&self, at: usize) -> String {
        let event = &self.events[at];
        let object = event.object.as_ref().map_or("the object", Tag::short);
        match &event.kind {
            Kind::Relocation { .. }
            | Kind::Deferred { .. }
            | Kind::LazyGot { .. }
            | Kind::LeftForCall { .. }
            | Kind::FirstCall { .. }
            | Kind::Store { .. }
            | Kind::Lookup { .. }
            | Kind::Scope { .. }
            | Kind::Pass { .. }
            | Kind::Relocated { .. }
            | Kind::Version { .. } => self.linking(at, object),
            Kind::Reserve { .. }
            | Kind::MapWhole { .. }
            | Kind::Populate { .. }
            | Kind::Placed { .. }
            | Kind::Map { .. }
            | Kind::MapZero { .. }
            | Kind::Zero { .. }
            | Kind::Protect { .. }
            | Kind::Changed { .. }
            | Kind::Unmap { .. }
            | Kind::StaticTls { .. }
            | Kind::InstallTls { .. } => self.memory_act(&event.kind, object),
            kind => self.happening(event, kind, object),
        }
    }

    /// Files, headers, requests and calls.
    fn happening(&self, event: &Event, kind: &Kind, object: &str) -> String {
        match kind {
            Kind::Begin { request, name, .. } => asked(*request, name),
            Kind::End { error: None } => "The request is done.".into(),
            Kind::End { error: Some(error) } => format!("The request failed: {}.", error.trim_end_matches('.')),
            Kind::Fault { error } => {
                format!("Here the load would end: {}", error.to_string().lines().next().unwrap_or_default())
            }
            Kind::Known { name, by } => format!("{name} is here already: the same {}.", same(*by)),
            Kind::Search { name, needed_by: None } => format!("Search the file for {name}."),
            Kind::Search { name, needed_by: Some(by) } => format!("Search the file for {name}, which {by} needs."),
            Kind::Rule { rule, dirs } if dirs.is_empty() => format!("The rule “{rule}” gives nothing."),
            Kind::Rule { rule, dirs } => {
                format!("The rule “{rule}” gives {}: {}.", count(dirs.len() as u64, "place"), dirs.join(", "))
            }
            Kind::Try { path, outcome: Outcome::Found, .. } => format!("{path} is the file."),
            Kind::Try { path, outcome: Outcome::Missing(errno), .. } => format!("{path} is not it: {errno}."),
            Kind::Try { path, outcome: Outcome::Passed(why), .. } => format!("{path} is passed over: {why}."),
            Kind::Open { path, fd: Ok(fd) } => format!("Open {path}: descriptor {fd}."),
            Kind::Open { path, fd: Err(errno) } => format!("Open {path}: {errno}."),
            Kind::Stat { length, .. } => format!("The file is {} bytes long.", thousands(*length)),
            Kind::MemoryFile { name, .. } => format!("Make a file in memory for {name}."),
            Kind::View { length, .. } => format!("Look into the cache of ld.so, {} bytes.", thousands(*length)),
            Kind::CloseFile { fd } => format!("Close descriptor {fd}."),
            Kind::Read { got, offset, .. } => {
                format!("Read {} bytes from offset {offset} of the file.", thousands(*got))
            }
            Kind::Header { e_type, e_machine, .. } => format!("The file header is accepted: {e_type}, {e_machine}."),
            Kind::ProgramHeader { name, segment, .. } => format!(
                "Program header {}, {name}: {:#x} bytes at {}, {}.",
                segment.index, segment.memsz, segment.vaddr, segment.flags
            ),
            Kind::Planned { plan } => {
                let maps =
                    plan.steps.iter().filter(|s| matches!(s, Step::File { .. } | Step::Anonymous { .. })).count();
                format!("{object} needs {} in {}.", count(plan.length() / 4096, "page"), count(maps as u64, "mapping"))
            }
            Kind::DynamicEntry { tag, text: Some(text), .. } => format!("{object} says {tag} “{text}”."),
            Kind::DynamicEntry { tag, value, .. } => format!("{object} says {tag} {value}."),
            Kind::Tables { symbols, hash, .. } => {
                format!("{object} has {}, found through {hash}.", count(*symbols, "symbol"))
            }
            Kind::Needed { object: provider, how, .. } => format!("{object} needs {provider}: {}.", arrival(*how)),
            Kind::Publish { objects } => format!("{} can be found by others from here on.", names(objects)),
            Kind::RegisterFrames { address } => format!("Tell the unwinder of {object}'s .eh_frame at {address}."),
            Kind::Order { objects } => format!("The order: {}.", names(objects)),
            Kind::Call { address, purpose } => format!("Call {}.", self.callee(*address, purpose)),
            Kind::Return { address, value: Some(value) } => {
                format!("{} returns {}.", self.named(*address), self.named(*value))
            }
            Kind::Return { address, value: None } => format!("{} returns.", self.named(*address)),
            Kind::Release { opens } => format!("One use of {object} ends, {opens} left."),
            Kind::Unneeded { objects } => format!("Nothing needs {} any more.", names(objects)),
            Kind::Host { objects } => format!("{} were in the process before.", count(objects.len() as u64, "object")),
            Kind::Adopt { address, .. } => format!("{object} lies at {address}, and is used as it is."),
            _ => format!("{}.", event.kind.name()),
        }
    }

    /// What happens to the memory of an object, except for single words.
    fn memory_act(&self, kind: &Kind, object: &str) -> String {
        match kind {
            Kind::Reserve { length, .. } => format!("Reserve {} for {object}.", pages(*length)),
            Kind::MapWhole { length, .. } => {
                format!("Map {} of {object}'s file at once: room for all of it, and its first segment.", pages(*length))
            }
            Kind::Populate { length, .. } => format!("Take the page faults of {} of {object} at once.", pages(*length)),
            Kind::Placed { bias, .. } => format!("{object} lies at B = {bias}: its load bias."),
            Kind::Map { length, offset, prot, .. } => {
                format!("Map {} of {object} from offset {offset} of the file, {prot}.", pages(*length))
            }
            Kind::MapZero { length, prot, .. } => format!("Map {} of zeros for {object}, {prot}.", pages(*length)),
            Kind::Zero { length, .. } => format!("Set {} bytes of {object} to zero.", thousands(*length)),
            Kind::Protect { length, prot, reason, .. } => {
                format!("Make {} of {object} {prot}: {}.", pages(*length), protect(*reason))
            }
            Kind::Changed { address, after, .. } => {
                format!("That code changed {} at {}.", count(after.0.len() as u64, "byte"), self.named(*address))
            }
            Kind::Unmap { length, error: None, .. } => format!("Unmap {} of {object}.", pages(*length)),
            Kind::Unmap { error: Some(error), .. } => format!("{object} cannot be unmapped: {error}."),
            Kind::StaticTls { length, left, .. } => {
                format!("{object} gets {} bytes of every thread's arena; {left} are left.", thousands(*length))
            }
            Kind::InstallTls { threads, .. } => {
                format!(
                    "{object}'s thread-local variables get their first values, in this thread and {threads} others."
                )
            }
            _ => String::new(),
        }
    }

    /// An address with whatever is known about it: `libadd.so+0x1119  twice`.
    pub fn named(&self, address: Addr) -> String {
        self.atlas.describe(address).unwrap_or_else(|| address.to_string())
    }

    fn callee(&self, address: Addr, purpose: &Purpose) -> String {
        let arguments = match purpose {
            Purpose::Init | Purpose::InitArray(_) => "(argc, argv, envp)",
            Purpose::FiniArray(_) | Purpose::Fini => "()",
            Purpose::Resolver => "",
        };
        format!("{purpose}{arguments} at {}", self.named(address))
    }
}

fn asked(request: Asked, name: &str) -> String {
    match request {
        Asked::Open => format!("Open {name}."),
        Asked::Prepare => format!("Load {name}, but run none of its code."),
        Asked::Inspect => format!("Load {name} as far as it goes, and say what would end the load."),
        Asked::Lookup => format!("Look up {name}."),
        Asked::Close => format!("Close {name}."),
        Asked::Bind => format!("Bind {name}, which is called for the first time."),
        Asked::Exit => "The process ends.".into(),
    }
}

fn same(by: SameBy) -> &'static str {
    match by {
        SameBy::Name => "name",
        SameBy::Soname => "DT_SONAME",
        SameBy::Inode => "device and inode",
    }
}

fn arrival(how: Arrival) -> &'static str {
    match how {
        Arrival::Adopted => "it was in the process before, and is adopted",
        Arrival::Loaded => "an earlier open loaded it",
        Arrival::Shared => "somebody here needed it before",
        Arrival::New => "it must be mapped",
    }
}

fn protect(reason: ProtectReason) -> &'static str {
    match reason {
        ProtectReason::Plan => "its bss is zeroed",
        ProtectReason::TextOpen => "relocations write there (DT_TEXTREL)",
        ProtectReason::TextShut => "the relocations are done",
        ProtectReason::Relro => "only the loader had to write there (PT_GNU_RELRO)",
        ProtectReason::Abandoned => "it could not be unmapped",
    }
}

/// What came of looking for a version.
pub fn version(outcome: VersionOutcome) -> &'static str {
    match outcome {
        VersionOutcome::Provided => "it is there",
        VersionOutcome::ProviderHasNone => "it has no versions at all, which is accepted",
        VersionOutcome::WeakAndMissing => "it is missing, but the need is weak",
        VersionOutcome::Missing => "it is missing, so the load fails",
    }
}

fn pages(length: u64) -> String {
    count(length.div_ceil(4096), "page")
}

/// The names of objects, not too many of them.
pub fn names(tags: &[Tag]) -> String {
    let shown: Vec<_> = tags.iter().take(6).map(Tag::short).collect();
    let more = if tags.len() > 6 { format!(" and {} more", tags.len() - 6) } else { String::new() };
    format!("{}{more}", shown.join(", "))
}

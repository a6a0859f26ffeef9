//! One sentence about an event, with its names and numbers.

use dlscope::elf::addr::Addr;
use dlscope::elf::plan::Step;
use dlscope::event::{Arrival, Asked, Kind, Outcome, ProtectReason, Purpose, SameBy, Tag, VersionOutcome};

use super::Walk;
use crate::page::{count, few, thousands};

impl Walk {
    /// The sentence for event `at`.
    pub fn sentence(&self, at: usize) -> String {
        let event = &self.events[at];
        let object = event.object.as_ref().map_or("the object", Tag::short);
        let of_linking = self.linking(at, object).or_else(|| self.memory_act(&event.kind, object));
        of_linking.or_else(|| self.happening(&event.kind, object)).unwrap_or_else(|| format!("{}.", event.kind.name()))
    }

    /// The sentence for an event about a file, a header, a request or a call.
    fn happening(&self, kind: &Kind, object: &str) -> Option<String> {
        Some(match kind {
            Kind::Begin { request, name, .. } => asked(*request, name),
            Kind::End { error: None } => "The request is done.".into(),
            Kind::End { error: Some(error) } => format!("The request failed: {}.", error.trim_end_matches('.')),
            Kind::Fault { error } => {
                format!("A load would end here: {}", error.to_string().lines().next().unwrap_or_default())
            }
            Kind::Known { name, by } => format!("{name} is in the process already: {}.", same(*by)),
            Kind::Search { name, needed_by: None } => format!("Look for the file {name}."),
            Kind::Search { name, needed_by: Some(by) } => format!("Look for the file {name}, which {by} needs."),
            Kind::Rule { rule, dirs } if dirs.is_empty() => format!("The rule “{rule}” gives no directory."),
            Kind::Rule { rule, dirs } => {
                format!("The rule “{rule}” gives {}: {}.", count(dirs.len() as u64, "place"), dirs.join(", "))
            }
            Kind::Try { path, outcome: Outcome::Found, .. } => format!("Take the file {path}."),
            Kind::Try { path, outcome: Outcome::Missing(errno), .. } => format!("{path} cannot be opened: {errno}."),
            Kind::Try { path, outcome: Outcome::Passed(why), .. } => format!("Pass over {path}: {why}."),
            Kind::Open { path, fd: Ok(fd) } => format!("Open {path}: descriptor {fd}."),
            Kind::Open { path, fd: Err(errno) } => format!("Open {path}: {errno}."),
            Kind::Stat { length, .. } => format!("The file is {} bytes long.", thousands(*length)),
            Kind::MemoryFile { name, .. } => format!("Make a file in memory for {name}."),
            Kind::View { length, fd, .. } => {
                format!("Map {} bytes of the file with descriptor {fd}, to read them.", thousands(*length))
            }
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
            Kind::Publish { objects } => format!("Publish {}: other loads can find them now.", names(objects)),
            Kind::RegisterFrames { address } => format!("Give the unwinder the .eh_frame of {object} at {address}."),
            Kind::Order { objects } => format!("The order: {}.", names(objects)),
            Kind::Call { address, purpose } => format!("Call {}.", self.callee(*address, purpose)),
            Kind::Return { address, value: Some(value) } => {
                format!("{} returns {}.", self.named(*address), self.named(*value))
            }
            Kind::Return { address, value: None } => format!("{} returns.", self.named(*address)),
            Kind::Release { opens } => format!("One use of {object} ends; {opens} are left."),
            Kind::Stays { why } => format!("{object} stays: {why}."),
            Kind::Unneeded { objects } => format!("Nothing needs {} any more.", names(objects)),
            Kind::Host { objects } => format!("{} were in the process before.", count(objects.len() as u64, "object")),
            Kind::Adopt { address, .. } => format!("Adopt {object} at {address}: dlscope uses it as it is."),
            _ => return None,
        })
    }

    /// The sentence for an event that changes the memory of an object, except for single words.
    fn memory_act(&self, kind: &Kind, object: &str) -> Option<String> {
        Some(match kind {
            Kind::Reserve { length, .. } => format!("Reserve {} for {object}.", pages(*length)),
            Kind::MapWhole { length, .. } => {
                format!(
                    "Map {} of the file of {object} at once: room for the whole object, and its first segment.",
                    pages(*length)
                )
            }
            Kind::Populate { length, .. } => format!("Bring {} of {object} into memory at once.", pages(*length)),
            Kind::Placed { bias, .. } => format!("{object} has the load bias B = {bias}."),
            Kind::Map { length, offset, prot, .. } => {
                format!("Map {} of {object} from offset {offset} of the file, {prot}.", pages(*length))
            }
            Kind::MapZero { length, prot, .. } => format!("Map {} of zeros for {object}, {prot}.", pages(*length)),
            Kind::Zero { length, .. } => format!("Set {} bytes of {object} to zero.", thousands(*length)),
            Kind::Protect { length, prot, reason, .. } => {
                format!("Make {} of {object} {prot}: {}.", pages(*length), protect(*reason))
            }
            Kind::Changed { address, after, .. } => {
                format!("The called code changed {} at {}.", count(after.0.len() as u64, "byte"), self.named(*address))
            }
            Kind::Unmap { length, error: None, .. } => format!("Unmap {} of {object}.", pages(*length)),
            Kind::Unmap { error: Some(error), .. } => format!("{object} cannot be unmapped: {error}."),
            Kind::StaticTls { length, left, .. } => {
                format!("{object} gets {} bytes of the arena in every thread; {left} are left.", thousands(*length))
            }
            Kind::InstallTls { threads, .. } => {
                format!(
                    "{object}'s thread-local variables get their first values, in this thread and {threads} others."
                )
            }
            _ => return None,
        })
    }

    /// An address with what is known about it: `libadd.so+0x1119  twice`.
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
        Asked::Open => format!("Asked to open {name}."),
        Asked::Prepare => format!("Asked to load {name} without running any of its code."),
        Asked::Inspect => format!("Asked to load {name} as far as possible, to find everything that is wrong."),
        Asked::Lookup => format!("Asked to look up {name}."),
        Asked::Close => format!("Asked to close {name}."),
        Asked::Bind => format!("Asked to bind {name}, which is called for the first time."),
        Asked::Exit => "The process ends.".into(),
    }
}

/// Why a name means an object that is already in the process.
pub fn same(by: SameBy) -> &'static str {
    match by {
        SameBy::Name => "it was loaded under that name",
        SameBy::Soname => "its DT_SONAME is that name",
        SameBy::Inode => "its file has the same device and inode",
    }
}

/// How a dependency was settled, after the names.
pub fn arrival(how: Arrival) -> &'static str {
    match how {
        Arrival::Adopted => "it was in the process before, and is adopted",
        Arrival::Loaded => "an earlier open loaded it",
        Arrival::Shared => "another object of this load needs it, too",
        Arrival::New => "it is new and must be mapped",
    }
}

/// Why the rights of pages were changed.
pub fn protect(reason: ProtectReason) -> &'static str {
    match reason {
        ProtectReason::Plan => "the bss in them is zero now",
        ProtectReason::TextOpen => "relocations write there (DT_TEXTREL)",
        ProtectReason::TextShut => "the relocations are done",
        ProtectReason::Relro => "only the loader had to write there (PT_GNU_RELRO)",
        ProtectReason::Abandoned => "it could not be unmapped",
    }
}

/// The outcome of the search for a version, after "it".
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
    few(tags.iter().map(|tag| tag.short().into()), 6)
}

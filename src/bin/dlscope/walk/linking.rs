//! The sentences of events about symbols and slots.

use dlscope::elf::addr::Addr;
use dlscope::event::{Binding, Kind};

use super::Walk;
use super::title::{names, version};
use crate::page::count;

impl Walk {
    /// The sentence for event `at`, if it is about a symbol or a slot of `object`.
    pub(super) fn linking(&self, at: usize, object: &str) -> Option<String> {
        Some(match &self.events[at].kind {
            Kind::Version { version: name, provider, outcome } => {
                format!("{object} needs version {name} of {provider}: {}.", version(*outcome))
            }
            Kind::Scope { global, local } => format!(
                "The scope: {} of the program's start, then {}.",
                count(global.len() as u64, "object"),
                names(local)
            ),
            Kind::Pass { pass, objects } => format!("Pass {pass} over the relocations of {}.", names(objects)),
            Kind::Relocated { pass, symbols, .. } => {
                format!("Pass {pass} over {object} is done; it asked for a symbol {}.", times(*symbols))
            }
            Kind::Lookup { name, found: Some(found), .. } => format!("{name} is found in {}.", provider(found)),
            Kind::Lookup { name, found: None, .. } => format!("No object of the scope defines {name}."),
            Kind::Relocation { kind, place, name: Some(name), .. } => {
                format!("{}: the slot {place} needs {name}.", kind)
            }
            Kind::Relocation { kind, place, name: None, .. } => format!("{kind}: the slot {place} needs a value."),
            Kind::Deferred { place, resolver_of, .. } => {
                format!("The slot {place} waits for an IFUNC resolver of {resolver_of}.")
            }
            Kind::LazyGot { .. } => {
                format!("Prepare the PLT of {object} for functions that are bound at their first call.")
            }
            Kind::LeftForCall { name, .. } => {
                format!("{} will be bound at its first call.", name.as_deref().unwrap_or("A function"))
            }
            Kind::FirstCall { name, from, .. } => {
                format!("{name} is called for the first time; the call is right before {}.", self.named(*from))
            }
            Kind::Store { address, after, .. } => self.store(at, *address, after.0),
            _ => return None,
        })
    }

    fn store(&self, at: usize, address: Addr, value: u64) -> String {
        let slot = self.atlas.inside(address.0).unwrap_or_else(|| address.to_string());
        match self.link(at).cause.map(|cause| &self.events[cause].kind) {
            Some(Kind::Relocation { name: Some(name), kind, .. }) => {
                format!("Store {} of {name} into the slot {slot}.", what_of_symbol(kind, value))
            }
            Some(Kind::Relocation { name: None, .. }) => match self.atlas.describe(Addr(value)) {
                Some(target) => format!("Store the address {target} into {slot}."),
                None => format!("Store {value:#x} into {slot}."),
            },
            Some(Kind::FirstCall { name, .. }) => {
                format!("Store the address of {name} into its slot {slot}, which is bound now.")
            }
            Some(Kind::LeftForCall { .. }) => format!("Let the slot {slot} point back into the PLT."),
            Some(Kind::LazyGot { .. }) => format!("Store the loader's own word into {slot}."),
            _ => format!("Store {value:#x} into {slot}."),
        }
    }
}

fn times(number: u64) -> String {
    match number {
        0 => "never".into(),
        1 => "once".into(),
        _ => count(number, "time"),
    }
}

fn what_of_symbol(kind: &str, value: u64) -> &'static str {
    match kind {
        _ if value == 0 => "0 in place",
        "R_X86_64_GLOB_DAT" | "R_X86_64_JUMP_SLOT" | "R_X86_64_64" | "R_X86_64_32" => "the address",
        "R_X86_64_PC32" => "the distance",
        "R_X86_64_SIZE32" | "R_X86_64_SIZE64" => "the size",
        "R_X86_64_DTPMOD64" => "the module",
        "R_X86_64_DTPOFF64" | "R_X86_64_TPOFF64" => "the offset",
        "R_X86_64_TLSDESC" => "the descriptor",
        _ => "the value",
    }
}

fn provider(found: &Binding) -> String {
    let version = found.version.as_ref().map_or(String::new(), |version| format!(", version {version}"));
    match &found.object {
        Some(object) => format!("{object}{version}"),
        None if found.ours => "dlscope itself, in place of libc's".into(),
        None => "the symbols of Loader::define".into(),
    }
}

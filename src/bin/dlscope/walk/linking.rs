//! The sentences about symbols and slots.

use dlscope::elf::addr::Addr;
use dlscope::event::{Binding, Kind};

use super::Walk;
use super::title::{names, version};
use crate::page::count;

impl Walk {
    /// The sentence for event `at`, which is about a symbol or a slot of `object`.
    pub(super) fn linking(&self, at: usize, object: &str) -> String {
        match &self.events[at].kind {
            Kind::Version { version: name, provider, outcome } => {
                format!("{object} needs version {name} of {provider}: {}.", version(*outcome))
            }
            Kind::Scope { global, local } => format!(
                "Symbols are looked for in {} of start-up, then in {}.",
                count(global.len() as u64, "object"),
                names(local)
            ),
            Kind::Pass { pass, objects } => format!("Pass {pass} over the relocations of {}.", names(objects)),
            Kind::Relocated { pass, symbols, .. } => {
                format!("{object} is through pass {pass}; a symbol was asked for {}.", times(*symbols))
            }
            Kind::Lookup { name, found: Some(found), .. } => format!("{name} is found in {}.", provider(found)),
            Kind::Lookup { name, found: None, .. } => format!("{name} is found nowhere."),
            Kind::Relocation { kind, place, name: Some(name), .. } => {
                format!("{}: the slot {place} wants {name}.", kind)
            }
            Kind::Relocation { kind, place, name: None, .. } => format!("{kind}: the slot {place} wants a value."),
            Kind::Deferred { place, resolver_of, .. } => {
                format!("The slot {place} waits for an IFUNC resolver of {resolver_of}.")
            }
            Kind::LazyGot { .. } => format!("Prepare {object}'s PLT for calls that are bound later."),
            Kind::LeftForCall { name, .. } => {
                format!("{} is left for its first call.", name.as_deref().unwrap_or("A function"))
            }
            Kind::FirstCall { name, from, .. } => {
                format!("{name} is called for the first time, from just before {}.", self.named(*from))
            }
            Kind::Store { address, after, .. } => self.store(at, *address, after.0),
            _ => String::new(),
        }
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
            Some(Kind::FirstCall { name, .. }) => format!("Store the address of {name} into its slot {slot}: bound."),
            Some(Kind::LeftForCall { .. }) => format!("Let the slot {slot} point back into the PLT."),
            Some(Kind::LazyGot { .. }) => format!("Store the way to the loader into {slot}."),
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
        None if found.ours => "dlscope itself, which stands in for libc".into(),
        None => "what Loader::define gave".into(),
    }
}

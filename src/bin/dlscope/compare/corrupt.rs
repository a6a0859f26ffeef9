//! Spoils the result of a loader, so that a test can see it caught. Hidden, and for tests only.

use std::io;

use clap::ValueEnum;
use dlscope::elf::addr::PAGE;
use dlscope::elf::reloc::RelocKind;
use nix::libc;

use super::look::Loaded;

/// What is spoilt in the opened library, after it was loaded and before it is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Corrupt {
    /// A bit of its last relocated word is flipped.
    Slot,
    /// Its first page becomes writable.
    Protection,
    /// The value of its last export is off by 16.
    Symbol,
}

/// `st_value` in an `Elf64_Sym`, and the size of that.
const ST_VALUE: u64 = 8;
const SIZEOF_SYM: u64 = 24;

impl Corrupt {
    pub fn name(self) -> &'static str {
        match self {
            Corrupt::Slot => "slot",
            Corrupt::Protection => "protection",
            Corrupt::Symbol => "symbol",
        }
    }

    pub fn carry_out(self, loaded: &mut Loaded) -> io::Result<()> {
        let spoilt = match self {
            Corrupt::Slot => slot(loaded),
            Corrupt::Protection => protection(loaded),
            Corrupt::Symbol => symbol(loaded),
        };
        spoilt.ok_or_else(|| io::Error::other("nothing there to spoil"))
    }
}

fn slot(loaded: &mut Loaded) -> Option<()> {
    let bias = loaded.objects[loaded.root].0.bias;
    let slots = loaded.files[loaded.root].as_ref()?.slots();
    let n = slots.iter().rposition(|slot| matches!(slot.kind, RelocKind::Relative | RelocKind::GlobDat))?;
    let place = bias.wrapping_add(slots[n].place.0);
    let word = loaded.memory.read_word(place)? ^ 0x10;
    // As if it had been so before constructors ran.
    *loaded.before.get_mut(&bias)?.get_mut(n)? = Some(word);
    loaded.memory.write_word(place, word)
}

fn protection(loaded: &Loaded) -> Option<()> {
    let page = loaded.objects[loaded.root].0.span.start;
    // SAFETY: the page is only given more rights than it has.
    let refused = unsafe { libc::mprotect(page as *mut _, PAGE as usize, libc::PROT_READ | libc::PROT_WRITE) };
    (refused == 0).then_some(())
}

fn symbol(loaded: &Loaded) -> Option<()> {
    let bias = loaded.objects[loaded.root].0.bias;
    let file = loaded.files[loaded.root].as_ref()?;
    let index = file.exports().last()?.symbol;
    let place = bias.wrapping_add(file.dynamic.symbols?.0 + u64::from(index) * SIZEOF_SYM + ST_VALUE);
    loaded.memory.write_word(place, loaded.memory.read_word(place)?.wrapping_add(16))
}

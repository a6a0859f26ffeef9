//! Spoils the result of a load on purpose, so that a test can see that `compare` notices. For tests only.

use std::io;

use clap::ValueEnum;
use dlscope::elf::addr::PAGE;
use dlscope::elf::reloc::RelocKind;
use nix::libc;

use super::look::LoadedProcess;

/// What to spoil in the opened library, after the load and before the look at memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Corrupt {
    /// Flip a bit of its last relocated word.
    Slot,
    /// Make its first page writable.
    Protection,
    /// Add 16 to the value of its last export.
    Symbol,
}

/// The offset of `st_value` in an `Elf64_Sym`, and the size of an `Elf64_Sym`.
const ST_VALUE: u64 = 8;
const SIZEOF_SYM: u64 = 24;

impl Corrupt {
    pub fn carry_out(self, loaded: &mut LoadedProcess) -> io::Result<()> {
        let spoilt = match self {
            Corrupt::Slot => slot(loaded),
            Corrupt::Protection => protection(loaded),
            Corrupt::Symbol => symbol(loaded),
        };
        spoilt.ok_or_else(|| io::Error::other("nothing there to spoil"))
    }
}

fn slot(loaded: &mut LoadedProcess) -> Option<()> {
    let bias = loaded.objects[loaded.root].0.bias;
    let slots = loaded.files[loaded.root].as_ref()?.slots();
    let n = slots.iter().rposition(|slot| matches!(slot.kind, RelocKind::Relative | RelocKind::GlobDat))?;
    let place = bias.wrapping_add(slots[n].place.0);
    let word = loaded.memory.read_word(place)? ^ 0x10;
    // Otherwise the change would count as a constructor's.
    *loaded.before.get_mut(&bias)?.get_mut(n)? = Some(word);
    loaded.memory.write_word(place, word)
}

fn protection(loaded: &LoadedProcess) -> Option<()> {
    let page = loaded.objects[loaded.root].0.span.start;
    // SAFETY: the page is only given more rights than it has.
    let refused = unsafe { libc::mprotect(page as *mut _, PAGE as usize, libc::PROT_READ | libc::PROT_WRITE) };
    (refused == 0).then_some(())
}

fn symbol(loaded: &LoadedProcess) -> Option<()> {
    let bias = loaded.objects[loaded.root].0.bias;
    let file = loaded.files[loaded.root].as_ref()?;
    let index = file.exports().last()?.symbol;
    let place = bias.wrapping_add(file.dynamic.symbols?.0 + u64::from(index) * SIZEOF_SYM + ST_VALUE);
    loaded.memory.write_word(place, loaded.memory.read_word(place)?.wrapping_add(16))
}

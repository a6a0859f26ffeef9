//! Stage 8, relocate: fill in every pointer that was unknown until now.
//!
//! psABI "Relocation"; glibc `_dl_relocate_object` and `elf_machine_rela`, musl `do_relocs`. [`RelocKind::compute`]
//! works out the formula of an entry, and `Memory::store` stores the result. Pass 1 does everything that needs no code
//! of a new object. What needs the answer of an IFUNC resolver waits for pass 2: by then every object that the resolver
//! may use has been through pass 1.

use std::fmt;
use std::ptr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use goblin::elf64::reloc::{R_X86_64_RELATIVE, Rela};

use crate::elf::addr::{Addr, FileOffset, PAGE, Vaddr, Word};
use crate::elf::dynamic::Table;
use crate::elf::plan::is_populated;
use crate::elf::reloc::{Problem, RelocKind, Relocation, SIZEOF_RELA, Write, raw_name, relr_places};
use crate::elf::symbol::Class;
use crate::error::{Error, ErrorKind, Result};
use crate::event::{Kind, Report, Stage};
use crate::host::Host;
use crate::load::batch::{Batch, Bound, Links, Mapped, Relocated};
use crate::load::needed::Here;
use crate::lookup::scope::{self, Definition, Scope, ScopeOf, Unique};
use crate::memory::DataWords;
use crate::namespace::{Kept, Namespace};
use crate::object::Object;
use crate::policy::{Bind, Mode, Policy};
use crate::runtime::lazy;
use crate::text::escape;

mod refusals;
mod resolve;
mod special;
use refusals::{outside, refused};
use resolve::Deferred;

/// `r_info` of `R_X86_64_RELATIVE`, which has no symbol.
const RELATIVE: u64 = R_X86_64_RELATIVE as u64;

/// With fewer `R_X86_64_RELATIVE`s than this, their pages are too few to be worth a system call.
const MANY: u64 = 128;

/// What pass 1 over one object leaves to be done and to be remembered.
#[derive(Default)]
pub(crate) struct Linked {
    /// The relocations that wait for pass 2.
    deferred: Vec<Deferred>,
    /// The tags of the objects whose definitions this object uses. They stay mapped as long as it does.
    pub bound: Vec<u32>,
    /// What `GOT[1]` and the TLS descriptors of this object point to. It stays as long as the object is mapped.
    pub kept: Kept,
}

impl Linked {
    fn uses(&mut self, object: &Object) {
        if self.bound.last() != Some(&object.tag.id) && !self.bound.contains(&object.tag.id) {
            self.bound.push(object.tag.id);
        }
    }
}

/// Pass 1: relocates every new object of the batch, dependencies first, as far as that runs no code of one.
///
/// # Errors
/// The first relocation that cannot be applied. Every new object is unmapped then.
pub(crate) fn bind(batch: Batch<Mapped>, mode: Mode, here: &Here<'_>, report: Report<'_>) -> Result<Batch<Bound>> {
    let Here { namespace, host, lock, .. } = *here;
    // A first call may not wait for the lock, so it cannot look at the host: it takes what this load saw of it.
    namespace.change(lock, |members| members.host = Some(host.clone()));
    let members = &*namespace.members(lock);
    let report = report.at(Stage::Relocate);
    let everybodys: Vec<&Object> = host.startup().iter().chain(members.global()).map(|o| &**o).collect();
    report.tell(|| Kind::Scope {
        global: everybodys.iter().map(|o| o.tag.clone()).collect(),
        local: batch.objects().map(|o| o.tag.clone()).collect(),
    });
    let count = everybodys.len();
    let unique = Unique::new(members, host);
    let mut scope = Scope::new(&namespace.policy, everybodys, batch.objects(), mode.deep, unique);
    if !mode.deep && !report.closely() {
        scope.allow_short_cuts(batch.new_objects().map(Object::reference_count).sum(), count, lock);
    }
    report.tell(|| Kind::Pass { pass: 1, objects: batch.tags(&batch.order) });
    let mut nodes: Vec<Linked> = batch.nodes.iter().map(|_| Linked::default()).collect();
    for &at in &batch.order {
        let object = &*batch.nodes[at].object;
        nodes[at] = first_pass(object, &scope, namespace, mode, report.about(&object.tag))?;
    }
    let unique = scope.unique.chosen();
    Ok(batch.then(|Mapped| Bound(Links { nodes, unique })))
}

/// Pass 2: calls the IFUNC resolvers of new objects, and stores their answers, dependencies first.
///
/// # Safety
/// Runs the IFUNC resolvers of the new objects.
///
/// # Errors
/// The first relocation that cannot be applied. Every new object is unmapped then.
pub(crate) unsafe fn resolve(batch: Batch<Bound>, report: Report<'_>) -> Result<Batch<Relocated>> {
    let batch = match batch.stage.0.nodes.iter().all(|linked| linked.deferred.is_empty()) {
        true => batch,
        // SAFETY: the caller agreed to it.
        false => unsafe { resolve::deferred(batch, report.at(Stage::Relocate)) }?,
    };
    Ok(batch.then(|Bound(links)| Relocated(links)))
}

/// Pass 1 over one object: what it needs, and what it has found out so far.
struct Pass<'a, 'r> {
    object: &'a Object,
    scope: ScopeOf<'r, 'a>,
    host: &'r Host,
    policy: &'r Policy,
    /// The words of the object's data segment, into which nearly all relocations store.
    data: DataWords<'r>,
    /// Whether `R_X86_64_JUMP_SLOT`s are left for the first call of their function: lazy binding.
    lazy: bool,
    report: Report<'r>,
    linked: Linked,
    last: Last<'a>,
    /// How many symbols were looked up, and how long that took, if a probe wants to know.
    symbols: u64,
    looking_up: Duration,
}

/// The last symbol that was bound, and its definition. Linkers sort relocations so that those of one symbol follow each
/// other: then one lookup serves all of them.
struct Last<'a> {
    /// The symbol's index. Index 0 is no symbol: it stands for "none yet".
    symbol: u32,
    class: Class,
    /// The definition. `None` if nothing defines the symbol, or if `own_address` found it in the object itself: that
    /// gives the address alone.
    definition: Option<Definition<'a>>,
    /// `S`, if it is simply an address. `None` for an IFUNC or a thread-local variable: those go to [`Pass::special`].
    address: Option<Addr>,
}

impl Last<'_> {
    const NONE: Self = Last { symbol: 0, class: Class::Address, definition: None, address: None };

    #[inline(always)]
    fn is(&self, symbol: u32, class: Class) -> bool {
        self.symbol == symbol && self.class == class && symbol != 0
    }
}

/// `DT_RELA` or `DT_JMPREL` of one object.
struct RelaTable<'a> {
    tag: &'static str,
    at: Option<Table>,
    all: &'a [Rela],
}

/// One entry of a [`RelaTable`], by its index.
#[derive(Clone, Copy)]
struct RelaEntry<'e> {
    table: &'e RelaTable<'e>,
    index: usize,
}

impl RelaEntry<'_> {
    fn relocation(self) -> Relocation {
        Relocation::from(&self.table.all[self.index])
    }

    #[cold]
    fn refused(self, problem: Problem) -> ErrorKind {
        refused(self.table.tag, self.index, self.relocation(), problem)
    }
}

impl fmt::Display for RelaEntry<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "relocation {} of {} ({})", self.index, self.table.tag, raw_name(self.relocation().kind))
    }
}

/// Pass 1 over one object. `mode` or the namespace's policy may ask for lazy binding.
///
/// # Errors
/// The first relocation that cannot be applied. The object is useless then, and must be unmapped.
#[inline(never)] // a stage: see docs/gdb.md
pub(crate) fn first_pass<'a>(
    object: &'a Object,
    scope: &Scope<'a>,
    namespace: &Arc<Namespace>,
    mode: Mode,
    report: Report<'_>,
) -> Result<Linked> {
    let wrap = |kind: ErrorKind| -> Error { kind.of(object.label(), Stage::Relocate) };
    if object.dynamic.textrel {
        object.memory.open_text(report).map_err(wrap)?;
    }
    let binder = match mode.lazy || namespace.policy.bind == Bind::Lazy {
        true => lazy::prepare(object, namespace, report),
        false => None,
    };
    let mut pass = Pass {
        object,
        scope: scope.of(object, report),
        host: scope.host,
        policy: &namespace.policy,
        data: object.memory.data_words(report),
        lazy: binder.is_some(),
        report,
        linked: Linked::default(),
        last: Last::NONE,
        symbols: 0,
        looking_up: Duration::ZERO,
    };
    if object.dynamic.relative_count >= MANY {
        populate(object, report);
    }
    if object.dynamic.relr.is_some() {
        pass.relr().map_err(wrap)?;
    }
    pass.table(&RelaTable { tag: "DT_RELA", at: object.dynamic.rela, all: object.rela() }).map_err(wrap)?;
    pass.table(&RelaTable { tag: "DT_JMPREL", at: object.dynamic.jmprel, all: object.jmprel() }).map_err(wrap)?;
    if object.dynamic.textrel {
        object.memory.shut_text(report).map_err(wrap)?;
    }
    let Pass { mut linked, symbols, looking_up, .. } = pass;
    linked.kept.extend(binder.map(|binder| binder as Arc<dyn Send + Sync>));
    let looking_up = report.times_lookups().then_some(looking_up.as_nanos() as u64);
    report.tell(|| Kind::Relocated { pass: 1, symbols, looking_up });
    Ok(linked)
}

/// Asks the kernel at once for all pages that relocations will write to, if they are many and lie close together. The
/// linker sorts `R_X86_64_RELATIVE`s by place, so the first and the last say where; if it did not, nothing is lost but
/// time. Where relocations are sparse, most of those pages would be copied for nothing. Most segments were populated
/// when they were mapped.
fn populate(object: &Object, report: Report<'_>) {
    /// At least so many relocated words a page, of 512: then nearly every page has some.
    const DENSE: u64 = 32;
    let count = (object.dynamic.relative_count as usize).min(object.rela().len());
    let [first, .., last] = &object.rela()[..count] else { return };
    let range = Vaddr(first.r_offset)..Vaddr(last.r_offset.saturating_add(8));
    let pages = range.end.0.saturating_sub(range.start.0) / PAGE;
    let is_done = || object.image.loads().filter(|s| s.flags.writable()).all(|s| is_populated(&object.image, s));
    if pages * DENSE <= count as u64 && !is_done() {
        object.memory.populate(range, report);
    }
}

impl<'a> Pass<'a, '_> {
    /// Applies `DT_RELR`, the packed form of `R_X86_64_RELATIVE`: each of these words gets the load bias added.
    fn relr(&mut self) -> Result<(), ErrorKind> {
        let (b, kind) = (self.object.bias(), RelocKind::Relative);
        let table = RelaTable { tag: "DT_RELR", at: self.object.dynamic.relr, all: &[] };
        for (index, place) in relr_places(self.object.relr()) {
            let outside = || outside("DT_RELR", index, kind.name(), place);
            let addend = self.object.memory.word(place).ok_or_else(outside)?;
            let relocation = Relocation { place, kind: kind as u32, symbol: 0, addend: addend as i64 };
            let tell = || tell(self.object, RelaEntry { table: &table, index }, kind, relocation, None, self.report);
            self.data.store(place, b.0.wrapping_add(addend), tell).ok_or_else(outside)?;
        }
        Ok(())
    }

    /// Applies `DT_RELA` or `DT_JMPREL`, entry by entry.
    fn table(&mut self, table: &RelaTable<'_>) -> Result<(), ErrorKind> {
        let mut index = 0;
        while let Some(rela) = table.all.get(index) {
            if rela.r_info == RELATIVE {
                index = self.relatives(table, index)?;
                continue;
            }
            self.relocate(RelaEntry { table, index }, rela)?;
            index += 1;
        }
        Ok(())
    }

    /// Applies a run of `R_X86_64_RELATIVE` (`B + A`) from entry `start` on, and returns the index behind it. Most
    /// entries of most libraries are of this type, and the linker puts them together. The loop keeps what it needs in
    /// local variables: a store through a raw pointer cannot change those, so they stay in registers.
    #[inline(never)]
    fn relatives(&self, table: &RelaTable<'_>, start: usize) -> Result<usize, ErrorKind> {
        let (object, data, report, kind) = (self.object, self.data, self.report, RelocKind::Relative);
        let b = object.bias();
        for (index, rela) in table.all.iter().enumerate().skip(start) {
            if rela.r_info != RELATIVE {
                return Ok(index);
            }
            let tell = || tell(object, RelaEntry { table, index }, kind, Relocation::from(rela), None, report);
            let place = Vaddr(rela.r_offset);
            let stored = data.store(place, b.0.wrapping_add_signed(rela.r_addend), tell);
            stored.ok_or_else(|| outside(table.tag, index, kind.name(), place))?;
        }
        Ok(table.all.len())
    }

    /// Applies an entry of any other type: binds its symbol, and stores the word that the formula makes of its address. An
    /// entry that needs more than the address of its symbol goes to [`Pass::special`].
    #[inline(always)]
    fn relocate(&mut self, at: RelaEntry<'_>, rela: &Rela) -> Result<(), ErrorKind> {
        let relocation = Relocation::from(rela);
        let Some(kind) = RelocKind::from_raw(relocation.kind).filter(|kind| kind.is_address()) else {
            return self.special(at);
        };
        if self.lazy && kind == RelocKind::JumpSlot && self.leave(at) {
            return Ok(());
        }
        self.look_up(at, relocation.symbol, kind.class())?;
        let Some(address) = self.last.address else { return self.special(at) };
        let tell = || tell(self.object, at, kind, relocation, self.last.definition, self.report);
        let stored = self.data.store(relocation.place, kind.word(address, relocation.addend), tell);
        stored.ok_or_else(|| outside(at.table.tag, at.index, kind.name(), relocation.place))
    }

    /// Leaves the slot of a `DT_JMPREL` entry for the first call of its function. `false`: it must be bound now.
    #[cold]
    fn leave(&self, at: RelaEntry<'_>) -> bool {
        at.table.tag == "DT_JMPREL" && lazy::leave(self.object, at.index, &at.relocation(), self.report)
    }

    /// Binds a symbol, and notes it in `last`. If it is the last one already, nothing is looked up.
    #[inline(always)]
    fn look_up(&mut self, at: RelaEntry<'_>, symbol: u32, class: Class) -> Result<(), ErrorKind> {
        if self.last.is(symbol, class) {
            return Ok(());
        }
        self.fetch_ahead(&at.table.all[at.index..]);
        self.symbols += 1;
        let Some(address) = self.scope.own_address(symbol) else { return self.ask_scope(at, symbol, class) };
        self.last = Last { symbol, class, definition: None, address: Some(address) };
        Ok(())
    }

    /// Binds a symbol by asking the scope, and notes it in `last`.
    #[inline(never)]
    fn ask_scope(&mut self, at: RelaEntry<'_>, symbol: u32, class: Class) -> Result<(), ErrorKind> {
        let start = self.report.times_lookups().then(Instant::now);
        let answer = self.scope.bind(symbol, class);
        if let Some(start) = start {
            self.looking_up += start.elapsed();
        }
        (self.last.symbol, self.last.class) = (symbol, class);
        let definition = match answer {
            scope::Answer::To(definition) => definition,
            missing => {
                if !matches!(missing, scope::Answer::ToNothing) {
                    let refusal = self.scope.refusal(&missing, symbol, class, at.to_string());
                    let _: Option<()> = self.fault(refusal)?;
                }
                (self.last.definition, self.last.address) = (None, Some(Addr(0)));
                return Ok(());
            }
        };
        let is_address = definition.symbol.is_where_it_seems() || definition.object.is_none();
        self.last.address = Some(definition.address).filter(|_| is_address);
        self.last.definition = Some(definition);
        if let Some(object) = definition.object
            && !ptr::eq(object, self.object)
        {
            self.linked.uses(object);
        }
        Ok(())
    }

    /// Asks the processor for the symbols and names of a few entries ahead, without waiting for them. They lie all over
    /// the file, so relocating waits for memory more than for anything else.
    #[inline(always)]
    fn fetch_ahead(&self, entries: &[Rela]) {
        let symbol = |ahead: usize| entries.get(ahead).map(|rela| Relocation::from(rela).symbol);
        if let Some(symbol) = symbol(16) {
            self.scope.fetch_symbol(symbol);
        }
        if let Some(symbol) = symbol(8) {
            self.scope.fetch_key(symbol);
        }
    }

    /// Ends the load with an error. A load that is only inspected notes the error, and goes on without a value: `None`.
    #[cold]
    fn fault<T>(&self, kind: ErrorKind) -> Result<Option<T>, ErrorKind> {
        let error = kind.of(self.object.label(), Stage::Relocate);
        self.policy.fault(error, self.report).map(|()| None).map_err(|error| error.kind)
    }
}

/// Tells probes of one entry.
#[inline(always)]
#[track_caller]
fn tell(
    object: &Object,
    at: RelaEntry<'_>,
    kind: RelocKind,
    relocation: Relocation,
    definition: Option<Definition<'_>>,
    report: Report<'_>,
) {
    report.tell_each(move || {
        let RelaEntry { table, index } = at;
        let Relocation { place, symbol, addend, .. } = relocation;
        let size = if table.tag == "DT_RELR" { 8 } else { SIZEOF_RELA };
        let entry = table.at.and_then(|t| object.file_offset(Vaddr(t.at.0 + index as u64 * size)));
        let name = object.symbols().get(symbol).filter(|_| symbol != 0);
        Kind::Relocation {
            table: table.tag,
            index,
            entry: entry.unwrap_or(FileOffset(0)),
            place,
            kind: kind.name().into(),
            formula: kind.formula(),
            symbol: (symbol != 0).then_some(symbol),
            name: name.map(|s| escape(object.symbols().name(&s)).into_owned()),
            b: object.bias(),
            s: kind.needs_symbol().then(|| Word(definition.map_or(0, |d| d.address.0))),
            a: addend,
        }
    });
}

#[track_caller]
fn store(object: &Object, place: Vaddr, write: Write, report: Report<'_>) -> Option<()> {
    match write {
        Write::Nothing => Some(()),
        Write::Word(word) => object.memory.store(place, word, report),
        Write::Half(half) => object.memory.store(place, half, report),
        Write::Pair([first, second]) => {
            object.memory.store(place, first, report)?;
            object.memory.store(Vaddr(place.0.wrapping_add(8)), second, report)
        }
        // Both passes ask the resolver of an indirect relocation, and store its answer as a word: a call never comes
        // here.
        Write::Call(_) => None,
    }
}

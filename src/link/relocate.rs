//! Stage 8, relocate: patch every word that depends on where things are.
//!
//! psABI "Relocation"; glibc `_dl_relocate_object` and `elf_machine_rela`, musl `do_relocs`. Each entry is
//! computed by [`RelocKind::compute`] and carried out by `Memory::store`. Pass 1 does everything that needs no
//! code of a newly loaded library; what needs the answer of an IFUNC resolver is put off to pass 2, when every
//! object that the resolver may use has been through pass 1.

use std::time::{Duration, Instant};

use goblin::elf64::reloc::Rela;

use crate::elf::addr::{Addr, FileOffset, PAGE, Vaddr, Word};
use crate::elf::dynamic::Table;
use crate::elf::plan::is_populated;
use crate::elf::reloc::{Entry, RelocKind, SIZEOF_RELA, Value, Write, relr_places};
use crate::elf::symbol::Class;
use crate::error::{Error, ErrorKind, Result};
use crate::event::{Kind, Probe, Report, Stage};
use crate::link::plain::Plain;
use crate::link::scope::{Definition, Scope};
use crate::memory::{Around, NothingAround, Watch};
use crate::namespace::Policy;
use crate::object::Object;
use crate::runtime::{ifunc, lazy, tls};

mod refusals;
use refusals::{outside, refused, unknown};

/// A relocation that waits for a resolver: which entry, and whom to ask.
pub(crate) struct Deferred {
    table: &'static str,
    index: usize,
    place: Vaddr,
    kind: RelocKind,
    addend: i64,
    resolver: Addr,
}

/// What pass 1 leaves to be done and to be remembered.
#[derive(Default)]
pub(crate) struct Outcome {
    /// For pass 2.
    pub deferred: Vec<Deferred>,
    /// The objects (by tag) whose definitions this one uses: they stay mapped as long as it does.
    pub bound: Vec<u32>,
}

impl Outcome {
    fn uses(&mut self, object: &Object) {
        if self.bound.last() != Some(&object.tag.id) && !self.bound.contains(&object.tag.id) {
            self.bound.push(object.tag.id);
        }
    }
}

/// One object in pass 1.
struct Pass<'a, 'r, P: Probe + ?Sized> {
    object: &'a Object,
    /// Its calls are left for their first time.
    lazy: bool,
    scope: &'r Scope<'a>,
    policy: &'r Policy,
    /// The short way for its plain references.
    plain: Option<Plain<'r>>,
    report: Report<'r, P>,
    outcome: Outcome,
    /// The last symbol that was bound: linkers sort relocations so that those of one symbol follow each other.
    last: Option<(u32, Class, Option<Definition<'a>>)>,
    /// How often a symbol was asked for, and how long the answers took, if someone wants to know.
    symbols: u64,
    looking_up: Duration,
}

/// Pass 1 for one object.
///
/// # Errors
/// The first relocation that cannot be applied; the object is then useless and must be unmapped.
#[inline(never)] // a stage: see docs/gdb.md
pub(crate) fn first_pass<'a, P: Probe + ?Sized>(
    object: &'a Object,
    scope: &Scope<'a>,
    policy: &Policy,
    report: Report<'_, P>,
) -> Result<Outcome> {
    let wrap = |kind: ErrorKind| -> Error { kind.of(object.label(), Stage::Relocate) };
    if object.dynamic.textrel {
        object.memory.open_text(report).map_err(wrap)?;
    }
    let lazy = object.lazy.get().is_some();
    let mut pass = Pass {
        object,
        lazy,
        scope,
        policy,
        plain: if report.closely() { None } else { scope.plain(object) },
        report,
        outcome: Outcome::default(),
        last: None,
        symbols: 0,
        looking_up: Duration::ZERO,
    };
    populate(object, report);
    pass.relative().map_err(wrap)?;
    pass.table("DT_RELA", object.dynamic.rela, object.rela()).map_err(wrap)?;
    pass.table("DT_JMPREL", object.dynamic.jmprel, object.jmprel()).map_err(wrap)?;
    if object.dynamic.textrel {
        object.memory.shut_text(report).map_err(wrap)?;
    }
    let Pass { mut outcome, plain, mut symbols, mut looking_up, .. } = pass;
    if let Some(plain) = plain {
        plain.used().for_each(|object| outcome.uses(object));
        symbols += plain.count;
        looking_up += plain.looking_up;
    }
    let looking_up = report.times_lookups().then_some(looking_up.as_nanos() as u64);
    report.tell(|| Kind::Relocated { pass: 1, symbols, looking_up });
    Ok(outcome)
}

/// Asks for all pages that relocations will write to at once, where they are many and lie close together. The linker
/// sorts `R_X86_64_RELATIVE`s by place, so the first and the last tell where; if it did not, nothing is lost but time.
/// Where they are sparse, most of those pages would be copied for nothing. Most segments were populated when they were
/// mapped.
fn populate<P: Probe + ?Sized>(object: &Object, report: Report<'_, P>) {
    /// So many words a page, which has room for 512: then nearly every page has some.
    const DENSE: u64 = 32;
    /// Fewer pages are not worth a call.
    const PAGES: u64 = 4;
    let count = (object.dynamic.relative_count as usize).min(object.rela().len());
    let [first, .., last] = &object.rela()[..count] else { return };
    let range = Vaddr(first.r_offset)..Vaddr(last.r_offset.saturating_add(8));
    let pages = range.end.0.saturating_sub(range.start.0) / PAGE;
    let is_done = || object.image.loads().filter(|s| s.flags.writable()).all(|s| is_populated(&object.image, s));
    if pages >= PAGES && pages * DENSE <= count as u64 && !is_done() {
        object.memory.populate(range, report);
    }
}

impl<'a, P: Probe + ?Sized> Pass<'a, '_, P> {
    /// `DT_RELR`: words that hold an address inside the library, packed.
    fn relative(&mut self) -> Result<(), ErrorKind> {
        let b = self.object.bias();
        for (index, place) in relr_places(self.object.relr()) {
            let outside = || outside("DT_RELR", index, RelocKind::Relative.name(), place);
            let addend = self.object.memory.word(place).ok_or_else(outside)?;
            let entry = Entry { place, kind: RelocKind::Relative as u32, symbol: 0, addend: addend as i64 };
            self.tell("DT_RELR", self.object.dynamic.relr, 8, index, &entry, RelocKind::Relative, None);
            self.object.memory.store(place, b.0.wrapping_add(addend), self.report).ok_or_else(outside)?;
        }
        Ok(())
    }

    /// `DT_RELA` or `DT_JMPREL`, entry by entry.
    fn table(&mut self, table: &'static str, at: Option<Table>, entries: &[Rela]) -> Result<(), ErrorKind> {
        let mut next = 0;
        loop {
            // By far the most, where nobody watches. The rest is for what is not so simple.
            next += self.plain.as_mut().map_or(0, |plain| plain.relocate(&entries[next..], self.report));
            let Some(rela) = entries.get(next) else { return Ok(()) };
            let (index, entry) = (next, Entry::from(rela));
            next += 1;
            let kind = RelocKind::from_raw(entry.kind).ok_or_else(|| unknown(table, index, &entry))?;
            if self.lazy
                && kind == RelocKind::JumpSlot
                && table == "DT_JMPREL"
                && lazy::leave(self.object, index, &entry, self.report)
            {
                continue;
            }
            let definition = if kind.needs_symbol() { self.definition(table, index, kind, &entry)? } else { None };
            self.tell(table, at, SIZEOF_RELA, index, &entry, kind, definition.as_ref());
            if let Some(resolver) = self.must_wait(kind, &entry, definition.as_ref()) {
                self.defer(table, index, kind, &entry, resolver, definition);
                continue;
            }
            let value = match kind.is_tls() {
                false => self.value(definition.as_ref()),
                true => match self.tls_value(kind, &entry, definition.as_ref()).or_else(|e| self.fault(e))? {
                    Some(value) => value,
                    // A weak thread-local symbol that nothing defines: the slot stays as it is.
                    None => continue,
                },
            };
            let write = kind.compute(self.object.bias(), self.object.bias() + entry.place, value, entry.addend);
            let write = write.map(Some).or_else(|problem| self.fault(refused(table, index, kind, &entry, problem)));
            let Some(write) = write? else { continue };
            store(self.object, entry.place, write, self.report)
                .ok_or_else(|| outside(table, index, kind.name(), entry.place))?;
        }
    }

    /// What the symbol of `entry` is bound to. `None`: nothing, and that is allowed.
    #[inline]
    fn definition(
        &mut self,
        table: &str,
        index: usize,
        kind: RelocKind,
        entry: &Entry,
    ) -> Result<Option<Definition<'a>>, ErrorKind> {
        let class = kind.class();
        if let Some((symbol, last_class, definition)) = self.last
            && symbol == entry.symbol
            && last_class == class
        {
            return Ok(definition);
        }
        let wanted_by = || format!("relocation {index} of {table} ({})", kind.name());
        let start = self.report.times_lookups().then(Instant::now);
        let definition = self.scope.bind(self.object, entry.symbol, class, wanted_by, self.report);
        self.looking_up += start.map_or(Duration::ZERO, |start| start.elapsed());
        self.symbols += u64::from(self.report.listening());
        let definition = definition.or_else(|e| self.fault(e))?;
        if let Some(Definition { object: Some(object), .. }) = definition {
            self.outcome.uses(object);
        }
        self.last = Some((entry.symbol, class, definition));
        Ok(definition)
    }

    /// The end of the load; if it is only inspected, it goes on without a value.
    #[cold]
    fn fault<T>(&self, kind: ErrorKind) -> Result<Option<T>, ErrorKind> {
        let error = kind.of(self.object.label(), Stage::Relocate);
        self.policy.fault(error, self.report).map(|()| None).map_err(|error| error.kind)
    }

    /// The resolver that has to be asked in pass 2, if this entry depends on one. Resolvers of start-up objects
    /// can be asked at once: those objects were complete before we came.
    #[inline]
    fn must_wait(&self, kind: RelocKind, entry: &Entry, definition: Option<&Definition<'a>>) -> Option<Addr> {
        if kind == RelocKind::IRelative {
            return Some(Addr(self.object.bias().0.wrapping_add_signed(entry.addend)));
        }
        let definition = definition.filter(|d| d.symbol.is_ifunc())?;
        definition.object.filter(|o| !o.is_startup()).map(|_| definition.address)
    }

    #[cold]
    fn defer(
        &mut self,
        table: &'static str,
        index: usize,
        kind: RelocKind,
        entry: &Entry,
        resolver: Addr,
        definition: Option<Definition<'a>>,
    ) {
        let Entry { place, addend, .. } = *entry;
        let of = definition.and_then(|d| d.object).unwrap_or(self.object);
        self.report.tell(|| Kind::Deferred { table, index, place, resolver_of: of.tag.clone() });
        self.outcome.deferred.push(Deferred { table, index, place, kind, addend, resolver });
    }

    /// The numbers that the formula needs.
    #[inline]
    fn value(&self, definition: Option<&Definition<'a>>) -> Value {
        let Some(d) = definition else { return Value::default() };
        let mut value = Value { address: d.address.0, size: d.symbol.size(), ..Value::default() };
        if d.symbol.is_ifunc() && d.object.is_some() {
            // SAFETY: `must_wait` let it through: the resolver of a start-up object, complete and relocated.
            value.address = unsafe { ifunc::resolve(d.address, &NothingAround, &mut Watch::default(), self.report) }.0;
        }
        value
    }

    /// The same for a thread-local variable: where its block is, in the form that `kind` wants.
    #[cold]
    fn tls_value(
        &self,
        kind: RelocKind,
        entry: &Entry,
        definition: Option<&Definition<'a>>,
    ) -> Result<Option<Value>, ErrorKind> {
        let Some(Definition { object: Some(owner), symbol, .. }) = definition else {
            let descriptor = (kind == RelocKind::TlsDesc).then(|| tls::undefined_descriptor(entry.addend));
            return Ok(descriptor.map(|words| Value { descriptor: Some(words), ..Value::default() }));
        };
        let block_offset = symbol.value().0;
        let mut value = Value { block_offset, ..Value::default() };
        if owner.is_host() {
            value.module = self.scope.host.tls_module(owner);
            let block = self.scope.host.tls_offset(owner);
            value.tp_offset = block.map(|block| (block_offset as i64).wrapping_sub(block as i64));
        }
        let offset = block_offset.wrapping_add_signed(entry.addend);
        let module = || {
            let at = self.object.bias().vaddr(self.object.bias() + entry.place);
            owner.tls.as_ref().ok_or_else(|| {
                let rule = "a thread-local variable lies in its library's PT_TLS (ELF TLS, \"Program Header\")";
                ErrorKind::malformed("PT_TLS", at, "none", "one", rule)
            })
        };
        match kind {
            RelocKind::TlsDesc => {
                let (words, argument) = match value.module {
                    Some(id) => tls::host_descriptor(
                        value.tp_offset.map(|at| at.wrapping_add(entry.addend)),
                        tls::Index { module: id, offset },
                    ),
                    None => tls::descriptor(module()?, offset, self.report.about(&owner.tag)),
                };
                value.descriptor = Some(words);
                self.object.keep_descriptor(argument);
            }
            _ if owner.is_host() => {}
            RelocKind::TpOff64 => {
                let block = module()?.require_static(self.report.about(&owner.tag))?;
                value.tp_offset = Some(block.wrapping_add_unsigned(block_offset));
            }
            _ => value.module = Some(module()?.id),
        }
        Ok(Some(value))
    }

    #[inline(always)]
    #[track_caller]
    #[expect(clippy::too_many_arguments, reason = "an event has that many parts")]
    fn tell(
        &self,
        table: &'static str,
        at: Option<Table>,
        size: u64,
        index: usize,
        entry: &Entry,
        kind: RelocKind,
        definition: Option<&Definition<'_>>,
    ) {
        let object = self.object;
        self.report.tell_each(|| Kind::Relocation {
            table,
            index,
            entry: at.and_then(|t| object.file_offset(Vaddr(t.at.0 + index as u64 * size))).unwrap_or(FileOffset(0)),
            place: entry.place,
            kind: kind.name().into(),
            formula: kind.formula(),
            symbol: (entry.symbol != 0).then_some(entry.symbol),
            name: object
                .symbols()
                .get(entry.symbol)
                .filter(|_| entry.symbol != 0)
                .map(|s| String::from_utf8_lossy(object.symbols().name(&s)).into_owned()),
            b: object.bias(),
            s: kind.needs_symbol().then(|| Word(definition.map_or(0, |d| d.address.0))),
            a: entry.addend,
        });
    }
}

/// Pass 2 for one object: asks the resolvers and stores their answers.
///
/// # Safety
/// Every object that the resolvers may use has been through pass 1, and its dependencies through pass 2.
///
/// # Errors
/// A place that cannot be written.
pub(crate) unsafe fn second_pass<P: Probe + ?Sized>(
    object: &Object,
    deferred: &[Deferred],
    around: &(impl Around + ?Sized),
    watch: &mut Watch,
    report: Report<'_, P>,
) -> Result<()> {
    let wrap = |kind: ErrorKind| -> Error { kind.of(object.label(), Stage::Relocate) };
    for d in deferred {
        // SAFETY: the caller's.
        let answer = unsafe { ifunc::resolve(d.resolver, around, watch, report) };
        let value = Value { address: answer.0, ..Value::default() };
        let write = match d.kind {
            RelocKind::IRelative => Ok(Write::Word(answer.0)),
            kind => kind.compute(object.bias(), object.bias() + d.place, value, d.addend),
        };
        let entry = Entry { place: d.place, kind: d.kind as u32, symbol: 0, addend: d.addend };
        let write = write.map_err(|problem| wrap(refused(d.table, d.index, d.kind, &entry, problem)))?;
        // Opened for one store only: the resolver's own code may lie in these pages.
        if object.dynamic.textrel {
            object.memory.open_text(report).map_err(wrap)?;
        }
        store(object, d.place, write, report).ok_or_else(|| wrap(outside(d.table, d.index, d.kind.name(), d.place)))?;
        if report.listening() {
            watch.stored(&object.memory, d.place);
        }
        if object.dynamic.textrel {
            object.memory.shut_text(report).map_err(wrap)?;
        }
    }
    report.tell(|| Kind::Relocated { pass: 2, symbols: 0, looking_up: None });
    Ok(())
}

#[inline(always)]
#[track_caller]
fn store<P: Probe + ?Sized>(object: &Object, place: Vaddr, write: Write, report: Report<'_, P>) -> Option<()> {
    match write {
        Write::Nothing => Some(()),
        Write::Word(word) => object.memory.store(place, word, report),
        Write::Half(half) => object.memory.store(place, half, report),
        Write::Pair([first, second]) => {
            object.memory.store(place, first, report)?;
            object.memory.store(Vaddr(place.0.wrapping_add(8)), second, report)
        }
        // Both passes turn an indirect relocation into the resolver's answer before they come here.
        Write::Call(_) => None,
    }
}

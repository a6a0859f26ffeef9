//! Relocations that need more than the address of a symbol: sizes, thread-local variables, and IFUNCs, some of which
//! have to wait for pass 2.

use std::sync::Arc;

use super::refusals::{outside, unknown};
use super::{Deferred, Last, Pass, RelaEntry, store, tell};
use crate::elf::addr::Addr;
use crate::elf::reloc::{RelocKind, Relocation, Value};
use crate::error::ErrorKind;
use crate::event::Kind;
use crate::lookup::scope::Definition;
use crate::memory::{NothingAround, Watch};
use crate::runtime::{ifunc, tls};

impl<'a> Pass<'a, '_> {
    /// Applies an entry whose formula needs more of a symbol than its address, or no symbol at all.
    #[cold]
    pub(super) fn special(&mut self, at: RelaEntry<'_>) -> Result<(), ErrorKind> {
        let relocation = at.relocation();
        let Some(kind) = RelocKind::from_raw(relocation.kind) else {
            return Err(unknown(at.table.tag, at.index, relocation));
        };
        let (symbol, class) = (relocation.symbol, kind.class());
        match kind.needs_symbol() {
            true if self.last.is(symbol, class) && self.last.definition.is_some() => {}
            true => {
                self.symbols += 1;
                self.ask_scope(at, symbol, class)?;
            }
            false => self.last = Last::NONE,
        }
        let definition = self.last.definition;
        tell(self.object, at, kind, relocation, definition, self.report);
        if let Some(resolver) = self.must_wait(kind, relocation, definition) {
            self.defer(at, kind, relocation, resolver, definition);
            return Ok(());
        }
        let value = match kind.is_tls() {
            false => Some(self.value(definition)),
            true => self.tls_value(kind, relocation, definition).or_else(|e| self.fault(e))?,
        };
        // `None`: nothing defines the thread-local symbol, which is weak, or the load is only inspected. The slot stays
        // as it is.
        value.map_or(Ok(()), |value| self.apply(at, kind, relocation, value))
    }

    /// Computes the formula of an entry, and stores the result.
    fn apply(&self, at: RelaEntry<'_>, kind: RelocKind, relocation: Relocation, value: Value) -> Result<(), ErrorKind> {
        let Relocation { place, addend, .. } = relocation;
        let b = self.object.bias();
        let stored = match kind.compute(b, b + place, value, addend) {
            Ok(write) => store(self.object, place, write, self.report),
            Err(problem) => return self.fault(at.refused(problem)).map(|_: Option<()>| ()),
        };
        stored.ok_or_else(|| outside(at.table.tag, at.index, kind.name(), place))
    }

    /// The resolver that pass 2 has to call for this entry, if the value comes from one. Resolvers of start-up objects
    /// can be called at once: ld.so had relocated these objects before dlscope ran.
    fn must_wait(&self, kind: RelocKind, entry: Relocation, definition: Option<Definition<'a>>) -> Option<Addr> {
        if kind == RelocKind::IRelative {
            return Some(Addr(self.object.bias().0.wrapping_add_signed(entry.addend)));
        }
        let definition = definition.filter(|d| d.symbol.is_ifunc())?;
        definition.object.filter(|o| !o.is_startup()).map(|_| definition.address)
    }

    fn defer(
        &mut self,
        at: RelaEntry<'_>,
        kind: RelocKind,
        relocation: Relocation,
        resolver: Addr,
        definition: Option<Definition<'a>>,
    ) {
        let (table, index, Relocation { place, addend, .. }) = (at.table.tag, at.index, relocation);
        let of = definition.and_then(|d| d.object).unwrap_or(self.object);
        self.report.tell(|| Kind::Deferred { table, index, place, resolver_of: of.tag.clone() });
        self.linked.deferred.push(Deferred { table, index, place, kind, addend, resolver });
    }

    /// What formulas may use of a symbol that is not thread-local: its address and its size. Without a definition, both
    /// are 0.
    fn value(&self, definition: Option<Definition<'a>>) -> Value {
        let Some(d) = definition else { return Value::default() };
        let mut value = Value { address: d.address.0, size: d.symbol.size(), ..Value::default() };
        if d.symbol.is_ifunc() && d.object.is_some() {
            // SAFETY: `must_wait` said no, so this is the resolver of a start-up object, which is complete and
            // relocated.
            value.address = unsafe { ifunc::resolve(d.address, &NothingAround, &mut Watch::default(), self.report) }.0;
        }
        value
    }

    /// What formulas may use of a thread-local variable: where its block is, in the form that `kind` wants. `None`: the
    /// slot stays as it is.
    #[cold]
    fn tls_value(
        &mut self,
        kind: RelocKind,
        entry: Relocation,
        definition: Option<Definition<'a>>,
    ) -> Result<Option<Value>, ErrorKind> {
        let Some(Definition { object: Some(owner), symbol, .. }) = definition else {
            let descriptor = (kind == RelocKind::TlsDesc).then(|| tls::undefined_descriptor(entry.addend));
            return Ok(descriptor.map(|words| Value { descriptor: Some(words), ..Value::default() }));
        };
        let block_offset = symbol.value().0;
        let mut value = Value { block_offset, ..Value::default() };
        if owner.is_host() {
            value.module = self.host.tls_module(owner);
            let block = self.host.tls_offset(owner);
            value.tp_offset = block.map(|block| (block_offset as i64).wrapping_sub(block as i64));
        }
        let offset = block_offset.wrapping_add_signed(entry.addend);
        let module = || {
            let at = self.object.bias().vaddr(self.object.bias() + entry.place);
            owner.tls_module.ok_or_else(|| {
                let rule = "a thread-local variable lies in its library's PT_TLS (ELF TLS, \"Program Header\")";
                ErrorKind::malformed("PT_TLS", at, "none", "one", rule)
            })
        };
        match kind {
            RelocKind::TlsDesc => {
                let (words, argument) = match value.module {
                    Some(id) => tls::host_descriptor(
                        value.tp_offset.map(|at| at.wrapping_add(entry.addend)),
                        tls::TlsIndex { module: id, offset },
                    ),
                    None => tls::descriptor(module()?, offset, self.report.about(&owner.tag)),
                };
                value.descriptor = Some(words);
                self.linked.kept.extend(argument.map(|argument| argument as Arc<dyn Send + Sync>));
            }
            _ if owner.is_host() => {}
            RelocKind::TpOff64 => {
                let block = tls::require_static(module()?, self.report.about(&owner.tag))?;
                value.tp_offset = Some(block.wrapping_add_unsigned(block_offset));
            }
            _ => value.module = Some(module()?),
        }
        Ok(Some(value))
    }
}

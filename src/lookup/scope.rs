//! Which definition a reference binds to.
//!
//! ld.so(8) and gABI "Shared Object Dependencies"; glibc `_dl_lookup_symbol_x`, musl `find_sym`. A scope is a
//! list of objects, asked in order; the first definition wins, weak or not.

use std::cell::RefCell;
use std::ffi::CStr;
use std::sync::Arc;

use crate::elf::addr::Addr;
use crate::elf::gnu_hash::GnuHash;
use crate::elf::symbol::{Class, Probing, Symbol, SymbolTable, Trail, Wanted};
use crate::error::ErrorKind;
use crate::event::{Binding, Candidate, Kind, Report};
use crate::hash::Map;
use crate::host::{self, Host};
use crate::lock::Lock;
use crate::lookup::first::First;
use crate::memory;
use crate::namespace::{Members, OneOfAKind};
use crate::object::Object;
use crate::policy::{Defined, Policy, StandIn, Whose};

/// Where the references of a batch are looked for.
pub(crate) struct Scope<'a> {
    /// Given by the user: before everything else.
    defined: &'a Defined,
    /// Functions of dlscope in place of the C library's.
    stand_ins: &'static [StandIn],
    /// The objects in the order in which they are asked, each once: everybody's (start-up objects, then those
    /// opened with `RTLD_GLOBAL`), then the opened library and its dependencies, breadth first.
    asked: Vec<InScope<'a>>,
    /// Where each stands among them, by tag.
    places: Map<u32, usize>,
    /// Says who is the first to have a name, where there is enough to ask.
    first: Option<Arc<First>>,
    /// `STB_GNU_UNIQUE` definitions that were chosen so far.
    pub unique: Unique<'a>,
    /// What is known of the host.
    pub host: &'a Host,
}

/// So few references are not worth a thought about tables.
const FEW: usize = 300;

/// One object of a scope, with the table that says "no" for it: side by side, since most answers are "no".
struct InScope<'a> {
    gnu: Option<GnuHash<'a>>,
    object: &'a Object,
}

impl InScope<'_> {
    /// Whether the object may define a name with this hash.
    #[inline(always)]
    fn may_have(&self, hash: u32) -> bool {
        self.gnu.as_ref().is_none_or(|gnu| gnu.may_have(hash))
    }

    /// The same for a hash of which the lowest bit is not known, and more exactly.
    fn may_have_half(&self, hash: u32) -> bool {
        self.gnu.as_ref().is_none_or(|gnu| gnu.has_half(hash))
    }
}

/// The table of `STB_GNU_UNIQUE` symbols: one definition for the whole namespace, the first that anyone bound to,
/// whatever its version. It fills while a batch is relocated. glibc `do_lookup_unique`.
pub(crate) struct Unique<'a> {
    members: &'a Members,
    host: &'a Host,
    /// Chosen by this batch.
    fresh: RefCell<Chosen<'a>>,
}

/// From a name to the object that has it, and its symbol's index there.
type Chosen<'a> = Map<&'a [u8], (&'a Object, u32)>;

impl<'a> Unique<'a> {
    pub(crate) fn new(members: &'a Members, host: &'a Host) -> Unique<'a> {
        Unique { members, host, fresh: RefCell::default() }
    }

    /// The definition that counts, when this one was found.
    fn first(&self, object: &'a Object, index: u32, symbol: &Symbol<'_>) -> (&'a Object, u32) {
        let name = object.symbols().name(symbol);
        let known = self.members.unique(name, self.host);
        known.unwrap_or_else(|| *self.fresh.borrow_mut().entry(name).or_insert((object, index)))
    }

    /// What this batch chose.
    pub(crate) fn chosen(self) -> Vec<OneOfAKind> {
        let chosen = self.fresh.into_inner().into_iter();
        chosen.map(|(name, (object, index))| OneOfAKind { name: name.into(), object: object.tag.id, index }).collect()
    }
}

/// What a reference is bound to.
#[derive(Clone, Copy)]
pub(crate) struct Definition<'a> {
    /// The object that has it; `None` for one that the user or dlscope itself gives.
    pub object: Option<&'a Object>,
    /// Its index in that object's symbol table.
    pub index: u32,
    /// The entry there; for a given one, that of the reference.
    pub symbol: Symbol<'a>,
    /// `S`: where it lies. For an IFUNC, its resolver.
    pub address: Addr,
}

/// Keeps the objects asked and what each said; `()` does not.
pub(crate) trait Witness {
    type Trail: Trail + Default;
    /// Whether every object that is asked must be seen to be asked.
    const WATCHES: bool;
    fn asked(&mut self, object: &Object, trail: Self::Trail);
}

impl Witness for () {
    type Trail = ();
    const WATCHES: bool = false;
    #[inline(always)]
    fn asked(&mut self, _: &Object, (): ()) {}
}

impl Witness for Vec<Candidate> {
    type Trail = Vec<Probing>;
    const WATCHES: bool = true;
    fn asked(&mut self, object: &Object, steps: Vec<Probing>) {
        self.push(Candidate { object: object.tag.clone(), steps });
    }
}

impl<'a> Scope<'a> {
    /// Everybody's objects, then the local ones; or the other way round, if the batch is opened with `RTLD_DEEPBIND`.
    pub(crate) fn new(
        policy: &'a Policy,
        everybodys: Vec<&'a Object>,
        local: impl Iterator<Item = &'a Object>,
        deep: bool,
        unique: Unique<'a>,
    ) -> Scope<'a> {
        let (asked, places) = match deep {
            false => each_once(everybodys.into_iter().chain(local)),
            true => each_once(local.chain(everybodys)),
        };
        let Policy { defined, stand_ins, .. } = policy;
        Scope { defined, stand_ins, asked, places, first: None, host: unique.host, unique }
    }

    /// Makes a table over several objects that answers most questions at once, where so many `references` are worth it.
    /// `everybodys`: so many objects of the scope are everybody's.
    pub(crate) fn make_table(&mut self, references: usize, everybodys: usize, lock: &Lock) {
        if references < FEW {
            return;
        }
        // Where all others do not have a name, the last one is asked.
        let others = self.asked.len().saturating_sub(1);
        let objects = self.asked.iter().map(|asked| asked.object).take(others);
        self.first = match others <= everybodys {
            true => First::kept(objects, references, lock),
            false => First::over(objects, references).map(Arc::new),
        };
    }

    /// The scope as `from`, one of its objects, asks it.
    pub(crate) fn of<'s>(&'s self, from: &'a Object, report: Report<'s>) -> ScopeOf<'s, 'a> {
        // What the user gave comes before all objects. Who watches asks every object.
        let asks_all = !self.defined.is_empty() || report.closely();
        let place = self.places.get(&from.tag.id).copied().filter(|_| !asks_all);
        let before = place.map(|place| if from.dynamic.symbolic { 0 } else { place });
        let before = before.and_then(|before| self.asked.get(..before)).zip(from.gnu_hash());
        ScopeOf { scope: self, from, symbols: from.symbols(), before, first: self.first.as_deref(), report }
    }
}

/// What a reference is bound to. [`ScopeOf::refusal`] words the last two as errors.
pub(crate) enum Answer<'a> {
    To(Definition<'a>),
    /// Undefined, and weak: that is no error, and its address is 0.
    ToNothing,
    /// Undefined, and not weak.
    Undefined,
    /// The index is none of the symbol table.
    NoSuchIndex,
}

/// A scope as one of its objects asks it, with what most questions need at hand.
pub(crate) struct ScopeOf<'s, 'a> {
    scope: &'s Scope<'a>,
    from: &'a Object,
    /// Its own symbol table.
    symbols: &'a SymbolTable<'a>,
    /// The objects that are asked before it, and its own hash table. `None`: nothing can be said without asking.
    before: Option<(&'s [InScope<'a>], GnuHash<'a>)>,
    first: Option<&'s First>,
    report: Report<'s>,
}

impl<'a> ScopeOf<'_, 'a> {
    /// Binds the reference that symbol `index` is.
    #[inline(always)]
    pub(crate) fn bind(&self, index: u32, class: Class) -> Answer<'a> {
        let Some(reference) = self.symbols.get(index) else { return Answer::NoSuchIndex };
        if reference.binds_locally() {
            return Answer::To(definition(self.from, index, reference));
        }
        if reference.is_exported() && reference.defines(class) && self.is_first(index) {
            return Answer::To(self.scope.found(self.from, index, reference));
        }
        match self.search(index, reference, class) {
            Some(found) => Answer::To(found),
            None if reference.is_weak() => Answer::ToNothing,
            None => Answer::Undefined,
        }
    }

    /// The address of symbol `index`, if it is a plain definition of the object itself, and nobody can have its name
    /// before. Most symbols of C++ libraries are. Who watches sees every object say "no" by itself: there it is `None`.
    #[inline(always)]
    pub(crate) fn own_address(&self, index: u32) -> Option<Addr> {
        let symbol = self.symbols.get(index).filter(|symbol| symbol.is_plain())?;
        self.is_first(index).then(|| self.from.bias() + symbol.value())
    }

    /// Whether nobody before the object can have the name of symbol `index`, which the object defines. No name is read
    /// for that, because the object's own hash chain has all but the lowest bit of the hash.
    #[inline(always)]
    fn is_first(&self, index: u32) -> bool {
        let Some((before, gnu)) = &self.before else { return false };
        gnu.half_hash(index).is_some_and(|hash| nobody_has(before, self.first, hash))
    }

    /// Asks the objects of the scope in order. Who watches sees every object say "no" by itself.
    #[inline(never)]
    fn search(&self, index: u32, reference: Symbol<'a>, class: Class) -> Option<Definition<'a>> {
        let wanted = self.symbols.wanted(index, &reference, class);
        let mut candidates = None;
        let found = match self.report.closely() {
            true => self.scope.find_for(self.from, index, reference, &wanted, candidates.insert(Vec::new())),
            false => self.scope.find_for(self.from, index, reference, &wanted, &mut ()),
        };
        tell(&wanted, candidates, found, self.report);
        found
    }

    /// Asks the processor for what [`ScopeOf::bind`] will read first of symbol `index`, without waiting for it.
    #[inline(always)]
    pub(crate) fn fetch_symbol(&self, index: u32) {
        memory::prefetch(self.symbols.address_of(index));
    }

    /// The same for what it will read next; the symbol itself should have arrived.
    #[inline(always)]
    pub(crate) fn fetch_key(&self, index: u32) {
        memory::prefetch(self.symbols.key_place(index));
    }

    /// The error for a reference that is bound to nothing. `wanted_by`: the relocation, for people.
    #[cold]
    pub(crate) fn refusal(&self, bound: &Answer<'_>, index: u32, class: Class, wanted_by: String) -> ErrorKind {
        let reference = self.symbols.get(index).filter(|_| matches!(bound, Answer::Undefined));
        let Some(reference) = reference else {
            let at = self.from.dynamic.symbols.unwrap_or_default();
            let rule = "r_info's upper half is an index into DT_SYMTAB (gABI, \"Relocation\")";
            return ErrorKind::malformed("symbol index of a relocation", at, index, "one inside DT_SYMTAB", rule);
        };
        let wanted = self.symbols.wanted(index, &reference, class);
        ErrorKind::UndefinedSymbol {
            symbol: String::from_utf8_lossy(wanted.name).into_owned(),
            version: wanted.version_text(),
            wanted_by,
            searched: self.scope.searched(self.from),
        }
    }
}

impl<'a> Scope<'a> {
    /// The objects that were asked, for an error.
    fn searched(&self, from: &Object) -> Vec<String> {
        let first = from.dynamic.symbolic.then_some(from);
        first.into_iter().chain(self.asked.iter().map(|a| a.object)).map(|o| o.tag.short().into()).collect()
    }

    fn find_for<W: Witness>(
        &self,
        from: &'a Object,
        index: u32,
        reference: Symbol<'a>,
        wanted: &Wanted<'_>,
        witness: &mut W,
    ) -> Option<Definition<'a>> {
        let own = definition(from, index, reference);
        if !self.defined.is_empty()
            && let Some(&address) = self.defined.get(wanted.name)
        {
            return Some(Definition { object: None, address, ..own });
        }
        let found = self.find(from, wanted, witness);
        // A protected symbol is its own object's business. But if the program has a canonical PLT entry for
        // it, that entry *is* the function's address for everyone, or pointers to it would not be equal.
        if own.symbol.is_protected() && !own.symbol.is_undefined() && found.is_some_and(|f| !is_of(&f, from)) {
            let real = Wanted::new(wanted.name, wanted.version, Class::Plt);
            let elsewhere =
                wanted.class == Class::Plt || self.find(from, &real, witness).is_none_or(|f| !is_of(&f, from));
            if elsewhere {
                return Some(own);
            }
        }
        let found = found?;
        let stand_in = found.object.and_then(|object| stand_in(self.stand_ins, object, wanted.name, wanted.hash));
        Some(stand_in.map_or(found, |address| Definition { object: None, address, ..found }))
    }

    fn find<W: Witness>(&self, from: &'a Object, wanted: &Wanted<'_>, witness: &mut W) -> Option<Definition<'a>> {
        if from.dynamic.symbolic
            && let Some(found) = self.ask(from, wanted, witness)
        {
            return Some(found);
        }
        let start = match &self.first {
            // Who watches sees every object say "no" by itself.
            Some(table) if !W::WATCHES => table.place(wanted.hash).min(self.asked.len()),
            _ => 0,
        };
        for asked in &self.asked[start..] {
            if (W::WATCHES || asked.may_have(wanted.hash))
                && let Some(found) = self.ask(asked.object, wanted, witness)
            {
                return Some(found);
            }
        }
        None
    }

    #[inline(always)]
    fn ask<W: Witness>(&self, object: &'a Object, wanted: &Wanted<'_>, witness: &mut W) -> Option<Definition<'a>> {
        let mut trail = W::Trail::default();
        let found = object.symbols().find(wanted, &mut trail);
        witness.asked(object, trail);
        found.map(|(index, symbol)| self.found(object, index, symbol))
    }

    /// What the symbol that was found means: itself, or the first of its name if there may be only one.
    #[inline(always)]
    fn found(&self, object: &'a Object, index: u32, symbol: Symbol<'a>) -> Definition<'a> {
        if symbol.is_unique() { self.only_one(object, index, symbol) } else { definition(object, index, symbol) }
    }

    #[cold]
    fn only_one(&self, object: &'a Object, index: u32, symbol: Symbol<'a>) -> Definition<'a> {
        let (first, index) = self.unique.first(object, index, &symbol);
        definition(first, index, first.symbols().get(index).unwrap_or(symbol))
    }
}

/// dlscope's own function for a name that `object`, one of the host's, defines.
#[inline]
pub(crate) fn stand_in(table: &[StandIn], object: &Object, name: &[u8], hash: u32) -> Option<Addr> {
    if !object.is_host() {
        return None;
    }
    let stand_in = table.iter().find(|s| s.hash == hash && s.name == name)?;
    let replaces = stand_in.whose == Whose::Host || host::is_c_library(object);
    let address = if replaces { (stand_in.address)() } else { None };
    address.map(|address| Addr(address.expose_provenance() as u64))
}

/// Whether none of these objects, the first of a scope, can have a name with this hash, of which the lowest bit is not
/// known. No name is read for that.
#[inline(always)]
fn nobody_has(objects: &[InScope<'_>], first: Option<&First>, hash: u32) -> bool {
    let start = match first {
        Some(first) => first.place(hash),
        None => 0,
    };
    start >= objects.len() || !objects[start..].iter().any(|asked| asked.may_have_half(hash))
}

/// The objects in this order without repetitions: whoever was asked before would say no again.
fn each_once<'a>(objects: impl Iterator<Item = &'a Object>) -> (Vec<InScope<'a>>, Map<u32, usize>) {
    let count = objects.size_hint().0;
    let mut asked = Vec::with_capacity(count);
    let mut places = Map::with_capacity_and_hasher(count, Default::default());
    for object in objects {
        places.entry(object.tag.id).or_insert_with(|| {
            asked.push(InScope { gnu: object.gnu_hash(), object });
            asked.len() - 1
        });
    }
    (asked, places)
}

#[inline]
pub(crate) fn definition<'a>(object: &'a Object, index: u32, symbol: Symbol<'a>) -> Definition<'a> {
    Definition { object: Some(object), index, symbol, address: symbol.address(object.bias()) }
}

fn is_of(definition: &Definition<'_>, object: &Object) -> bool {
    definition.object.is_some_and(|o| std::ptr::eq(o, object))
}

/// How many were asked, and what the last one had.
pub(crate) fn ask_in_turn<'o, W: Witness>(
    objects: &'o [Arc<Object>],
    wanted: &Wanted<'_>,
    witness: &mut W,
) -> (usize, Option<Definition<'o>>) {
    for (place, object) in objects.iter().enumerate() {
        let mut trail = W::Trail::default();
        let found = object.symbols().find(wanted, &mut trail);
        witness.asked(object, trail);
        if let Some((index, symbol)) = found {
            return (place + 1, Some(definition(object, index, symbol)));
        }
    }
    (objects.len(), None)
}

/// Tells of a lookup, with every object that was asked.
#[inline(always)]
#[track_caller]
pub(crate) fn tell(
    wanted: &Wanted<'_>,
    candidates: Option<Vec<Candidate>>,
    found: Option<Definition<'_>>,
    report: Report<'_>,
) {
    report.tell_each(|| Kind::Lookup {
        name: String::from_utf8_lossy(wanted.name).into_owned(),
        version: wanted.version_text(),
        hash: wanted.hash,
        candidates: candidates.unwrap_or_default(),
        found: found.map(|d| Binding {
            object: d.object.map(|o| o.tag.clone()),
            symbol: d.object.map(|_| d.index),
            address: d.address,
            version: d.object.and_then(|o| o.symbols().version_text(d.index)),
            ours: d.object.is_none(),
        }),
    });
}

/// A name from C.
///
/// # Safety
/// `name` is null or a C string.
pub(crate) unsafe fn c_name<'c>(name: *const std::ffi::c_char) -> Option<&'c [u8]> {
    // SAFETY: the caller's.
    (!name.is_null()).then(|| unsafe { CStr::from_ptr(name) }.to_bytes())
}

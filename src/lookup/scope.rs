//! Which definition a reference binds to.
//!
//! ld.so(8) and gABI "Shared Object Dependencies"; glibc `_dl_lookup_symbol_x`, musl `find_sym`. A scope is a list of
//! objects, which are asked in order. The first definition counts, weak or not. The *global scope* comes first: the
//! start-up objects, then those opened with `RTLD_GLOBAL`. The *local scope* follows: the opened library and its
//! dependencies, breadth first.

use std::cell::RefCell;
use std::ffi::CStr;
use std::sync::Arc;

use crate::elf::addr::Addr;
use crate::elf::gnu_hash::GnuHash;
use crate::elf::symbol::{Class, Probing, Symbol, SymbolTable, Trail, Wanted};
use crate::error::ErrorKind;
use crate::event::{Binding, Candidate, Kind, Report};
use crate::host::{self, Host};
use crate::lock::Lock;
use crate::lookup::first::First;
use crate::memory;
use crate::namespace::{Members, OneOfAKind};
use crate::object::Object;
use crate::policy::{Defined, Policy, StandIn};
use crate::text::escape;
use rustc_hash::FxHashMap as Map;

/// The definitions that the references of a batch can be bound to.
pub(crate) struct Scope<'a> {
    /// Definitions that the user gave with `Loader::define`. They come before every object.
    defined: &'a Defined,
    /// Functions of dlscope that stand in for some of the C library's.
    stand_ins: &'static [StandIn],
    /// A bit for the hash of each of them, modulo 64: nearly every name is none of theirs.
    stand_in_marks: u64,
    /// The objects in the order in which they are asked, each once: the global scope, then the local scope. With
    /// `RTLD_DEEPBIND` it is the other way round.
    asked: Vec<InScope<'a>>,
    /// The place of each object in `asked`, by tag.
    places: Map<u32, usize>,
    /// Whether a name that an object defines itself is looked for by hash in the objects before it, and not in the object
    /// again. It takes some lookups before that pays.
    by_hash: bool,
    /// The table that says which object may be the first to have a name. `None` if it does not pay.
    first: Option<Arc<First>>,
    /// The `STB_GNU_UNIQUE` definitions that were chosen so far.
    pub unique: Unique<'a>,
    /// The objects of the host.
    pub host: &'a Host,
}

/// With fewer references than this, every lookup goes the plain way.
const FEW: usize = 32;

/// With fewer references than this, no table is considered.
const FEW_FOR_TABLE: usize = 300;

/// One object of a scope beside its hash table. The two stand side by side because the table alone says "no" most of
/// the time.
struct InScope<'a> {
    gnu: Option<GnuHash<'a>>,
    object: &'a Object,
}

impl InScope<'_> {
    /// Whether the object may define a name with this GNU hash. "No" is certain.
    #[inline(always)]
    fn may_have(&self, hash: u32) -> bool {
        self.gnu.as_ref().is_none_or(|gnu| gnu.may_have(hash))
    }

    /// [`InScope::may_have`] for a hash whose lowest bit is not known. It looks into the hash chain, too, and so says
    /// "yes" in vain less often.
    fn may_have_half(&self, hash: u32) -> bool {
        self.gnu.as_ref().is_none_or(|gnu| gnu.has_half(hash))
    }
}

/// The table of `STB_GNU_UNIQUE` symbols. Each name has one definition in the whole namespace: the first that any
/// reference was bound to, whatever its version. The table fills while a batch is relocated. glibc `do_lookup_unique`.
pub(crate) struct Unique<'a> {
    members: &'a Members,
    host: &'a Host,
    /// The definitions that this batch chose. The namespace does not know them yet.
    fresh: RefCell<Chosen<'a>>,
}

/// From a name to the object that has it, and its symbol's index there.
type Chosen<'a> = Map<&'a [u8], (&'a Object, u32)>;

impl<'a> Unique<'a> {
    pub(crate) fn new(members: &'a Members, host: &'a Host) -> Unique<'a> {
        Unique { members, host, fresh: RefCell::default() }
    }

    /// The definition that counts where symbol `index` of `object` was found: the first one of its name.
    fn first(&self, object: &'a Object, index: u32, symbol: &Symbol<'_>) -> (&'a Object, u32) {
        let name = object.symbols().name(symbol);
        let known = self.members.unique(name, self.host);
        known.unwrap_or_else(|| *self.fresh.borrow_mut().entry(name).or_insert((object, index)))
    }

    /// The definitions that this batch chose, for the namespace to remember.
    pub(crate) fn chosen(self) -> Vec<OneOfAKind> {
        let chosen = self.fresh.into_inner().into_iter();
        chosen.map(|(name, (object, index))| OneOfAKind { name: name.into(), object: object.tag.id, index }).collect()
    }
}

/// What a reference is bound to.
#[derive(Clone, Copy)]
pub(crate) struct Definition<'a> {
    /// The object that has the definition. `None` for an address that the user or dlscope itself gives.
    pub object: Option<&'a Object>,
    /// The symbol's index in the symbol table of `object`.
    pub index: u32,
    /// The symbol's entry there. For a given address: the entry of the reference, or of the definition that is
    /// replaced.
    pub symbol: Symbol<'a>,
    /// `S`: the address of the definition. For an IFUNC, the address of its resolver.
    pub address: Addr,
}

/// Keeps the objects that were asked, and what each of them said. `()` keeps nothing.
pub(crate) trait Witness {
    type Trail: Trail + Default;
    /// Whether every object must be asked, even where a table or a Bloom filter says "no" beforehand.
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
    /// The scope of `everybodys`, the objects of the global scope, and then the local ones. `deep`: the batch is opened
    /// with `RTLD_DEEPBIND`, and it is the other way round.
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
        let stand_in_marks = stand_ins.iter().fold(0, |marks, stand_in| marks | 1 << (stand_in.hash % 64));
        Scope {
            defined,
            stand_ins,
            stand_in_marks,
            asked,
            places,
            by_hash: false,
            first: None,
            host: unique.host,
            unique,
        }
    }

    /// Allows the short cuts that so many `references` pay for. The first `everybodys` objects are those of the global
    /// scope.
    pub(crate) fn allow_short_cuts(&mut self, references: usize, everybodys: usize, lock: &Lock) {
        // A probe that listens closely wants to see every object asked; definitions of the user come before all objects.
        self.by_hash = references >= FEW && self.defined.is_empty();
        if references < FEW_FOR_TABLE {
            return;
        }
        // The last object is asked for every name that all others do not have, so the table need not cover it.
        let others = self.asked.len().saturating_sub(1);
        let objects = self.asked.iter().map(|asked| asked.object).take(others);
        self.first = match others <= everybodys {
            true => First::kept(objects, references, lock),
            false => First::over(objects, references).map(Arc::new),
        };
    }

    /// The scope as `from`, one of its objects, asks it.
    pub(crate) fn of<'s>(&'s self, from: &'a Object, report: Report<'s>) -> ScopeOf<'s, 'a> {
        let place = self.places.get(&from.tag.id).filter(|_| self.by_hash && !report.closely());
        let before = place.map(|&place| if from.dynamic.symbolic { 0 } else { place });
        let before = before.and_then(|before| self.asked.get(..before)).zip(from.gnu_hash());
        ScopeOf { scope: self, from, symbols: from.symbols(), before, first: self.first.as_deref(), report }
    }
}

/// The answer to a reference. [`ScopeOf::refusal`] words the last two as errors.
pub(crate) enum Answer<'a> {
    To(Definition<'a>),
    /// No object defines the symbol, and the reference is weak. That is no error: its address is 0.
    ToNothing,
    /// No object defines the symbol, and the reference is not weak.
    Undefined,
    /// The index lies outside the symbol table.
    NoSuchIndex,
}

/// A scope as one of its objects, `from`, asks it. It has at hand what most questions need.
pub(crate) struct ScopeOf<'s, 'a> {
    scope: &'s Scope<'a>,
    from: &'a Object,
    /// The symbol table of `from`.
    symbols: &'a SymbolTable<'a>,
    /// The objects that are asked before `from`, and the hash table of `from`. `None`: every object must be asked.
    before: Option<(&'s [InScope<'a>], GnuHash<'a>)>,
    first: Option<&'s First>,
    report: Report<'s>,
}

impl<'a> ScopeOf<'_, 'a> {
    /// Binds the reference that symbol `index` of the object is.
    #[inline(always)]
    pub(crate) fn bind(&self, index: u32, class: Class) -> Answer<'a> {
        let Some(reference) = self.symbols.get(index) else { return Answer::NoSuchIndex };
        if reference.binds_locally() {
            return Answer::To(definition(self.from, index, reference));
        }
        if let Some(before) = &self.before
            && reference.defines(class)
            && reference.is_exported()
            && !reference.is_plain()
            && self.is_first(before, index)
        {
            return Answer::To(self.scope.found(self.from, index, reference));
        }
        match self.search(index, reference, class) {
            Some(found) => Answer::To(found),
            None if reference.is_weak() => Answer::ToNothing,
            None => Answer::Undefined,
        }
    }

    /// The address of symbol `index`, if the object itself defines it plainly, and no object that is asked before can
    /// have its name. Most symbols of C++ libraries are like that. `None` where a probe wants to see every object
    /// asked.
    #[inline(always)]
    pub(crate) fn own_address(&self, index: u32) -> Option<Addr> {
        let before = self.before.as_ref()?;
        let symbol = self.symbols.get(index).filter(|symbol| symbol.is_plain())?;
        self.is_first(before, index).then(|| self.from.bias() + symbol.value())
    }

    /// Whether no object that is asked `before` this one can have the name of symbol `index`, which this one defines. No
    /// name is read for that, because the object's own hash chain has all but the lowest bit of the hash.
    #[inline(always)]
    fn is_first(&self, (before, gnu): &(&[InScope<'a>], GnuHash<'a>), index: u32) -> bool {
        gnu.half_hash(index).is_some_and(|hash| nobody_has(before, self.first, hash))
    }

    /// Asks the objects of the scope in order. If a probe wants to see it, no object is passed over, and each answer is
    /// kept.
    #[inline(always)]
    fn search(&self, index: u32, reference: Symbol<'a>, class: Class) -> Option<Definition<'a>> {
        let wanted = self.symbols.wanted(index, &reference, class);
        let own = definition(self.from, index, reference);
        if self.report.closely() { self.find_in_view(own, &wanted) } else { self.find_for(own, &wanted, &mut ()) }
    }

    /// [`ScopeOf::find_for`] before a probe, which sees every object that was asked.
    #[cold]
    #[track_caller]
    fn find_in_view(&self, own: Definition<'a>, wanted: &Wanted<'_>) -> Option<Definition<'a>> {
        let mut candidates = Vec::new();
        let found = self.find_for(own, wanted, &mut candidates);
        self.report.tell_each(|| lookup_event(wanted, candidates, found));
        found
    }

    /// The definition that the symbol `own` of the object is bound to.
    fn find_for<W: Witness>(
        &self,
        own: Definition<'a>,
        wanted: &Wanted<'_>,
        witness: &mut W,
    ) -> Option<Definition<'a>> {
        let ScopeOf { scope, from, .. } = *self;
        if !scope.defined.is_empty()
            && let Some(&address) = scope.defined.get(wanted.name)
        {
            return Some(Definition { object: None, address, ..own });
        }
        let found = scope.find(from, wanted, witness);
        // A reference to a protected symbol binds to the object's own definition. But if the program has a canonical
        // PLT entry for the function, that entry *is* the function's address for everyone, or pointers to it would not
        // be equal.
        if own.symbol.is_protected() && !own.symbol.is_undefined() && found.is_some_and(|f| !is_of(&f, from)) {
            let real = Wanted::new(wanted.name, wanted.version, Class::Plt);
            let elsewhere =
                wanted.class == Class::Plt || scope.find(from, &real, witness).is_none_or(|f| !is_of(&f, from));
            if elsewhere {
                return Some(own);
            }
        }
        let found = found?;
        if scope.stand_in_marks >> (wanted.hash % 64) & 1 == 0 {
            return Some(found);
        }
        let stand_in = found.object.and_then(|object| stand_in(scope.stand_ins, object, wanted.name, wanted.hash));
        Some(stand_in.map_or(found, |address| Definition { object: None, address, ..found }))
    }

    /// Asks the processor for what [`ScopeOf::bind`] will read first of symbol `index`, without waiting for it.
    #[inline(always)]
    pub(crate) fn fetch_symbol(&self, index: u32) {
        memory::prefetch(self.symbols.address_of(index));
    }

    /// Asks the processor for what [`ScopeOf::bind`] reads next: the symbol's word in the hash chain, or its name. The
    /// symbol itself should have arrived by now.
    #[inline(always)]
    pub(crate) fn fetch_key(&self, index: u32) {
        memory::prefetch(self.symbols.key_place(index));
    }

    /// The error for a reference that is bound to nothing. `wanted_by` is the relocation, in words for people.
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
            symbol: escape(wanted.name).into_owned(),
            version: wanted.version_text(),
            wanted_by,
            searched: self.scope.searched(self.from),
        }
    }
}

impl<'a> Scope<'a> {
    /// The names of the objects that were asked, for an error.
    fn searched(&self, from: &Object) -> Vec<String> {
        let first = from.dynamic.symbolic.then_some(from);
        first.into_iter().chain(self.asked.iter().map(|a| a.object)).map(|o| o.tag.short().into()).collect()
    }

    fn find<W: Witness>(&self, from: &'a Object, wanted: &Wanted<'_>, witness: &mut W) -> Option<Definition<'a>> {
        if from.dynamic.symbolic
            && let Some(found) = self.ask(from, wanted, witness)
        {
            return Some(found);
        }
        let start = match &self.first {
            // A probe wants to see every object asked.
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

    /// The definition that a found symbol stands for: itself, or the first of its name if it is `STB_GNU_UNIQUE`.
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

/// The address of dlscope's own function for a name that `object` defines. `None` if there is none, or if `object` is
/// not one of the host's.
#[inline]
pub(crate) fn stand_in(table: &[StandIn], object: &Object, name: &[u8], hash: u32) -> Option<Addr> {
    if !object.is_host() {
        return None;
    }
    let stand_in = table.iter().find(|s| s.hash == hash && s.name == name)?;
    stand_in.address_for(|| host::is_c_library(object))
}

/// Whether none of `objects`, the first ones of a scope, can have a name with this hash, whose lowest bit is not known.
/// No name is read for that.
#[inline(always)]
fn nobody_has(objects: &[InScope<'_>], first: Option<&First>, hash: u32) -> bool {
    let start = match first {
        Some(first) => first.place(hash),
        None => 0,
    };
    start >= objects.len() || !objects[start..].iter().any(|asked| asked.may_have_half(hash))
}

/// The objects in this order without repetitions: an object that was asked before would say "no" again.
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

/// Asks the objects in order. Returns how many were asked, and the definition that the last one of them has, if any.
/// glibc `do_lookup_x`, musl `find_sym2`.
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

/// The event of a lookup, with every object that was asked.
#[cold]
pub(crate) fn lookup_event(wanted: &Wanted<'_>, candidates: Vec<Candidate>, found: Option<Definition<'_>>) -> Kind {
    Kind::Lookup {
        name: escape(wanted.name).into_owned(),
        version: wanted.version_text(),
        hash: wanted.hash,
        candidates,
        found: found.map(|d| Binding {
            object: d.object.map(|o| o.tag.clone()),
            symbol: d.object.map(|_| d.index),
            address: d.address,
            version: d.object.and_then(|o| o.symbols().version_text(d.index)),
            ours: d.object.is_none(),
        }),
    }
}

/// The bytes of a C string without its NUL; `None` for null.
///
/// # Safety
/// `name` is null or a C string that stays as it is for `'c`.
pub(crate) unsafe fn c_name<'c>(name: *const std::ffi::c_char) -> Option<&'c [u8]> {
    // SAFETY: the caller says that a name which is not null is a C string.
    (!name.is_null()).then(|| unsafe { CStr::from_ptr(name) }.to_bytes())
}

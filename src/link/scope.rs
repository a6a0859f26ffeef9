//! Which definition a reference binds to.
//!
//! ld.so(8) and gABI "Shared Object Dependencies"; glibc `_dl_lookup_symbol_x`, musl `find_sym`. A scope is a
//! list of objects, asked in order; the first definition wins, weak or not.

use std::cell::RefCell;
use std::ffi::CStr;
use std::sync::Arc;

use crate::elf::addr::Addr;
use crate::elf::gnu_hash::GnuHash;
use crate::elf::symbol::{Class, Probing, Symbol, Trail, Wanted};
use crate::error::ErrorKind;
use crate::event::{Binding, Candidate, Kind, Probe, Report};
use crate::hash::Map;
use crate::host::Host;
use crate::link::first::First;
use crate::link::plain::Plain;
use crate::lock::Lock;
use crate::namespace::{Members, OneOfAKind};
use crate::object::Object;

/// Symbols that the user gave with `Loader::define`.
pub(crate) type Defined = Map<Box<[u8]>, Addr>;

/// Where the references of a batch are looked for.
pub(crate) struct Scope<'a> {
    /// Given by the user: before everything else.
    defined: &'a Defined,
    /// The objects in the order in which they are asked, each once: everybody's (start-up objects, then those
    /// opened with `RTLD_GLOBAL`), then the opened library and its dependencies, breadth first.
    asked: Vec<Asked<'a>>,
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
pub(super) struct Asked<'a> {
    pub gnu: Option<GnuHash<'a>>,
    pub object: &'a Object,
}

impl Asked<'_> {
    /// Whether the object may define a name with this hash.
    #[inline(always)]
    pub fn may_have(&self, hash: u32) -> bool {
        self.gnu.as_ref().is_none_or(|gnu| gnu.may_have(hash))
    }

    /// The same for a hash of which the lowest bit is not known, and more exactly.
    pub fn may_have_half(&self, hash: u32) -> bool {
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
    fn first(&self, object: &'a Object, index: u32, symbol: &Symbol) -> (&'a Object, u32) {
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
    pub symbol: Symbol,
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
    /// The scope of a batch. `references` says how many symbols will be looked for, about; where it is `watched`, every
    /// object is asked.
    pub(crate) fn new(
        defined: &'a Defined,
        everybodys: Vec<&'a Object>,
        local: impl Iterator<Item = &'a Object>,
        unique: Unique<'a>,
        references: usize,
        watched: bool,
        lock: &Lock,
    ) -> Scope<'a> {
        let count = everybodys.len();
        let mut scope = Scope::over(defined, everybodys, local, unique);
        // Where all others do not have a name, the last one is asked.
        let others = scope.asked.len().saturating_sub(1);
        let objects = scope.asked.iter().map(|asked| asked.object).take(others);
        scope.first = if references < FEW || watched {
            None
        } else if others <= count {
            First::kept(objects, references, lock)
        } else {
            First::over(objects, references).map(Arc::new)
        };
        scope
    }

    /// The same without any table over several objects.
    pub(crate) fn over(
        defined: &'a Defined,
        everybodys: Vec<&'a Object>,
        local: impl Iterator<Item = &'a Object>,
        unique: Unique<'a>,
    ) -> Scope<'a> {
        let (asked, places) = each_once(everybodys.into_iter().chain(local));
        Scope { defined, asked, places, first: None, host: unique.host, unique }
    }

    /// The scope of a batch that is opened with `RTLD_DEEPBIND`: its own objects before everybody's.
    pub(crate) fn deep(
        defined: &'a Defined,
        everybodys: Vec<&'a Object>,
        local: impl Iterator<Item = &'a Object>,
        unique: Unique<'a>,
    ) -> Scope<'a> {
        let (asked, places) = each_once(local.chain(everybodys));
        Scope { defined, asked, places, first: None, host: unique.host, unique }
    }

    /// The short way for what is plain in `object`.
    pub(crate) fn plain<'s>(&'s self, object: &'s Object) -> Option<Plain<'s>> {
        Plain::new(object, self.before(object), &self.asked, self.first.as_deref())
    }

    /// How many objects are asked for a name before `object`, where it needs it. `None` if it is not in the scope, or
    /// the user gave symbols, which come before all.
    fn before(&self, object: &Object) -> Option<usize> {
        let place = self.places.get(&object.tag.id).copied().filter(|_| self.defined.is_empty())?;
        Some(if object.dynamic.symbolic { 0 } else { place })
    }

    /// Whether nobody can have the name of symbol `index` of `from`, which defines it, before `from` itself.
    fn is_first(&self, from: &Object, index: u32) -> bool {
        let before = self.before(from).and_then(|before| self.asked.get(..before));
        let hash = from.gnu_hash().and_then(|gnu| gnu.half_hash(index));
        before.zip(hash).is_some_and(|(before, hash)| nobody_has(before, self.first.as_deref(), hash))
    }

    /// Binds the reference that symbol `index` of `from` is. `None`: undefined, and weak.
    ///
    /// # Errors
    /// [`ErrorKind::UndefinedSymbol`], whose `wanted_by` the caller fills in, or [`ErrorKind::Malformed`].
    pub(crate) fn bind<P: Probe + ?Sized>(
        &self,
        from: &'a Object,
        index: u32,
        class: Class,
        wanted_by: impl FnOnce() -> String,
        report: Report<'_, P>,
    ) -> Result<Option<Definition<'a>>, ErrorKind> {
        let symbols = from.symbols();
        let Some(reference) = symbols.get(index) else {
            let at = from.dynamic.symbols.unwrap_or_default();
            let rule = "r_info's upper half is an index into DT_SYMTAB (gABI, \"Relocation\")";
            return Err(ErrorKind::malformed("symbol index of a relocation", at, index, "one inside DT_SYMTAB", rule));
        };
        let own = Definition { object: Some(from), index, symbol: reference, address: reference.address(from.bias()) };
        if reference.binds_locally() {
            return Ok(Some(own));
        }
        if reference.is_unique() && reference.defines(class) && !report.closely() && self.is_first(from, index) {
            return Ok(Some(self.found(from, index, reference)));
        }
        let wanted = symbols.wanted(index, &reference, class);
        let found = if report.closely() {
            let mut candidates = Vec::new();
            let found = self.find_for(from, own, &wanted, &mut candidates);
            tell(&wanted, candidates, found, report);
            found
        } else {
            self.find_for(from, own, &wanted, &mut ())
        };
        match found {
            None if reference.is_weak() => Ok(None),
            None => Err(ErrorKind::UndefinedSymbol {
                symbol: String::from_utf8_lossy(wanted.name).into_owned(),
                version: wanted.version_text(),
                wanted_by: wanted_by(),
                searched: self.searched(from),
            }),
            found => Ok(found),
        }
    }

    /// The objects that were asked, for an error.
    fn searched(&self, from: &Object) -> Vec<String> {
        let first = from.dynamic.symbolic.then_some(from);
        first.into_iter().chain(self.asked.iter().map(|a| a.object)).map(|o| o.tag.short().into()).collect()
    }

    fn find_for<W: Witness>(
        &self,
        from: &'a Object,
        own: Definition<'a>,
        wanted: &Wanted<'_>,
        witness: &mut W,
    ) -> Option<Definition<'a>> {
        if let Some(&address) = self.defined.get(wanted.name) {
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
        // `dlopen` and its kin in libc know nothing of our objects; ours take over.
        if let Some(address) = found.object.and_then(|o| crate::capi::replacement(o, wanted.name)) {
            return Some(Definition { object: None, address, ..found });
        }
        Some(found)
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

    #[inline]
    fn ask<W: Witness>(&self, object: &'a Object, wanted: &Wanted<'_>, witness: &mut W) -> Option<Definition<'a>> {
        let mut trail = W::Trail::default();
        let found = object.symbols().find(wanted, &mut trail);
        witness.asked(object, trail);
        found.map(|(index, symbol)| self.found(object, index, symbol))
    }

    /// What the symbol that was found means: itself, or the first of its name if there may be only one.
    fn found(&self, object: &'a Object, index: u32, symbol: Symbol) -> Definition<'a> {
        if !symbol.is_unique() {
            return definition(object, index, symbol);
        }
        let (first, index) = self.unique.first(object, index, &symbol);
        definition(first, index, first.symbols().get(index).unwrap_or(symbol))
    }
}

/// Whether none of these objects, the first of a scope, can have a name with this hash, of which the lowest bit is not
/// known. No name is read for that.
#[inline(always)]
pub(super) fn nobody_has(objects: &[Asked<'_>], first: Option<&First>, hash: u32) -> bool {
    let start = first.map_or(0, |first| first.place(hash));
    start >= objects.len() || !objects[start..].iter().any(|asked| asked.may_have_half(hash))
}

/// The objects in this order without repetitions: whoever was asked before would say no again.
fn each_once<'a>(objects: impl Iterator<Item = &'a Object>) -> (Vec<Asked<'a>>, Map<u32, usize>) {
    let count = objects.size_hint().0;
    let mut asked = Vec::with_capacity(count);
    let mut places = Map::with_capacity_and_hasher(count, Default::default());
    for object in objects {
        places.entry(object.tag.id).or_insert_with(|| {
            asked.push(Asked { gnu: object.gnu_hash(), object });
            asked.len() - 1
        });
    }
    (asked, places)
}

#[inline]
pub(crate) fn definition(object: &Object, index: u32, symbol: Symbol) -> Definition<'_> {
    Definition { object: Some(object), index, symbol, address: symbol.address(object.bias()) }
}

fn is_of(definition: &Definition<'_>, object: &Object) -> bool {
    definition.object.is_some_and(|o| std::ptr::eq(o, object))
}

/// The definition of `wanted` in `objects`, in order: what `dlsym` does with a handle's scope.
pub(crate) fn find_by_name<'o, P: Probe + ?Sized>(
    objects: &'o [Arc<Object>],
    wanted: &Wanted<'_>,
    report: Report<'_, P>,
) -> Option<Definition<'o>> {
    if !report.closely() {
        return ask_in_turn(objects, wanted, &mut ()).1;
    }
    let mut candidates = Vec::new();
    let (_, found) = ask_in_turn(objects, wanted, &mut candidates);
    tell(wanted, candidates, found, report);
    found
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

fn tell<P: Probe + ?Sized>(
    wanted: &Wanted<'_>,
    candidates: Vec<Candidate>,
    found: Option<Definition<'_>>,
    report: Report<'_, P>,
) {
    report.tell_each(|| Kind::Lookup {
        name: String::from_utf8_lossy(wanted.name).into_owned(),
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

//! Lazy binding: a call into another library is bound when it is made for the first time.
//!
//! psABI "Procedure Linkage Table"; glibc `elf_machine_lazy_rel`, `_dl_runtime_resolve` and `_dl_fixup`; musl has
//! none. `docs/lazy.md` follows one such call, byte by byte.
//!
//! The slot of a function points back into the PLT at first, to code that pushes the number of its relocation and
//! jumps to the PLT's first entry. That one pushes `GOT[1]`, our [`Binder`], and jumps to `GOT[2]`, our
//! trampoline. It keeps every register that an argument may be in, lets [`first_call`] fill the slot, and jumps
//! to the function as if it had been called at once.
//!
//! A first call can come from any thread, while another one holds the process-wide lock over a constructor that
//! waits for this very thread. So nothing here takes that lock: the lookup works on a snapshot of the namespace,
//! and what must be remembered is noted under a lock that is never held over foreign code.

use std::cell::RefCell;
use std::mem::ManuallyDrop;
use std::os::fd::BorrowedFd;
use std::sync::Arc;

use nix::errno::Errno;
use nix::libc;

use crate::elf::addr::{Addr, Vaddr};
use crate::elf::reloc::{RelocKind, Relocation, SIZEOF_RELA};
use crate::elf::symbol::Class;
use crate::error::{Error, ErrorKind, Result};
use crate::event::{Asked, Kind, Report, Request, Stage};
use crate::host;
use crate::lookup::scope::{Answer, Definition, Scope, Unique};
use crate::memory::{Around, Memory, Watch};
use crate::namespace::{Binder, Member, Members, Namespace};
use crate::object::Object;
use crate::runtime::ifunc;
use crate::text::escape;

mod trampoline;

/// Writes `GOT[1]` and `GOT[2]` of an object, so that its PLT leads to the trampoline. `None`: its calls cannot be
/// bound lazily. The returned [`Binder`] is what `GOT[1]` points to, and must live as long as the object.
pub(crate) fn prepare(object: &Object, namespace: &Arc<Namespace>, report: Report<'_>) -> Option<Arc<Binder>> {
    if object.dynamic.bind_now || host::ld_bind_now() || object.jmprel().is_empty() {
        return None;
    }
    // The PLT reads GOT[1] and GOT[2] behind DT_PLTGOT: without that tag there is nothing to write to.
    let got = object.dynamic.pltgot?;
    let [first, second] = [8, 16].map(|at| Vaddr(got.0.wrapping_add(at)));
    if !object.memory.is_writable(first) || !object.memory.is_writable(second) {
        return None;
    }
    let binder = Arc::new(Binder { namespace: Arc::downgrade(namespace), object: object.tag.id });
    let word = Addr(Arc::as_ptr(&binder).expose_provenance() as u64);
    let trampoline = trampoline::suitable();
    report.tell(|| Kind::LazyGot { place: got, word, trampoline });
    for (place, value) in [(first, word), (second, trampoline)] {
        // It cannot fail: both words were seen to be writable.
        let _ = object.memory.store(place, value.0, report);
    }
    Some(binder)
}

/// Leaves a slot of `DT_JMPREL` for the first call of its function: adds the load bias to it, so that it points back
/// into the PLT. `false`: the slot must be bound now.
pub(crate) fn leave(object: &Object, index: usize, entry: &Relocation, report: Report<'_>) -> bool {
    let Relocation { place, symbol, .. } = *entry;
    if !stays_writable(object, place) {
        return false;
    }
    let Some(word) = object.memory.word(place) else { return false };
    report.tell_each(|| Kind::LeftForCall {
        index,
        entry: object
            .dynamic
            .jmprel
            .and_then(|table| object.file_offset(Vaddr(table.at.0 + index as u64 * SIZEOF_RELA)))
            .unwrap_or_default(),
        place,
        symbol,
        name: name_of(object, symbol),
        b: object.bias(),
    });
    object.memory.store(place, object.bias().0.wrapping_add(word), report).is_some()
}

/// Whether a whole aligned word can be stored at `place`, even after `PT_GNU_RELRO` is read-only.
fn stays_writable(object: &Object, place: Vaddr) -> bool {
    let sealed = object.image.relro().and_then(|s| s.vaddr.span(s.memsz));
    let is_sealed = sealed.is_some_and(|s| (s.start.page_down()..s.end.page_down()).contains(&place));
    object.memory.is_writable(place) && !is_sealed && (object.bias() + place).0.is_multiple_of(8)
}

fn name_of(object: &Object, symbol: u32) -> Option<String> {
    let entry = object.symbols().get(symbol)?;
    Some(escape(object.symbols().name(&entry)).into_owned())
}

// ── the first call ───────────────────────────────────────────────────────────────────────────────────────

/// Binds entry `index` of `DT_JMPREL` of the binder's object, and returns the address where the call goes on. The
/// trampoline calls it; `from` is the return address of the library's call.
///
/// # Safety
/// `binder` is what [`prepare`] put into an object's GOT, and that object is mapped: its code is calling.
unsafe extern "C-unwind" fn first_call(binder: *const Binder, index: u64, from: u64) -> u64 {
    // The called function may look at errno, as perror does. Binding must not change it.
    let errno = Errno::last_raw();
    // SAFETY: the trampoline passes what stands in `GOT[1]`, and an object has its binder as long as it is mapped.
    let binder = unsafe { &*binder };
    let bound = match binder.namespace.upgrade() {
        None => Err(not_here(binder.object)),
        Some(namespace) => tell_and_bind(&namespace, binder.object, index, Addr(from)),
    };
    let address = bound.unwrap_or_else(|error| die(&error));
    Errno::set_raw(errno);
    address.0
}

fn tell_and_bind(namespace: &Namespace, id: u32, index: u64, from: Addr) -> Result<Addr> {
    let request = Request::begin();
    let report = request.report(namespace.probe.as_deref(), Stage::Bind);
    let result = loop {
        let members = namespace.snapshot();
        let done = match members.get(id) {
            Some(own) => {
                let call = Call { object: &own.object, index, from, own: Some(own), namespace, members: &members };
                // `None`: the object that was found is just being unloaded. The loop tries again with a fresh snapshot.
                call.bind(report).transpose()
            }
            None => Pending::with(id, |object, local| {
                let call = Call { object, index, from, own: None, namespace, members: &members };
                call.bind_among(local, report)
            }),
        };
        if let Some(result) = done {
            break result;
        }
    };
    report.tell(|| Kind::End { error: result.as_ref().err().map(Error::first_line) });
    result
}

/// A first call that is to be bound.
struct Call<'c> {
    object: &'c Object,
    index: u64,
    from: Addr,
    /// The object as a member. `None` while it is not published: an IFUNC resolver of the same load is calling.
    own: Option<&'c Member>,
    namespace: &'c Namespace,
    members: &'c Members,
}

impl<'c> Call<'c> {
    /// Binds the call of a published object. `None`: the object that was found is being unloaded.
    fn bind(&self, report: Report<'_>) -> Result<Option<Addr>> {
        let scopes = self.local();
        let (address, provider) = self.bind_among(&scopes.iter().map(|o| &**o).collect::<Vec<_>>(), report)?;
        Ok(provider.is_none_or(|provider| self.keep(provider)).then_some(address))
    }

    /// The local scope of the call, which is asked after the global scope: the closures of the opened libraries that
    /// need the calling object.
    fn local(&self) -> Vec<Arc<Object>> {
        let (Some(own), Some(host)) = (self.own, &self.members.host) else { return Vec::new() };
        let roots = own.scopes.iter().filter_map(|&root| self.members.object(root));
        let mut found: Vec<Arc<Object>> = roots.flat_map(|root| self.members.closure(&root, host)).collect();
        if found.is_empty() {
            found = self.members.closure(&own.object, host);
        }
        found.retain(|o| self.may_use(o));
        found
    }

    /// Whether the call may be bound to `object`: not to one that is being unloaded, unless the calling object is, too.
    fn may_use(&self, object: &Object) -> bool {
        let leaving = |member: &Member| member.is_leaving();
        self.own.is_some_and(leaving) || !self.members.get(object.tag.id).is_some_and(leaving)
    }

    /// Finds the function, stores its address into the slot, and returns the address and the tag of the object that
    /// defines it.
    fn bind_among(&self, local: &[&Object], report: Report<'_>) -> Result<(Addr, Option<u32>)> {
        let object = self.object;
        let report = report.about(&object.tag);
        let wrap = |kind: ErrorKind| -> Error { kind.of(object.label(), Stage::Bind) };
        let rela = usize::try_from(self.index).ok().and_then(|index| object.jmprel().get(index));
        let entry = rela.map(Relocation::from).filter(|entry| entry.kind == RelocKind::JumpSlot as u32);
        let Some(entry) = entry else {
            let rule = "the PLT pushes the index of a R_X86_64_JUMP_SLOT (psABI, \"Procedure Linkage Table\")";
            let at = object.dynamic.jmprel.map_or(Vaddr(0), |table| table.at);
            return Err(wrap(ErrorKind::malformed("index of a first call", at, self.index, "one in DT_JMPREL", rule)));
        };
        let index = self.index as usize;
        let name = || name_of(object, entry.symbol).unwrap_or_default();
        report.tell(|| Kind::Begin { request: Asked::Bind, name: name(), caller: Some(object.tag.clone()) });
        report.tell(|| Kind::FirstCall { index, place: entry.place, name: name(), from: self.from });
        let definition = self.find(entry.symbol, local, report).map_err(wrap)?;
        let address = match &definition {
            // An undefined weak function: the call goes to address 0, as with the system's loader.
            None => Addr(0),
            Some(d) if d.symbol.is_ifunc() && d.object.is_some() => {
                // SAFETY: every object of the scope is relocated, or through pass 1 of its load.
                unsafe { ifunc::resolve(d.address, self, &mut Watch::default(), report) }
            }
            Some(d) => d.address,
        };
        // Another thread may have bound the same slot meanwhile: it stored the same address.
        object.memory.store_shared(entry.place, address.0, report).ok_or_else(|| {
            let rule = "the slots of DT_JMPREL lie in a writable segment (psABI, \"Procedure Linkage Table\")";
            wrap(ErrorKind::malformed("slot", entry.place, entry.place, "a writable, aligned word", rule))
        })?;
        Ok((address, definition.and_then(|d| d.object).map(|o| o.tag.id)))
    }

    fn find<'a>(
        &'a self,
        symbol: u32,
        local: &[&'a Object],
        report: Report<'_>,
    ) -> Result<Option<Definition<'a>>, ErrorKind> {
        let Some(host) = &self.members.host else { return Ok(None) };
        let everybodys = host.startup().iter().map(|o| &**o);
        let global = self.members.global().map(|o| &**o).filter(|o| self.may_use(o));
        let unique = Unique::new(self.members, host);
        let everybodys = everybodys.chain(global).collect();
        let deep = self.own.is_some_and(|own| own.deep);
        let scope = Scope::new(&self.namespace.policy, everybodys, local.iter().copied(), deep, unique);
        let own = scope.of(self.object, report);
        let found = match own.bind(symbol, Class::Plt) {
            Answer::To(definition) => Some(definition),
            Answer::ToNothing => None,
            missing => {
                let wanted_by = format!("the first call of relocation {} of DT_JMPREL", self.index);
                return Err(own.refusal(&missing, symbol, Class::Plt, wanted_by));
            }
        };
        let chosen = scope.unique.chosen();
        if !chosen.is_empty() {
            self.namespace.note(|members| members.add_unique(chosen));
        }
        Ok(found)
    }

    /// Keeps the object `provider` mapped as long as the calling object. `false`: it is being unloaded already.
    fn keep(&self, provider: u32) -> bool {
        let Some(own) = self.own else { return true };
        let (id, edges) = (own.object.tag.id, &own.edges);
        let is_kept = id == provider || edges.needs.contains(&provider) || edges.bound.contains(&provider);
        if is_kept || self.members.get(provider).is_none() {
            return true;
        }
        self.namespace.note(|members| {
            let leaves = members.get(id).is_none_or(Member::is_leaving);
            if !leaves && members.get(provider).is_none_or(Member::is_leaving) {
                return false;
            }
            members.bind(id, provider);
            true
        })
    }
}

/// The memory that an IFUNC resolver may change: that of every member.
impl Around for Call<'_> {
    fn each(&self, see: &mut dyn FnMut(&Memory)) {
        self.members.iter().for_each(|m| see(&m.object.memory));
    }
}

fn not_here(object: u32) -> Error {
    let rule = "code of a library runs only while it is loaded";
    ErrorKind::malformed("first call", Vaddr(0), format!("object {object}, which is gone"), "a loaded object", rule)
        .of(String::new(), Stage::Bind)
}

/// Ends the process, in glibc's words and with its status. A call through the PLT cannot return an error.
fn die(error: &Error) -> ! {
    let what = match &error.kind {
        ErrorKind::UndefinedSymbol { symbol, version, .. } => {
            let version = version.as_ref().map_or(String::new(), |version| format!(", version {version}"));
            format!("undefined symbol: {symbol}{version}")
        }
        _ => error.first_line(),
    };
    let program = host::program_name();
    let message = format!("{program}: symbol lookup error: {}: {what}\n", error.object);
    // SAFETY: descriptor 2 may be closed; then the write fails and nothing else happens. `_exit` does not return.
    unsafe {
        let _ = nix::unistd::write(BorrowedFd::borrow_raw(2), message.as_bytes());
        libc::_exit(127)
    }
}

// ── before publishing ────────────────────────────────────────────────────────────────────────────────────

/// The objects of a load that is in pass 2 of stage 8: IFUNC resolvers are running, and no namespace has the objects
/// yet.
struct Unpublished {
    /// In the order of the local scope.
    objects: Vec<*const Object>,
    /// The bindings of first calls: the tags of the calling object and of the one that defines the function.
    bound: Vec<(u32, u32)>,
}

thread_local! {
    /// One entry for each load that is in pass 2 on this thread's stack. The list is never destroyed, because a
    /// destructor at the end of the process may open a library. Its memory is freed when the last entry goes.
    static UNPUBLISHED: RefCell<ManuallyDrop<Vec<Unpublished>>> = const { RefCell::new(ManuallyDrop::new(Vec::new())) };
}

/// While it lives, first calls of these unpublished objects can be bound, and have the objects as their local scope.
pub(crate) struct Pending<'o> {
    _objects: std::marker::PhantomData<&'o Object>,
}

impl<'o> Pending<'o> {
    pub(crate) fn new(objects: impl Iterator<Item = &'o Object>) -> Pending<'o> {
        let objects = objects.map(std::ptr::from_ref).collect();
        UNPUBLISHED.with_borrow_mut(|stack| stack.push(Unpublished { objects, bound: Vec::new() }));
        Pending { _objects: std::marker::PhantomData }
    }

    /// Ends it, and returns the bindings of the first calls that came meanwhile: the tags of user and provider.
    pub(crate) fn end(self) -> Vec<(u32, u32)> {
        UNPUBLISHED.with_borrow_mut(|stack| stack.last_mut().map_or(Vec::new(), |last| std::mem::take(&mut last.bound)))
    }
}

impl Pending<'_> {
    /// Calls `bind` with the object `id` and its local scope, and notes the object whose definition was bound to.
    fn with(id: u32, bind: impl FnOnce(&Object, &[&Object]) -> Result<(Addr, Option<u32>)>) -> Option<Result<Addr>> {
        let objects = UNPUBLISHED.with_borrow(|stack| {
            // SAFETY: `Pending` borrows the objects as long as they stand here.
            let seen = |u: &Unpublished| u.objects.iter().map(|&o| unsafe { &*o }).collect::<Vec<&Object>>();
            stack.iter().rev().map(seen).find(|objects| objects.iter().any(|o| o.tag.id == id))
        });
        let Some(objects) = objects else { return Some(Err(not_here(id))) };
        let object = objects.iter().find(|o| o.tag.id == id)?;
        let result = bind(object, &objects);
        if let Ok((_, Some(provider))) = result {
            UNPUBLISHED.with_borrow_mut(|stack| {
                stack.iter_mut().rev().take(1).for_each(|last| last.bound.push((id, provider)));
            });
        }
        Some(result.map(|(address, _)| address))
    }
}

impl Drop for Pending<'_> {
    fn drop(&mut self) {
        UNPUBLISHED.with_borrow_mut(|stack| {
            stack.pop();
            if stack.is_empty() {
                **stack = Vec::new();
            }
        });
    }
}

//! Compares two snapshots. The result depends on the arguments only.
//!
//! Constructors may write words that depend on addresses, on the time or on chance. Such words differ from one run of
//! the system's loader to the next, so a difference between the loaders says nothing there. `steady` tells them apart.

use std::collections::HashMap;

use dlscope::capi;
use dlscope::elf::addr::PAGE;

use super::comparison::{Comparison, Count, Difference, Reasons, SlotCount, Verdict};
use super::snapshot::{LoadResult, PageRun, Role, SeenObject, Snapshot, WordMeaning};
use crate::child::End;
use crate::page::{count, short};

/// Names for slots and exports, which a snapshot only numbers.
pub trait Names {
    /// The name of slot `n` of the object at `path`.
    fn slot(&self, path: &str, n: usize) -> SlotName;
    /// The name of export `n` of the library at `path`: `deflate@ZLIB_1.2`.
    fn export(&self, path: &str, n: usize) -> String;
}

/// The name of a slot.
#[derive(Clone, Debug, Default)]
pub struct SlotName {
    /// `r_offset`.
    pub place: u64,
    /// The symbol's name without its version; empty for none.
    pub symbol: String,
    /// `R_X86_64_GLOB_DAT stdout@GLIBC_2.2.5, DT_RELA[7]`.
    pub about: String,
}

/// Compares the ends of the two children. `more` are snapshots of more children with the system's loader: what differs
/// between those and the first one is no difference between the loaders.
pub fn judge(
    library: &str,
    system: &End<LoadResult>,
    more: &[Snapshot],
    dlscope: &End<LoadResult>,
    names: &impl Names,
) -> Comparison {
    let mut result = Comparison {
        library: library.into(),
        verdict: verdict(system, dlscope),
        objects: Count::default(),
        symbols: Count::default(),
        slots: SlotCount::default(),
        pages: Count::default(),
        reasons: Reasons { system: reason(system), dlscope: reason(dlscope) },
        details: Vec::new(),
    };
    if let (End::Told(LoadResult::Loaded(system)), End::Told(LoadResult::Loaded(dlscope))) = (system, dlscope) {
        Pair::new(system, more, dlscope, names, &mut result).compare();
        if !result.details.is_empty() {
            result.verdict = Verdict::Differ;
        }
    }
    result
}

/// The verdict as far as it follows from how the children ended.
fn verdict(system: &End<LoadResult>, dlscope: &End<LoadResult>) -> Verdict {
    use LoadResult::{Loaded, Refused};
    match (system, dlscope) {
        (End::Told(Loaded(_)), End::Told(Loaded(_))) => Verdict::Agree,
        (End::Told(Refused { .. }), End::Told(Refused { .. })) => Verdict::BothRefuse,
        (_, End::Told(Refused { policy: true, .. })) => Verdict::RefusedByPolicy,
        (_, End::Told(Refused { .. })) => Verdict::OnlySystem,
        (_, End::Told(Loaded(_))) => Verdict::OnlyDlscope,
        // A library that kills one process and hangs the other is bad under both loaders.
        (End::Died(_) | End::TimedOut, End::Died(_) | End::TimedOut) => Verdict::BothDie,
        (End::Told(_), End::Died(_)) => Verdict::Crash,
        (End::Told(_), End::TimedOut) => Verdict::Timeout,
    }
}

fn reason(end: &End<LoadResult>) -> Option<String> {
    match end.told() {
        Ok(LoadResult::Loaded(_)) => None,
        Ok(LoadResult::Refused { reason, .. }) => Some(reason.clone()),
        Err(how) => Some(how),
    }
}

/// The libraries that define the functions which dlscope replaces in what it loads.
const THEIR_LIBRARIES: [&str; 4] = ["libc.so.", "ld-linux-", "libdl.so.", "libstdc++.so."];

struct Pair<'a, N> {
    system: &'a Snapshot,
    /// Other runs of the system's loader.
    more: &'a [Snapshot],
    dlscope: &'a Snapshot,
    names: &'a N,
    /// A number for each object of `system`. Equal numbers mean the same file, also of objects in `ours`.
    theirs: Vec<usize>,
    /// A number for each object of `dlscope`.
    ours: Vec<usize>,
    result: &'a mut Comparison,
}

impl<'a, N: Names> Pair<'a, N> {
    fn new(
        system: &'a Snapshot,
        more: &'a [Snapshot],
        dlscope: &'a Snapshot,
        names: &'a N,
        result: &'a mut Comparison,
    ) -> Self {
        let (mut by_path, mut by_file) = (HashMap::new(), HashMap::new());
        let mut number = |o: &'a SeenObject| {
            let new = by_path.len();
            let known = by_path.get(o.path.as_str()).or_else(|| by_file.get(&o.file?)).copied();
            let number = *by_path.entry(o.path.as_str()).or_insert(known.unwrap_or(new));
            o.file.map(|file| by_file.entry(file).or_insert(number));
            number
        };
        let theirs = system.objects.iter().map(&mut number).collect();
        let ours = dlscope.objects.iter().map(&mut number).collect();
        Pair { system, more, dlscope, names, theirs, ours, result }
    }

    fn compare(&mut self) {
        self.objects();
        self.exports();
        for (n, ours) in self.dlscope.objects.iter().enumerate().filter(|(_, o)| o.role != Role::Host) {
            if let Some(theirs) = self.theirs.iter().position(|&number| number == self.ours[n]) {
                let theirs = &self.system.objects[theirs];
                self.slots(theirs, ours);
                self.block(theirs, ours);
                self.pages(theirs, ours);
            }
        }
    }

    /// Compares the new objects in order, and those that code of the library loaded in any order.
    fn objects(&mut self) {
        let (theirs, ours) = (paths(self.system, Role::New), paths(self.dlscope, Role::New));
        for n in 0..theirs.len().max(ours.len()) {
            let path = |of: &[(usize, &'a str)]| of.get(n).map(|(_, path)| *path);
            self.object(&format!("new object {}", n + 1), path(&theirs), path(&ours));
        }
        // Compare these by file, not by path: the C library may tell another path than the kernel.
        let (theirs, ours) = (paths(self.system, Role::Nested), paths(self.dlscope, Role::Nested));
        for &(n, path) in &theirs {
            let same = ours.iter().any(|&(of_ours, _)| self.ours[of_ours] == self.theirs[n]);
            self.object("loaded in turn", Some(path), same.then_some(path));
        }
        for &(n, path) in &ours {
            if !theirs.iter().any(|&(of_theirs, _)| self.theirs[of_theirs] == self.ours[n]) {
                self.object("loaded in turn", None, Some(path));
            }
        }
    }

    fn object(&mut self, place: &str, system: Option<&str>, dlscope: Option<&str>) {
        self.result.objects.compared += 1;
        if system == dlscope {
            return;
        }
        self.result.objects.different += 1;
        // glibc maps a second copy of ld.so, which it did not load itself and whose file it does not know.
        let number = |path| self.system.objects.iter().position(|o| o.path == path).map(|at| self.theirs[at]);
        let was_there = |path| {
            let same = |(number, o): (&usize, &SeenObject)| Some(*number) == path && o.role == Role::Host;
            self.ours.iter().zip(&self.dlscope.objects).any(same)
        };
        let twice = system.is_some_and(|path| dlscope.is_none() && was_there(number(path)));
        let about = if twice { "a second copy of a file that was there: dlscope uses the first" } else { "" };
        let object = dlscope.or(system).unwrap_or_default();
        self.differ("object", object, place.into(), about.into(), [system, dlscope].map(|path| path.map(Into::into)));
    }

    /// Notes a difference: what the system's loader made of it, and what dlscope did.
    fn differ(&mut self, what: &'static str, object: &str, place: String, about: String, made: [Option<String>; 2]) {
        let [system, dlscope] = made;
        self.result.details.push(Difference { what, object: object.into(), place, about, system, dlscope });
    }

    fn exports(&mut self) {
        let root = &self.dlscope.objects[self.dlscope.root].path;
        self.result.symbols.compared = self.dlscope.exports.len().max(self.system.exports.len());
        for n in 0..self.result.symbols.compared {
            let theirs = self.system.exports.get(n).copied().flatten();
            let ours = self.dlscope.exports.get(n).copied().flatten();
            let name = || self.names.export(root, n);
            let same = match (theirs, ours) {
                (Some(theirs), Some(ours)) => {
                    let bare = || name().split('@').next().unwrap_or_default().to_string();
                    self.mean_the_same(theirs, ours) || self.stands_in(&bare(), theirs, ours)
                }
                (theirs, ours) => theirs.is_none() && ours.is_none(),
            };
            if !same && steady::export(self.system, self.more, n) {
                self.result.symbols.different += 1;
                let made = [theirs.map(|word| show(word, self.system)), ours.map(|word| show(word, self.dlscope))];
                self.differ("symbol", root, name(), String::new(), made);
            }
        }
    }

    fn slots(&mut self, theirs: &SeenObject, ours: &SeenObject) {
        let mut changed = ours.changed.iter().peekable();
        for (n, (&system, &dlscope)) in theirs.slots.iter().zip(&ours.slots).enumerate() {
            let by_constructor = changed.next_if(|&&at| at as usize == n).is_some();
            self.result.slots.count.compared += 1;
            self.result.slots.changed_by_constructors += usize::from(by_constructor);
            if by_constructor || self.mean_the_same(system, dlscope) {
                continue;
            }
            let name = self.names.slot(&ours.path, n);
            if self.stands_in(&name.symbol, system, dlscope) || !steady::slot(self.system, self.more, &ours.path, n) {
                continue;
            }
            self.result.slots.count.different += 1;
            let made = [show(system, self.system), show(dlscope, self.dlscope)].map(Some);
            self.differ("slot", &ours.path, format!("{:#x}", name.place), name.about, made);
        }
    }

    /// Compares which words of the thread-local block differ from its image: a block that was not filled from the image
    /// has such words. Constructors write to the same variables under both loaders.
    fn block(&mut self, theirs: &SeenObject, ours: &SeenObject) {
        let (Some(system), Some(dlscope)) = (&theirs.block, &ours.block) else { return };
        let say = |words: &[u64], at: u64| if words.contains(&at) { "changed" } else { "as in the image" }.to_string();
        for at in steady::block_differences(system, dlscope, self.more, &theirs.path) {
            let about = "a word of this thread's block of thread-local variables".into();
            let made = [say(system, at), say(dlscope, at)].map(Some);
            self.differ("block", &ours.path, format!("{at:#x}"), about, made);
        }
    }

    fn pages(&mut self, theirs: &SeenObject, ours: &SeenObject) {
        self.result.pages.compared += ours.pages.iter().map(|run| run.count as usize).sum::<usize>();
        let unsteady = steady::pages(theirs, self.more);
        for (run, system, dlscope) in differing_pages(&theirs.pages, &ours.pages) {
            if unsteady.iter().any(|other| run.start.wrapping_sub(other.start) < other.count * PAGE) {
                continue;
            }
            self.result.pages.different += run.count as usize;
            let about = count(run.count, "page");
            self.differ("page", &ours.path, format!("{:#x}", run.start), about, [system, dlscope].map(Some));
        }
    }

    fn mean_the_same(&self, theirs: WordMeaning, ours: WordMeaning) -> bool {
        let same = |theirs: u32, ours: u32| self.theirs[theirs as usize] == self.ours[ours as usize];
        match (theirs, ours) {
            (WordMeaning::Lazy, _) | (_, WordMeaning::Lazy) => true,
            (WordMeaning::Object(a, at), WordMeaning::Object(b, offset)) => at == offset && same(a, b),
            (WordMeaning::ThreadLocal(a, at), WordMeaning::ThreadLocal(b, offset)) => at == offset && same(a, b),
            (WordMeaning::Module(a), WordMeaning::Module(b)) => same(a, b),
            (a, b) => a == b,
        }
    }

    /// Whether two words mean dlscope's function and the function of the C library that it replaces.
    fn stands_in(&self, symbol: &str, theirs: WordMeaning, ours: WordMeaning) -> bool {
        let (WordMeaning::Object(theirs, _), WordMeaning::Object(ours, _)) = (theirs, ours) else { return false };
        let of_library = short(&self.system.objects[theirs as usize].path);
        capi::replaced_names().any(|name| name == symbol)
            && self.dlscope.objects[ours as usize].path == Snapshot::PROGRAM
            && THEIR_LIBRARIES.iter().any(|name| of_library.starts_with(name))
    }
}

/// The objects of one role: their indexes and paths.
fn paths(snapshot: &Snapshot, role: Role) -> Vec<(usize, &str)> {
    let of_role = snapshot.objects.iter().enumerate().filter(|(_, o)| o.role == role);
    of_role.map(|(n, o)| (n, o.path.as_str())).collect()
}

/// The runs of pages whose rights differ, with the rights under both loaders.
fn differing_pages(theirs: &[PageRun], ours: &[PageRun]) -> Vec<(PageRun, String, String)> {
    let rights = |pages: &[PageRun], at: u64| {
        let run = pages.iter().find(|run| at.wrapping_sub(run.start) < run.count * PAGE);
        run.map_or("no page of it".into(), |run| run.rights.clone())
    };
    let ends = |run: &PageRun| [run.start, run.start.wrapping_add(run.count * PAGE)];
    let mut cuts: Vec<u64> = theirs.iter().chain(ours).flat_map(ends).collect();
    cuts.sort_unstable();
    cuts.dedup();
    let runs = cuts.windows(2).map(|cut| {
        let run = PageRun { start: cut[0], count: (cut[1] - cut[0]) / PAGE, rights: String::new() };
        (run, rights(theirs, cut[0]), rights(ours, cut[0]))
    });
    runs.filter(|(_, theirs, ours)| theirs != ours).collect()
}

fn show(word: WordMeaning, snapshot: &Snapshot) -> String {
    let name = |at: u32| short(&snapshot.objects[at as usize].path);
    match word {
        WordMeaning::Object(at, offset) => format!("{}+{offset:#x}", name(at)),
        WordMeaning::Value(value) => format!("{value:#x}"),
        WordMeaning::Elsewhere => "an address in no object (heap, stack, another mapping)".into(),
        WordMeaning::ThreadLocal(at, offset) => format!("thread-local block of {}+{offset:#x}", name(at)),
        WordMeaning::Module(at) => format!("thread-local module {}", name(at)),
        WordMeaning::Lazy => "not bound yet".into(),
        WordMeaning::Unreadable => "unreadable".into(),
    }
}

mod steady;
#[cfg(test)]
mod tests;

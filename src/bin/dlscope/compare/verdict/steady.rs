//! Which words are the same in every run of the system's loader.

use super::super::snapshot::{PageRun, SeenObject, Snapshot};
use super::{differing_pages, show};

/// The object at `path` in a snapshot.
fn object<'s>(snapshot: &'s Snapshot, path: &str) -> Option<&'s SeenObject> {
    snapshot.objects.iter().find(|object| object.path == path)
}

/// Whether export `n` means the same in all runs.
pub fn export(first: &Snapshot, more: &[Snapshot], n: usize) -> bool {
    let meaning = |run: &Snapshot| run.exports.get(n).copied().flatten().map(|word| show(word, run));
    more.iter().all(|run| meaning(run) == meaning(first))
}

/// Whether slot `n` of the object at `path` means the same in all runs. A run without the object says nothing.
pub fn slot(first: &Snapshot, more: &[Snapshot], path: &str, n: usize) -> bool {
    let meaning = |run: &Snapshot| object(run, path)?.slots.get(n).map(|&word| show(word, run));
    let expected = meaning(first);
    more.iter().filter_map(meaning).all(|meaning| expected.as_ref() == Some(&meaning))
}

/// The words of a thread-local block that differ between the loaders, by offset: each list has the words that are not as
/// in the image. If the runs of the system's loader change different words, the places depend on chance. Then dlscope's
/// run must change those that all of them change, and no more others than one of them does.
pub fn block_differences(system: &[u64], dlscope: &[u64], more: &[Snapshot], path: &str) -> Vec<u64> {
    let mut runs = vec![system];
    runs.extend(more.iter().filter_map(|run| object(run, path)?.block.as_deref()));
    let always = |at: &u64| runs.iter().all(|run| run.contains(at));
    let by_chance = |run: &[u64]| run.iter().filter(|at| !always(at)).count();
    let most = runs.iter().map(|run| by_chance(run)).max().unwrap_or(0);
    let differs = |at: &&u64| system.contains(at) != dlscope.contains(at);
    let excused = most > 0 && by_chance(dlscope) <= most;
    let mut differences: Vec<u64> = system.iter().chain(dlscope).filter(differs).copied().collect();
    differences.retain(|at| !excused || always(at));
    differences
}

/// The pages of an object whose rights differ between the runs.
pub fn pages(first: &SeenObject, more: &[Snapshot]) -> Vec<PageRun> {
    let others = more.iter().filter_map(|run| object(run, &first.path));
    others.flat_map(|other| differing_pages(&first.pages, &other.pages)).map(|(run, ..)| run).collect()
}

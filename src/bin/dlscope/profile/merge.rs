//! Makes one profile of many runs.
//!
//! Other programs, the disk and the hypervisor can only make a run longer. So only the shorter half of the runs of each
//! kind counts. The profile has its mean, not its median, because the means of all parts add up to the mean of the
//! whole.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use serde::Serialize;

use super::child::Timed;
use super::counts::{Counts, ObjectCounts, SymbolCount};
use super::glibc::Glibc;
use super::pages::ObjectPages;
use super::part::Part;
use crate::page::short;

/// The profile of a load. Times are in nanoseconds.
#[derive(Clone, Debug, Serialize)]
pub struct Profile {
    /// The library, as the user named it.
    pub library: String,
    /// The path of the library.
    pub opened: String,
    /// How many runs there were of each kind.
    pub runs: usize,
    /// The whole call, with a probe that hears the ends of stages.
    pub whole: f64,
    /// The whole call, without a probe.
    pub silent: f64,
    /// The parts, which add up to `whole`.
    pub parts: Vec<PartTime>,
    /// The parts of each object, the longest time first. The entry without a name is work for no single object.
    pub objects: Vec<ObjectProfile>,
    pub symbols: Vec<SymbolCount>,
    pub glibc: Glibc,
}

/// The time of one part.
#[derive(Clone, Debug, Serialize)]
pub struct PartTime {
    pub part: Part,
    pub nanoseconds: f64,
    /// The part of the time that page faults take: what it takes less when all pages are in memory beforehand. `None`
    /// if the kernel cannot do that.
    pub faulting: Option<f64>,
    /// Page faults. `None` for lookups, whose page faults are counted with `relocate`.
    pub faults: Option<u64>,
}

/// The profile of one object.
#[derive(Clone, Debug, Serialize)]
pub struct ObjectProfile {
    pub object: Option<String>,
    pub nanoseconds: f64,
    pub parts: Vec<PartTime>,
    pub counts: Option<ObjectCounts>,
    pub pages: Option<ObjectPages>,
}

/// The results of all runs.
#[derive(Default)]
pub struct Runs {
    pub silent: Vec<Timed>,
    pub stages: Vec<Timed>,
    pub lookups: Vec<Timed>,
    pub resident: Vec<Timed>,
    pub pages: Timed,
    pub counts: Counts,
}

type Key = (Part, Option<String>);

/// Times, by part and object.
type Times = BTreeMap<Key, f64>;

impl Runs {
    pub fn merge(mut self, library: String, glibc: Glibc) -> Profile {
        let runs = self.stages.len();
        let stages = shorter_half(&mut self.stages);
        let times = split(means(stages), &search_shares(shorter_half(&mut self.lookups)));
        // If the kernel cannot bring pages into memory, these runs have no times.
        let resident = shorter_half(&mut self.resident);
        let resident = resident.iter().all(|run| run.whole > 0).then(|| unwatched(resident));
        let faults = |key: &Key| {
            let mine = self.pages.shares.iter().filter(|s| (s.part, &s.object) == (key.0, &key.1));
            mine.map(|share| share.faults).sum::<u64>()
        };
        let part_time = |(key, &nanoseconds): (&Key, &f64)| {
            let stage = if key.0 == Part::Lookup { Part::Relocate } else { key.0 };
            let counted = faults(key) + if stage == key.0 { 0 } else { faults(&(stage, key.1.clone())) };
            let without = resident.as_ref().map(|r| r.get(key).copied().unwrap_or(nanoseconds));
            let gone = |without: f64| if counted == 0 { 0.0 } else { (nanoseconds - without).clamp(0.0, nanoseconds) };
            // Page faults of an object's lookups cannot be counted apart from those of its stores; those of the scope
            // can.
            let faults = (key.0 != Part::Lookup || key.1.is_none()).then(|| faults(key));
            PartTime { part: key.0, nanoseconds, faulting: without.map(gone), faults }
        };
        let all: Vec<(Key, PartTime)> = times.iter().map(|time| (time.0.clone(), part_time(time))).collect();
        Profile {
            library,
            opened: self.counts.opened.clone(),
            runs,
            whole: mean(stages, |run| run.whole as f64),
            silent: mean(shorter_half(&mut self.silent), |run| run.whole as f64),
            parts: Part::ALL.iter().filter_map(|&part| sum_of(part, &all)).collect(),
            objects: objects(all, &self.counts, &self.pages.pages),
            symbols: std::mem::take(&mut self.counts.symbols),
            glibc,
        }
    }
}

/// The shorter half of the runs, which was disturbed least.
fn shorter_half(runs: &mut [Timed]) -> &[Timed] {
    runs.sort_by_key(|run| run.whole);
    &runs[..runs.len().div_ceil(2)]
}

/// The mean of the whole time of the shorter half; `None` if there are no runs.
pub fn typical(mut runs: Vec<Timed>) -> Option<f64> {
    (!runs.is_empty()).then(|| mean(shorter_half(&mut runs), |run| run.whole as f64))
}

/// The mean of the smaller half of some numbers.
pub fn smaller_half(mut numbers: Vec<f64>) -> Option<f64> {
    numbers.sort_by(f64::total_cmp);
    let kept = &numbers[..numbers.len().div_ceil(2)];
    (!kept.is_empty()).then(|| kept.iter().sum::<f64>() / kept.len() as f64)
}

fn mean(runs: &[Timed], of: impl Fn(&Timed) -> f64) -> f64 {
    runs.iter().map(of).sum::<f64>() / runs.len().max(1) as f64
}

fn means(runs: &[Timed]) -> Times {
    let mut times = Times::new();
    for share in runs.iter().flat_map(|run| &run.shares) {
        *times.entry((share.part, share.object.clone())).or_default() += share.nanoseconds as f64 / runs.len() as f64;
    }
    times
}

/// For each object the time of its lookups and the time of its whole relocation, in runs that measure lookups. Both are
/// without the time of reading the clock.
fn searching(runs: &[Timed]) -> BTreeMap<String, (f64, f64)> {
    let mut times: BTreeMap<String, (f64, f64)> = BTreeMap::new();
    for run in runs {
        for lookups in &run.lookups {
            let symbols = lookups.symbols as f64;
            let time = times.entry(lookups.object.clone()).or_default();
            time.0 += (lookups.nanoseconds as f64 - symbols * run.clock.inside) / runs.len() as f64;
            time.1 -= symbols * run.clock.pair / runs.len() as f64;
        }
    }
    for ((part, object), time) in means(runs) {
        if let (Part::Relocate, Some(object)) = (part, object) {
            times.entry(object).or_default().1 += time;
        }
    }
    times.into_iter().map(|(object, (search, all))| (object, (search.clamp(0.0, all.max(0.0)), all.max(0.0)))).collect()
}

/// For each object the share of lookups in its relocation.
fn search_shares(runs: &[Timed]) -> BTreeMap<String, f64> {
    let share = |(object, (search, all))| (object, if all > 0.0 { search / all } else { 0.0 });
    searching(runs).into_iter().map(share).collect()
}

/// Divides the time of relocation into lookups and the rest.
fn split(mut times: Times, shares: &BTreeMap<String, f64>) -> Times {
    for (object, share) in shares {
        let key = (Part::Relocate, Some(object.clone()));
        let Some(all) = times.get_mut(&key) else { continue };
        let search = *all * share;
        *all -= search;
        times.insert((Part::Lookup, key.1), search);
    }
    times
}

/// The times of runs that measured lookups, less the time of measuring.
fn unwatched(runs: &[Timed]) -> Times {
    let mut times = means(runs);
    for (object, (search, all)) in searching(runs) {
        times.insert((Part::Lookup, Some(object.clone())), search);
        times.insert((Part::Relocate, Some(object)), all - search);
    }
    times
}

/// A part, summed over all objects; `None` if it took no time.
fn sum_of(part: Part, all: &[(Key, PartTime)]) -> Option<PartTime> {
    let mine: Vec<&PartTime> = all.iter().map(|(_, time)| time).filter(|time| time.part == part).collect();
    if mine.is_empty() {
        return None;
    }
    let counted = all.iter().map(|(_, time)| time);
    // The page faults of making the scope belong to stage 8, too.
    let counted = counted.filter(|t| t.part == part || part == Part::Relocate && t.part == Part::Lookup);
    let faults = counted.filter_map(|time| time.faults).sum();
    Some(PartTime {
        part,
        nanoseconds: mine.iter().map(|time| time.nanoseconds).sum(),
        faulting: mine.iter().map(|time| time.faulting).sum(),
        faults: (part != Part::Lookup).then_some(faults),
    })
}

fn objects(all: Vec<(Key, PartTime)>, counts: &Counts, pages: &[ObjectPages]) -> Vec<ObjectProfile> {
    let mut objects: BTreeMap<Option<String>, Vec<PartTime>> = BTreeMap::new();
    for ((_, object), time) in all {
        objects.entry(object).or_default().push(time);
    }
    let object = |(object, parts): (Option<String>, Vec<PartTime>)| ObjectProfile {
        nanoseconds: parts.iter().map(|time| time.nanoseconds).sum(),
        counts: object.as_ref().and_then(|name| counts.objects.get(name)).cloned(),
        pages: object.as_ref().and_then(|name| pages.iter().find(|p| p.object == *name)).cloned(),
        object,
        parts,
    };
    let mut objects: Vec<ObjectProfile> = objects.into_iter().map(object).collect();
    objects.sort_by(|a, b| b.nanoseconds.total_cmp(&a.nanoseconds));
    objects
}

impl Profile {
    /// The time of one part; zero if it took none.
    pub fn part(&self, part: Part) -> f64 {
        self.parts.iter().find(|time| time.part == part).map_or(0.0, |time| time.nanoseconds)
    }

    /// The time that page faults take.
    pub fn faulting(&self) -> Option<f64> {
        self.parts.iter().map(|time| time.faulting).sum()
    }

    /// The relocations of all objects by type, the most frequent first.
    pub fn relocations(&self) -> Vec<(String, u64)> {
        let mut types: BTreeMap<&String, u64> = BTreeMap::new();
        for (name, count) in self.objects.iter().filter_map(|o| o.counts.as_ref()).flat_map(|c| &c.relocations) {
            *types.entry(name).or_default() += count;
        }
        let mut types: Vec<_> = types.into_iter().map(|(name, count)| (name.clone(), count)).collect();
        types.sort_by_key(|(_, count)| Reverse(*count));
        types
    }

    /// A count, summed over all objects.
    pub fn count(&self, of: impl Fn(&ObjectCounts) -> u64) -> u64 {
        self.objects.iter().filter_map(|o| o.counts.as_ref()).map(of).sum()
    }
}

impl ObjectProfile {
    pub fn part(&self, part: Part) -> f64 {
        self.parts.iter().filter(|time| time.part == part).map(|time| time.nanoseconds).sum()
    }

    /// The name of the object, without its path.
    pub fn short(&self) -> &str {
        match &self.object {
            Some(path) => short(path),
            None => "(for all of them)",
        }
    }
}

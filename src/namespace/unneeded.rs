//! Which members nothing uses any more, and in which order their destructors run.
//!
//! glibc `_dl_close_worker` walks over all objects at each close. Here a close costs what it closes: only members that may
//! have become unneeded, the *suspects*, and what they use are looked at. A suspect is a library whose last use was closed,
//! and a member that only waits for its constructors or for destructors of threads. Whatever else is there is needed.
//!
//! A member stays if it is in use itself (opened, pinned, in its constructors, a thread still has its destructors), or if a
//! member that stays uses it. Members that use each other in a circle and nobody else go together. So counting users is not
//! enough: the walk from the suspects counts how many users of each member it has met, and a member with more of them has
//! one that stays.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::order::{Ties, users_first};
use super::{Life, Member, Members};
use crate::elf::dynamic::DF_1_NODELETE;
use crate::event::Stay;
use crate::host;
use crate::object::Object;
use crate::text::escape;
use rustc_hash::FxHashMap as Map;

/// How often each member is used by others, and the suspects.
#[derive(Clone, Default)]
pub(super) struct Users {
    /// By tag: how often the member stands in the edges of others.
    count: Map<u32, usize>,
    /// How many members have their edges counted. The others came since the last close.
    members: usize,
    /// The tag behind the last of those.
    end: u32,
    suspects: Vec<u32>,
}

impl Users {
    /// Forgets a member that was taken out of the list.
    pub(super) fn removed(&mut self, member: &Member) {
        let id = member.object.tag.id;
        self.count.remove(&id);
        if !member.counted {
            return;
        }
        self.members -= 1;
        for used in uses(member) {
            if let Some(count) = self.count.get_mut(&used) {
                *count -= 1;
            }
        }
    }
}

/// The members that a member keeps, as often as its edges name them, and objects of the host.
fn uses(member: &Member) -> impl Iterator<Item = u32> + '_ {
    member.edges.needs.iter().chain(&member.edges.bound).copied()
}

/// Whether a member stays, whoever uses it.
fn is_in_use(member: &Member) -> bool {
    member.opens > 0 || member.pinned || is_waiting(member)
}

/// Whether a member stays for the moment.
fn is_waiting(member: &Member) -> bool {
    member.life != Life::Ready || has_thread_destructors(member)
}

fn has_thread_destructors(member: &Member) -> bool {
    member.object.thread_destructors.load(Ordering::SeqCst) > 0
}

impl Members {
    /// Notes that references of the member `user` are bound to `provider`, which stays as long as `user` does.
    pub(crate) fn bind(&mut self, user: u32, provider: u32) {
        let Some(member) = self.list.get_mut(&user).filter(|m| user != provider && !m.edges.bound.contains(&provider))
        else {
            return;
        };
        member.edges.bound.push(provider);
        if member.counted {
            *self.users.count.entry(provider).or_default() += 1;
        }
    }

    /// Counts one use less of the member `root`. Returns how many are left.
    pub(crate) fn closed(&mut self, root: u32) -> Option<usize> {
        let member = self.list.get_mut(&root)?;
        member.opens = member.opens.saturating_sub(1);
        if member.opens == 0 {
            self.users.suspects.push(root);
        }
        Some(member.opens)
    }

    /// Marks the members that nothing uses any more as doomed, and returns them in the order of their destructors. From
    /// now on no first call binds to them. `closed` is the library whose close this is.
    pub(crate) fn doom_unneeded(&mut self, closed: Option<u32>) -> Vec<u32> {
        let unneeded = self.unneeded();
        for id in &unneeded {
            self.list.get_mut(id).into_iter().for_each(|member| member.doomed = true);
        }
        self.fini_order(unneeded, closed)
    }

    /// Why a member that nobody has open stays; `None` if somebody has it open, or if it is gone.
    pub(crate) fn why_it_stays(&self, id: u32) -> Option<Stay> {
        let member = self.list.get(&id).filter(|member| member.opens == 0 && !member.doomed)?;
        let unique = self.unique.iter().find(|(_, (object, _))| *object == id);
        let destructors = member.object.thread_destructors.load(Ordering::SeqCst);
        Some(match unique {
            _ if member.object.dynamic.flags_1 & DF_1_NODELETE != 0 => Stay::Nodelete,
            Some((name, _)) => Stay::Unique(escape(name).into_owned()),
            None if member.pinned => Stay::Pinned,
            None if destructors > 0 => Stay::Destructors(destructors),
            None if member.life != Life::Ready => Stay::Constructing,
            None => {
                let mut others = self.list.values().filter(|other| other.object.tag.id != id && !other.doomed);
                Stay::Needed(others.find(|other| uses(other).any(|used| used == id))?.object.tag.clone())
            }
        })
    }

    /// The object of a member whose destructors are due, for whoever runs them: each time but the first is `None`.
    pub(crate) fn begin_to_finish(&mut self, id: u32) -> Option<Arc<Object>> {
        let member = self.list.get_mut(&id).filter(|m| matches!(m.life, Life::Closing | Life::Over) && !m.finished)?;
        member.finished = true;
        Some(member.object.clone())
    }

    /// The members that nothing uses any more, in the order of their loading.
    fn unneeded(&mut self) -> Vec<u32> {
        self.count_new();
        // Threads count their destructors down without the lock, but up only with it.
        let threads_may_end = cfg!(debug_assertions) && self.list.values().any(has_thread_destructors);
        let mut to_visit = std::mem::take(&mut self.users.suspects);
        // What the suspects use, and how many of its users were met.
        let mut met: Map<u32, usize> = to_visit.iter().map(|&id| (id, 0)).collect();
        let mut candidates = Vec::new();
        to_visit.retain(|id| self.list.contains_key(id));
        to_visit.sort_unstable();
        to_visit.dedup();
        while let Some(id) = to_visit.pop() {
            let Some(member) = self.list.get(&id) else { continue };
            if is_in_use(member) {
                if member.opens == 0 && !member.pinned {
                    self.users.suspects.push(id);
                }
                continue;
            }
            candidates.push(id);
            for used in uses(member) {
                let users = met.entry(used).or_insert_with(|| {
                    to_visit.push(used);
                    0
                });
                *users += 1;
            }
        }
        candidates.sort_unstable();
        let all_users = |id: &u32| self.users.count.get(id).copied().unwrap_or(0);
        let mut staying: Vec<u32> = candidates.iter().copied().filter(|id| all_users(id) > met[id]).collect();
        while let Some(id) = staying.pop() {
            if let Ok(place) = candidates.binary_search(&id) {
                candidates.remove(place);
                staying.extend(uses(&self.list[&id]));
            }
        }
        debug_assert!(threads_may_end || candidates == self.unneeded_by_walk(), "who uses whom was counted wrong");
        candidates
    }

    /// The same, found out as glibc does: what the members in use reach stays.
    fn unneeded_by_walk(&self) -> Vec<u32> {
        let mut staying: Vec<u32> = self.list.values().filter(|m| is_in_use(m)).map(|m| m.object.tag.id).collect();
        let mut left = self.list.clone();
        while let Some(id) = staying.pop() {
            left.remove(&id).into_iter().for_each(|member| staying.extend(uses(&member)));
        }
        left.into_keys().collect()
    }

    /// Counts the edges of the members that came since the last time.
    fn count_new(&mut self) {
        // Tags ascend with time, but a load that began inside of another one is published first.
        for start in [self.users.end, 0] {
            if self.users.members == self.list.len() {
                return;
            }
            for (&id, member) in self.list.range_mut(start..).filter(|(_, member)| !member.counted) {
                member.counted = true;
                uses(member).for_each(|used| *self.users.count.entry(used).or_default() += 1);
                self.users.members += 1;
                self.users.end = self.users.end.max(id + 1);
            }
        }
    }

    /// The order of destructors of the members `ids`, which stand in the order of their loading. A library whose close
    /// this is comes first in a circle, where glibc does it so.
    pub(crate) fn fini_order(&self, ids: Vec<u32>, closed: Option<u32>) -> Vec<u32> {
        if ids.len() < 2 {
            return ids;
        }
        let places: Map<u32, usize> = ids.iter().enumerate().map(|(at, &id)| (id, at)).collect();
        let ties: Vec<Ties> = ids.iter().map(|id| ties(&self.list[id], &places)).collect();
        // Since glibc's fix of bug 30981.
        let closed = closed.filter(|_| host::glibc_is_at_least([2, 39])).and_then(|id| places.get(&id).copied());
        let others_are_bound = || self.list.values().any(|m| !places.contains_key(&m.object.tag.id) && is_bound(m));
        let order = users_first(&ties, closed, others_are_bound);
        order.into_iter().map(|at| ids[at]).collect()
    }
}

/// What a member is bound to, but does not need. glibc records no binding to what stands in `l_initfini`.
pub(super) fn reldeps(member: &Member) -> impl DoubleEndedIterator<Item = u32> + '_ {
    let edges = &member.edges;
    let id = member.object.tag.id;
    let is_extra = move |other: &u32| *other != id && !edges.needs.contains(other) && !edges.all.contains(other);
    edges.bound.iter().copied().filter(is_extra)
}

/// Whether glibc has a list of bindings for a member. It may have become empty since.
fn is_bound(member: &Member) -> bool {
    member.edges.was_bound || reldeps(member).next().is_some()
}

/// The ties of a member to those at `places`.
fn ties(member: &Member, places: &Map<u32, usize>) -> Ties {
    let place = |id: u32| places.get(&id).copied();
    let edges = &member.edges;
    Ties {
        needs: match edges.all.is_empty() {
            true => edges.needs.iter().filter_map(|&id| place(id)).collect(),
            false => edges.all.iter().rev().filter_map(|&id| place(id)).collect(),
        },
        bound: reldeps(member).rev().filter_map(place).collect(),
        is_bound: is_bound(member),
    }
}

//! The orders of objects: that of relocation and constructors, dependencies first; that of destructors, users first; and
//! that of symbol lookup.
//!
//! glibc `_dl_sort_maps_dfs`. Without circles, "dependencies first" says nearly all. The objects of a circle have no right
//! order; theirs is the one of the glibc that runs, as far as its version tells:
//!
//! | glibc | constructors in a circle | destructors in a circle |
//! |---|---|---|
//! | 2.35, as released | the opened library may come before others | as the walk of [`users_first`] finds them |
//! | 2.35 and 2.36 with the fix of bug 28937; 2.37, 2.38 | the opened library comes last | the same |
//! | 2.39 and newer | the opened library comes last | the closed library comes first, then as the walk finds them |
//!
//! Distributions backport that fix, and the version does not tell. So dlscope has the opened library last everywhere.

/// The order of constructors of the objects `0 .. count`, which stand in the order of their discovery
/// (breadth first, the opened library first). `needs(i)` are the direct dependencies of `i` in the order of
/// its `DT_NEEDED`s. The opened library comes last, whatever needs it.
pub(crate) fn opened_last<N: AsRef<[usize]>>(count: usize, needs: impl Fn(usize) -> N) -> Vec<usize> {
    let mut visited = vec![false; count];
    visited.iter_mut().take(1).for_each(|opened| *opened = true);
    // glibc starts at the last object, too. The walks stay shallow that way.
    let mut order = walk((0..count).rev(), &needs, visited);
    order.extend((count > 0).then_some(0));
    order
}

/// The same where the opened library was loaded before, as a dependency of another one: then the walk goes through it.
pub(crate) fn known_opened_last(needs: &[Vec<usize>]) -> Vec<usize> {
    let mut order = walk((0..needs.len()).rev(), &|at: usize| &needs[at], vec![false; needs.len()]);
    if let Some(place) = order.iter().position(|&at| at == 0) {
        order[place..].rotate_left(1);
    }
    order
}

/// What ties an object to others, for the order of destructors.
#[derive(Default)]
pub(crate) struct Ties {
    /// What it needs. For a library that was opened, these are all objects that it needs directly or not, users first: the
    /// order of their constructors reversed. glibc: `l_initfini`.
    pub needs: Vec<usize>,
    /// What else its references are bound to, the latest first. glibc: `l_reldeps`.
    pub bound: Vec<usize>,
    /// Whether its references are, or were, bound to anything else, be it among the sorted objects or not.
    pub is_bound: bool,
}

/// The order of destructors of objects that stand in the order of their loading. Each comes before what it needs; and
/// before what it is bound to, unless that needs it: `DT_NEEDED` counts for more.
///
/// `closed` is the library whose close this is, if it comes first in a circle. `others_are_bound` tells whether an object
/// that is not among these is bound to another one. That changes the order in circles, because glibc then walks a second
/// time; elsewhere the second walk finds the same order, if nothing is bound.
pub(crate) fn users_first(all: &[Ties], closed: Option<usize>, others_are_bound: impl FnOnce() -> bool) -> Vec<usize> {
    let both: Vec<Vec<usize>> = all.iter().map(|ties| [&*ties.needs, &*ties.bound].concat()).collect();
    // glibc 2.39 and newer: the closed library and the first one change places.
    let mut starts: Vec<usize> = (0..all.len()).rev().filter(|&at| Some(at) != closed).collect();
    starts.extend(closed);
    let mut order = walk(starts, &|at: usize| &both[at], vec![false; all.len()]);
    if all.iter().any(|ties| ties.is_bound) || has_circle(all, &order) && others_are_bound() {
        order = walk(order, &|at: usize| &all[at].needs, vec![false; all.len()]);
    }
    order.reverse();
    if let Some(place) = order.iter().position(|at| Some(*at) == closed) {
        order[..=place].rotate_right(1);
    }
    order
}

/// Whether an object of `order`, which should be dependencies first, stands before one that it needs.
fn has_circle(all: &[Ties], order: &[usize]) -> bool {
    let mut placed = vec![false; all.len()];
    order.iter().any(|&at| {
        placed[at] = true;
        all[at].needs.iter().any(|&need| !placed[need])
    })
}

fn walk<N: AsRef<[usize]>>(
    starts: impl IntoIterator<Item = usize>,
    needs: &impl Fn(usize) -> N,
    mut visited: Vec<bool>,
) -> Vec<usize> {
    let mut order = Vec::with_capacity(visited.len());
    for start in starts {
        visit(start, needs, &mut visited, &mut order);
    }
    order
}

/// Depth first, without recursion: a chain of a thousand dependencies must not cost a thousand stack frames.
fn visit<N: AsRef<[usize]>>(start: usize, needs: &impl Fn(usize) -> N, visited: &mut [bool], order: &mut Vec<usize>) {
    if std::mem::replace(&mut visited[start], true) {
        return;
    }
    let mut path = vec![(start, 0)];
    while let Some((at, next)) = path.last_mut() {
        match needs(*at).as_ref().get(*next).copied() {
            Some(need) => {
                *next += 1;
                if !std::mem::replace(&mut visited[need], true) {
                    path.push((need, 0));
                }
            }
            None => {
                order.push(*at);
                path.pop();
            }
        }
    }
}

/// The order in which objects are asked for symbols: the order of their discovery, but each object behind those that it
/// filters (`DT_FILTER`, `DT_AUXILIARY`).
pub(crate) fn search_order<N: AsRef<[usize]>>(count: usize, filtees: impl Fn(usize) -> N) -> Vec<usize> {
    let mut order = Vec::with_capacity(count);
    let mut placed = vec![false; count];
    for at in 0..count {
        for &next in filtees(at).as_ref().iter().chain([&at]) {
            if !std::mem::replace(&mut placed[next], true) {
                order.push(next);
            }
        }
    }
    order
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dependencies_come_first_and_the_opened_library_last() {
        // 0 needs 1 and 2, both need 3.
        let needs = [vec![1, 2], vec![3], vec![3], vec![]];
        assert_eq!(opened_last(4, |at| &needs[at]), [3, 2, 1, 0]);
        assert!(opened_last(0, |at| &needs[at]).is_empty());
        let ties = needs.map(|needs| Ties { needs, ..Ties::default() });
        assert_eq!(users_first(&ties, None, || false), [0, 1, 2, 3]);
        assert!(users_first(&[], None, || false).is_empty());
    }

    #[test]
    fn a_user_goes_before_what_it_needs_also_if_that_is_bound_back_to_it() {
        let ties = |needs: &[usize], bound: &[usize]| Ties {
            needs: needs.into(),
            bound: bound.into(),
            is_bound: !bound.is_empty(),
        };
        // 0 needs 1, which is bound back to 0.
        assert_eq!(users_first(&[ties(&[1], &[]), ties(&[], &[0])], None, || false), [0, 1]);
        assert_eq!(users_first(&[ties(&[], &[1]), ties(&[0], &[])], None, || false), [1, 0]);
        // Where nothing is needed, bindings count: 1 is bound to 2.
        assert_eq!(users_first(&[ties(&[], &[]), ties(&[], &[2]), ties(&[], &[])], None, || false), [0, 1, 2]);
        assert_eq!(users_first(&[ties(&[], &[]), ties(&[], &[]), ties(&[], &[1])], None, || false), [0, 2, 1]);
    }

    #[test]
    fn the_closed_library_comes_first_in_a_circle_if_asked_for() {
        let circle = [1, 2, 0].map(|need| Ties { needs: vec![need], ..Ties::default() });
        assert_eq!(users_first(&circle, None, || false), [2, 0, 1]);
        assert_eq!(users_first(&circle, Some(0), || false), [0, 2, 1]);
        assert_eq!(users_first(&circle, Some(1), || false), [1, 2, 0]);
    }

    #[test]
    fn a_cycle_ends_and_names_everyone_once() {
        let cycle = |at: usize| [(at + 1) % 3];
        assert_eq!(opened_last(3, cycle), [2, 1, 0]);
    }

    #[test]
    fn a_long_chain_needs_no_deep_stack() {
        let mut needs: Vec<_> = (1..200_000).map(|next| vec![next]).collect();
        needs.push(vec![]);
        assert_eq!(opened_last(needs.len(), |at| &needs[at])[0], 199_999);
    }
}

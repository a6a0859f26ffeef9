//! The orders of objects: that of relocation and constructors, dependencies first; and that of symbol lookup.
//!
//! glibc `_dl_sort_maps` (2.35 and newer: depth first). Cycles have no right order; this one is glibc's.

/// The order of constructors of the objects `0 .. count`, which stand in the order of their discovery
/// (breadth first, the opened library first). `needs(i)` are the direct dependencies of `i` in the order of
/// its `DT_NEEDED`s. The opened library comes last, whatever needs it.
pub(crate) fn opened_last<N: AsRef<[usize]>>(count: usize, needs: impl Fn(usize) -> N) -> Vec<usize> {
    let mut visited = vec![false; count];
    visited.iter_mut().take(1).for_each(|opened| *opened = true);
    let mut order = walk(&needs, visited);
    order.extend((count > 0).then_some(0));
    order
}

/// The order of the objects `0 .. count`, dependencies first, where none of them is the opened library.
pub(crate) fn dependencies_first<N: AsRef<[usize]>>(count: usize, needs: impl Fn(usize) -> N) -> Vec<usize> {
    walk(&needs, vec![false; count])
}

fn walk<N: AsRef<[usize]>>(needs: &impl Fn(usize) -> N, mut visited: Vec<bool>) -> Vec<usize> {
    let mut order = Vec::with_capacity(visited.len());
    // glibc starts at the last object, too. The walks stay shallow that way.
    for start in (0..visited.len()).rev() {
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
        let needs = |at: usize| &needs[at];
        assert_eq!([opened_last(4, needs), dependencies_first(4, needs)], [[3, 2, 1, 0], [3, 2, 1, 0]]);
        assert_eq!(opened_last(0, needs), []);
    }

    #[test]
    fn a_cycle_ends_and_names_everyone_once() {
        let cycle = |at: usize| [(at + 1) % 3];
        assert_eq!(opened_last(3, cycle), [2, 1, 0]);
        let mut order = dependencies_first(3, cycle);
        assert_eq!(order.len(), 3);
        order.sort_unstable();
        assert_eq!(order, [0, 1, 2]);
    }

    #[test]
    fn a_long_chain_needs_no_deep_stack() {
        let mut needs: Vec<_> = (1..200_000).map(|next| vec![next]).collect();
        needs.push(vec![]);
        assert_eq!(dependencies_first(needs.len(), |at| &needs[at])[0], 199_999);
    }
}

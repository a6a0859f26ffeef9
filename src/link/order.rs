//! In which order objects are relocated and initialised: dependencies first.
//!
//! glibc `_dl_sort_maps` (2.35 and newer: depth first). Cycles have no right order; this one is glibc's.

/// The order of constructors of the objects `0 .. count`, which stand in the order of their discovery
/// (breadth first, the opened library first). `needs(i)` are the direct dependencies of `i` in the order of
/// its `DT_NEEDED`s.
pub(crate) fn dependencies_first<N: AsRef<[usize]>>(count: usize, needs: impl Fn(usize) -> N) -> Vec<usize> {
    let mut order = Vec::with_capacity(count);
    let mut visited = vec![false; count];
    // From the last one back, as glibc: the walks stay shallow, and the opened library comes out last.
    for start in (0..count).rev() {
        visit(start, &needs, &mut visited, &mut order);
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dependencies_come_first_and_the_opened_library_last() {
        // 0 needs 1 and 2, both need 3.
        let needs = [vec![1, 2], vec![3], vec![3], vec![]];
        let order = dependencies_first(4, |at| &needs[at]);
        assert_eq!(order, [3, 2, 1, 0]);
    }

    #[test]
    fn a_cycle_ends_and_names_everyone_once() {
        let mut order = dependencies_first(3, |at| [(at + 1) % 3]);
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

//! What a library's handle remembers of its scope, so that lookups by name are fast.
//!
//! A lookup by name, such as `dlsym`, asks one object of the scope after the other. Each "no" costs a few memory
//! accesses, and with ninety dependencies most of the time goes there. A handle that looks up many names gets an
//! [`Index`] over all exports of its scope.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

use crate::elf::gnu_hash;
use crate::elf::symbol::Wanted;
use crate::lock::made_once;
use crate::lookup::index::{Index, Known};
use crate::lookup::scope::{Definition, ask_in_turn};
use crate::object::Object;

/// No index pays before so many objects were asked, however few exports the scope has.
const FEW: usize = 8;

/// There is one for each handle. Every call must pass the scope of that handle, which never changes.
#[derive(Default)]
pub(crate) struct Directory {
    /// How many objects were asked so far by lookups without the index.
    asked: AtomicUsize,
    /// How many may be asked before the index is made.
    enough: OnceLock<usize>,
    /// The index, once it is made. An inner `None`: there can be no index over this scope.
    index: OnceLock<Option<Index>>,
    names: OnceLock<Arc<[Arc<str>]>>,
}

impl Directory {
    /// What the index alone knows of a name without a version. No object is asked.
    #[inline]
    pub(crate) fn known(&self, scope: &[Arc<Object>], name: &[u8]) -> Known {
        match self.index.get() {
            Some(Some(index)) => index.look_up(scope, name, gnu_hash::hash(name)),
            _ => Known::NotEnough,
        }
    }

    /// The definition of `wanted` in `scope`: the one that [`ask_in_turn`] finds.
    pub(crate) fn find<'o>(&self, scope: &'o [Arc<Object>], wanted: &Wanted<'_>) -> Option<Definition<'o>> {
        if let Some(Some(index)) = self.index.get() {
            let place = index.first_place(wanted.hash)?;
            return ask_in_turn(scope.get(place..)?, wanted, &mut ()).1;
        }
        let (asked, found) = ask_in_turn(scope, wanted, &mut ());
        let before = self.asked.fetch_add(asked, Ordering::Relaxed);
        if before + asked >= FEW && self.index.get().is_none() {
            self.make_index_in_time(scope, before, asked);
        }
        found
    }

    /// Makes the index when it is about to pay: `asked` more objects were asked after the `before` ones. To make it takes
    /// about as long as to ask as many objects as the scope has exports. Once that time was spent on asking, the index
    /// will pay if lookups go on as before. A handle that looks up few names never gets there.
    fn make_index_in_time(&self, scope: &[Arc<Object>], before: usize, asked: usize) {
        // The exports are not counted, but estimated: linkers make a bucket of .gnu.hash for one or two symbols.
        let buckets =
            || scope.iter().filter_map(|o| o.symbols().gnu_hash()).map(|gnu| gnu.bucket_count()).sum::<usize>();
        let enough = *made_once(&self.enough, || FEW.max(2 * buckets()));
        // Only the thread that crosses the threshold makes the index. The others go on without.
        if before < enough && before + asked >= enough {
            let _ = self.index.set(Index::over(scope));
        }
    }

    /// The names of the objects of `scope`, for errors.
    pub(crate) fn names(&self, scope: &[Arc<Object>]) -> Arc<[Arc<str>]> {
        made_once(&self.names, || scope.iter().map(|o| o.tag.name.clone()).collect()).clone()
    }
}

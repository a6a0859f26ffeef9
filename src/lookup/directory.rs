//! What a library's handle remembers of its scope, so that lookups by name are fast.
//!
//! `dlsym` asks one object after the other: a few memory accesses for each that says "no", and with ninety dependencies
//! most of the time goes there. Who looks up many names gets an [`Index`] over all exports of the scope.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

use crate::elf::gnu_hash;
use crate::elf::symbol::Wanted;
use crate::lock::made_once;
use crate::lookup::index::{Index, Known};
use crate::lookup::scope::{Definition, ask_in_turn};
use crate::object::Object;

/// One for each handle. The scope that its functions are given is always the same.
#[derive(Default)]
pub(crate) struct Directory {
    /// How many objects were asked so far, and at how many the index is made.
    asked: AtomicUsize,
    enough: OnceLock<usize>,
    /// `None` inside: there can be none.
    index: OnceLock<Option<Index>>,
    names: OnceLock<Arc<[Arc<str>]>>,
}

impl Directory {
    /// What the index alone knows of a name without a version.
    #[inline]
    pub(crate) fn known(&self, scope: &[Arc<Object>], name: &[u8]) -> Known {
        match self.index.get() {
            Some(Some(index)) => index.look_up(scope, name, gnu_hash::hash(name)),
            _ => Known::NotEnough,
        }
    }

    /// The definition of `wanted` in `scope`: what `find_by_name` says.
    pub(crate) fn find<'o>(&self, scope: &'o [Arc<Object>], wanted: &Wanted<'_>) -> Option<Definition<'o>> {
        if let Some(Some(index)) = self.index.get() {
            let place = index.first_place(wanted.hash)?;
            return ask_in_turn(scope.get(place..)?, wanted, &mut ()).1;
        }
        let (asked, found) = ask_in_turn(scope, wanted, &mut ());
        if self.index.get().is_none() {
            self.make_index_in_time(scope, asked);
        }
        found
    }

    /// An index takes about as long to make as it takes to ask as many objects as they have exports. Once that was spent
    /// on asking, it will pay, if lookups go on as before; who looks up few names never gets there.
    fn make_index_in_time(&self, scope: &[Arc<Object>], asked: usize) {
        let before = self.asked.fetch_add(asked, Ordering::Relaxed);
        // Linkers make a bucket for one or two symbols.
        let buckets =
            || scope.iter().filter_map(|o| o.symbols().gnu_hash()).map(|gnu| gnu.bucket_count()).sum::<usize>();
        let enough = *made_once(&self.enough, || 2 * buckets());
        // One thread makes it; the others go on without.
        if before < enough && before + asked >= enough {
            let _ = self.index.set(Index::over(scope));
        }
    }

    /// The names of the objects of `scope`, for errors.
    pub(crate) fn names(&self, scope: &[Arc<Object>]) -> Arc<[Arc<str>]> {
        made_once(&self.names, || scope.iter().map(|o| o.tag.name.clone()).collect()).clone()
    }
}

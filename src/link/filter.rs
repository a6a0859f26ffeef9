//! A filter in front of everybody's scope.
//!
//! Nearly every symbol that a library refers to is *not* defined by the program or by what it started with, and
//! yet these are asked first for each. One table of bits over all that they export answers most of these questions
//! with "no" at once, as the bloom filter in each library does for that library. It is built when a load has
//! enough relocations to be worth it, and kept for the next load.
//!
//! The key is a GNU hash without its lowest bit: that is what the chains of `.gnu.hash` keep of it.

use std::sync::Arc;

use crate::lock::{Guarded, Lock};
use crate::object::Object;

/// 2^17 bits: 16 KiB. With a few thousand exports, one question in some hundred is a false "maybe".
const BITS: u32 = 17;

const WORDS: usize = 1 << (BITS - 6);

/// Which names the objects of everybody's scope may define.
pub(crate) struct Filter {
    words: Box<[u64]>,
}

/// The last one that was built, and the objects it is about, by tag.
static KEPT: Guarded<Option<(Vec<u32>, Arc<Filter>)>> = Guarded::new(None);

impl Filter {
    /// The filter over `objects`; `None` if one of them has symbols that only the older hash table knows.
    pub(crate) fn over<'o>(objects: impl Iterator<Item = &'o Object> + Clone, lock: &Lock) -> Option<Arc<Filter>> {
        let tags: Vec<u32> = objects.clone().map(|o| o.tag.id).collect();
        let mut kept = KEPT.borrow(lock);
        if let Some((_, filter)) = kept.as_ref().filter(|(about, _)| *about == tags) {
            return Some(filter.clone());
        }
        let mut words = vec![0_u64; WORDS].into_boxed_slice();
        for object in objects {
            for hash in object.symbols().half_hashes()? {
                for bit in bits_of(hash) {
                    words[bit / 64] |= 1 << (bit % 64);
                }
            }
        }
        let filter = Arc::new(Filter { words });
        *kept = Some((tags, filter.clone()));
        Some(filter)
    }

    /// Whether one of the objects may define a name with this hash; the lowest bit does not count.
    #[inline]
    pub(crate) fn may_have(&self, hash: u32) -> bool {
        let [first, second] = bits_of(hash).map(|bit| self.words[bit / 64] >> (bit % 64));
        first & second & 1 == 1
    }
}

/// Two bits for each hash, by multiplication with odd numbers that spread them.
#[inline]
fn bits_of(hash: u32) -> [usize; 2] {
    let key = hash >> 1;
    [0x9e37_79b1, 0x85eb_ca6b].map(|odd| (key.wrapping_mul(odd) >> (32 - BITS)) as usize)
}

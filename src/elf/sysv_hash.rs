//! `DT_HASH`, the hash table of the gABI. It is older and slower than `DT_GNU_HASH`, and some libraries have
//! no other.
//!
//! gABI "Hash Table"; glibc `do_lookup_x` (its second half), musl `sysv_lookup`. `bucket[hash % nbucket]` is
//! the index of the first symbol of the bucket, `chain[index]` that of the next one; 0 is the end.

use super::addr::Vaddr;
use super::addr::u32_at;
use super::trail::{Probing, Trail};
use crate::error::ErrorKind;

/// The hash function of the gABI.
pub fn hash(name: &[u8]) -> u32 {
    name.iter().fold(0, |h: u32, &c| {
        let h = (h << 4).wrapping_add(u32::from(c));
        let high = h & 0xf000_0000;
        (h ^ (high >> 24)) & !high
    })
}

/// A `DT_HASH` whose parts are checked to lie inside its segment.
#[derive(Clone, Copy, Debug)]
pub struct SysvHash<'a> {
    buckets: &'a [u32],
    chain: &'a [u32],
}

impl<'a> SysvHash<'a> {
    /// Checks the table at the start of `bytes`, which reach to the end of the segment that it lies in.
    ///
    /// # Errors
    /// [`ErrorKind::Malformed`] where a part of the table would lie outside of `bytes`.
    pub fn new(bytes: &'a [u8], at: Vaddr) -> Result<SysvHash<'a>, ErrorKind> {
        let bad = |found: String| {
            ErrorKind::malformed("DT_HASH: size", at, found, "a table inside its segment", "gABI, \"Hash Table\"")
        };
        let (Some(nbucket), Some(nchain)) = (u32_at(bytes, 0), u32_at(bytes, 4)) else {
            return Err(bad(format!("{} bytes", bytes.len())));
        };
        let buckets_end = 8 + nbucket as usize * 4;
        let chain_end = buckets_end + nchain as usize * 4;
        let room = || bad(format!("{nbucket} buckets, {nchain} symbols"));
        let slice = |from, to| plain::slice_from_bytes(bytes.get(from..to).ok_or_else(room)?).map_err(|_| room());
        Ok(SysvHash { buckets: slice(8, buckets_end)?, chain: slice(buckets_end, chain_end)? })
    }

    /// The first symbol in the bucket of `hash` for which `accept` is true.
    pub fn find<T: Trail>(&self, hash: u32, trail: &mut T, mut accept: impl FnMut(u32, &mut T) -> bool) -> Option<u32> {
        if self.buckets.is_empty() {
            trail.step(|| Probing::EmptyTable);
            return None;
        }
        let bucket = hash % self.buckets.len() as u32;
        let mut index = self.buckets[bucket as usize];
        trail.step(|| Probing::Bucket { bucket, first: index });
        // A damaged chain may lead back into itself. It has no more steps than the table has symbols, so the
        // search ends after as many.
        for _ in 0..self.chain.len() {
            if index == 0 {
                return None;
            }
            trail.step(|| Probing::Chain { symbol: index, same_hash: true });
            if accept(index, trail) {
                return Some(index);
            }
            index = *self.chain.get(index as usize)?;
        }
        None
    }

    /// `nchain`: how many symbols the symbol table has.
    pub fn symbol_count(&self) -> u32 {
        self.chain.len() as u32
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hash_is_the_one_of_the_gabi() {
        for (name, expected) in [("", 0), ("printf", 0x077905a6), ("exit", 0x0006cf04), ("syscall", 0x0b09985c)] {
            assert_eq!(hash(name.as_bytes()), expected, "{name}");
        }
    }

    #[test]
    fn a_circle_in_a_chain_ends() {
        let words = crate::elf::aligned::Aligned::words(&[1, 3, 1, 0, 2, 1]);
        let table = SysvHash::new(words.bytes(), Vaddr(0)).unwrap();
        assert_eq!(table.find(0, &mut (), |_, _| false), None);
        assert_eq!(table.find(0, &mut (), |index, _| index == 2), Some(2));
    }
}

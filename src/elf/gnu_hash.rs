//! `DT_GNU_HASH`: from a name to a symbol index in a few memory accesses.
//!
//! glibc `do_lookup_x`, musl `gnu_lookup_filtered`. The table has three parts:
//!
//! ```text
//!   bloom     64-bit words, with two bits for each symbol. Most searches end here with "no", after one access.
//!   buckets   hash % nbuckets → the index of the first symbol in that bucket, or 0
//!   chain     one word for each symbol from `symoffset` on: its hash, whose lowest bit is replaced by "last of its bucket"
//! ```
//!
//! Symbols are sorted by bucket, so those of one bucket lie side by side.

use super::addr::{Vaddr, u32_at};
use super::trail::{Probing, Trail};
use crate::error::ErrorKind;

const RULE: &str = "the GNU hash table's format (\"ELF: symbol lookup via DT_GNU_HASH\")";

/// The hash of a name, in the textbook's form: from 5381, `h * 33 + c` for each byte, modulo 2^32. glibc
/// `_dl_new_hash`.
pub const fn hash_byte_by_byte(name: &[u8]) -> u32 {
    let (mut h, mut at) = (5381_u32, 0);
    while at < name.len() {
        h = h.wrapping_mul(33).wrapping_add(name[at] as u32);
        at += 1;
    }
    h
}

/// The same as [`hash_byte_by_byte`], eight bytes at a time.
///
/// Byte by byte, each step has to wait for the step before. But the hash is a sum, in which each byte is multiplied by
/// a power of 33. So the terms of eight bytes can be added up among themselves, and one multiplication joins them to
/// the hash of what came before.
#[inline]
pub fn hash(name: &[u8]) -> u32 {
    let (words, rest) = name.as_chunks();
    let step = |h: u32, word: &[u8; 8]| h.wrapping_mul(POWERS[8]).wrapping_add(eight(u64::from_le_bytes(*word)));
    rest.iter().fold(words.iter().fold(5381, step), byte)
}

/// The step of [`hash_byte_by_byte`].
fn byte(h: u32, &byte: &u8) -> u32 {
    h.wrapping_mul(33).wrapping_add(u32::from(byte))
}

/// 33 to the power of the index.
const POWERS: [u32; 9] = {
    let mut powers = [1; 9];
    let mut i = 1;
    while i < 9 {
        powers[i] = 33_u32.wrapping_mul(powers[i - 1]);
        i += 1;
    }
    powers
};

/// The sum of eight bytes, each times its power of 33; the first byte of the name is the lowest byte of `bytes`.
/// Neighbours are added first to pairs, then pairs to fours, then both fours. The sum of a pair fits into the sixteen
/// bits that its bytes stood in, the sum of a four into thirty-two.
#[inline]
fn eight(bytes: u64) -> u32 {
    const LOW_8: u64 = 0x00ff_00ff_00ff_00ff;
    const LOW_16: u64 = 0x0000_ffff_0000_ffff;
    let pairs = (bytes & LOW_8) * 33 + (bytes >> 8 & LOW_8);
    let fours = (pairs & LOW_16) * u64::from(POWERS[2]) + (pairs >> 16 & LOW_16);
    (fours as u32).wrapping_mul(POWERS[4]).wrapping_add((fours >> 32) as u32)
}

/// The hash of the string at the start of `bytes` and its length; `None` where no NUL ends it.
#[inline]
pub(crate) fn hash_string(bytes: &[u8]) -> Option<(u32, usize)> {
    let (words, rest) = bytes.as_chunks::<8>();
    let mut hash = 5381_u32;
    for (n, word) in words.iter().enumerate() {
        let word = u64::from_le_bytes(*word);
        if let Some(count) = first_nul(word) {
            // The zeros in front add nothing to the sum.
            let last = word.unbounded_shl(64 - 8 * count as u32);
            let hash = hash.wrapping_mul(POWERS[count]).wrapping_add(eight(last));
            return Some((hash, n * 8 + count));
        }
        hash = hash.wrapping_mul(POWERS[8]).wrapping_add(eight(word));
    }
    let count = rest.iter().position(|&byte| byte == 0)?;
    Some((rest[..count].iter().fold(hash, byte), words.len() * 8 + count))
}

/// The number of the lowest byte of `word` that is 0.
#[inline(always)]
fn first_nul(word: u64) -> Option<usize> {
    let zeros = word.wrapping_sub(0x0101_0101_0101_0101) & !word & 0x8080_8080_8080_8080;
    (zeros != 0).then(|| zeros.trailing_zeros() as usize / 8)
}

/// A `DT_GNU_HASH` whose parts are checked to lie inside its segment.
#[derive(Clone, Copy, Debug)]
pub struct GnuHash<'a> {
    bloom: &'a [u64],
    bloom_shift: u32,
    buckets: &'a [u32],
    /// `chain[i]` belongs to symbol `symoffset + i`.
    chain: &'a [u32],
    symoffset: u32,
}

impl<'a> GnuHash<'a> {
    /// Checks the table at the start of `bytes`, which reach to the end of the segment that it lies in.
    ///
    /// # Errors
    /// [`ErrorKind::Malformed`] where a part of the table would lie outside of `bytes`.
    pub fn new(bytes: &'a [u8], at: Vaddr) -> Result<GnuHash<'a>, ErrorKind> {
        let bad = |field: &str, offset: u64, found: String, expected: &str| {
            ErrorKind::malformed(format!("DT_GNU_HASH: {field}"), Vaddr(at.0 + offset), found, expected, RULE)
        };
        let header = [0, 4, 8, 12].map(|at| u32_at(bytes, at));
        let [Some(nbuckets), Some(symoffset), Some(bloom_size), Some(bloom_shift)] = header else {
            return Err(bad("header", 0, format!("{} bytes", bytes.len()), "16 bytes"));
        };
        if !bloom_size.is_power_of_two() {
            return Err(bad("bloom size", 8, bloom_size.to_string(), "a power of two"));
        }
        if bloom_shift >= 32 {
            return Err(bad("bloom shift", 12, bloom_shift.to_string(), "below 32"));
        }
        let parts = || {
            let (bloom, rest) = bytes[16..].split_at_checked(bloom_size as usize * 8)?;
            let (buckets, chain) = rest.split_at_checked(nbuckets as usize * 4)?;
            let (bloom, buckets) = (plain::slice_from_bytes(bloom).ok()?, plain::slice_from_bytes(buckets).ok()?);
            let chain = plain::slice_from_bytes(&chain[..chain.len() & !3]).ok()?;
            Some(GnuHash { bloom, bloom_shift, buckets, chain, symoffset })
        };
        let found = || format!("{nbuckets} buckets, {bloom_size} bloom words");
        parts().ok_or_else(|| bad("size", 0, found(), "a table inside its segment"))
    }

    /// The first symbol in the bucket of `hash` that has the same hash and for which `accept` is true.
    #[inline(always)]
    pub fn find<T: Trail>(&self, hash: u32, trail: &mut T, accept: impl FnMut(u32, &mut T) -> bool) -> Option<u32> {
        if !self.may_have(hash) {
            trail.step(|| Probing::BloomNo);
            return None;
        }
        self.find_in_bucket(hash, trail, accept)
    }

    /// [`GnuHash::find`] for a hash that the bloom filter has let through.
    #[inline(always)]
    pub(crate) fn find_in_bucket<T: Trail>(
        &self,
        hash: u32,
        trail: &mut T,
        mut accept: impl FnMut(u32, &mut T) -> bool,
    ) -> Option<u32> {
        if self.buckets.is_empty() {
            trail.step(|| Probing::EmptyTable);
            return None;
        }
        let bucket = hash % self.buckets.len() as u32;
        let first = self.buckets[bucket as usize];
        trail.step(|| Probing::Bucket { bucket, first });
        let mut index = first;
        // A bucket of 0 is empty. One below `symoffset` makes no sense and counts as empty.
        while let Some(&entry) = index.checked_sub(self.symoffset).and_then(|i| self.chain.get(i as usize)) {
            if first == 0 {
                break;
            }
            let same = (entry ^ hash) >> 1 == 0;
            trail.step(|| Probing::Chain { symbol: index, same_hash: same });
            if same && accept(index, trail) {
                return Some(index);
            }
            if entry & 1 == 1 {
                break;
            }
            index += 1;
        }
        None
    }

    /// Whether the bloom filter lets `hash` through. "No" is certain, "yes" is not.
    #[inline]
    pub fn may_have(&self, hash: u32) -> bool {
        let word = self.bloom[(hash as usize / 64) & (self.bloom.len() - 1)];
        // Both bits make one answer: each of them alone is as good as random, so the processor would often predict a
        // branch on it wrongly.
        (word >> (hash % 64)) & (word >> ((hash >> self.bloom_shift) % 64)) & 1 == 1
    }

    /// [`GnuHash::may_have`] for a hash whose lowest bit is not known.
    #[inline]
    pub fn may_have_half(&self, hash: u32) -> bool {
        let word = self.bloom[(hash as usize / 64) & (self.bloom.len() - 1)];
        // Either of two neighbouring bits will do, since the lowest bit of the hash is not known. With a shift of 0 the
        // second bit would be that same bit.
        let pair = word >> (hash & 62);
        (pair | pair >> 1) & (word >> ((hash >> self.bloom_shift) % 64)) & 1 == 1 || self.bloom_shift == 0
    }

    /// Whether any symbol has this hash, whatever its lowest bit. No name is read.
    pub(crate) fn has_half(&self, hash: u32) -> bool {
        let has = |hash| self.find_in_bucket(hash, &mut (), |_, _| true).is_some();
        self.may_have_half(hash) && (has(hash & !1) || has(hash | 1))
    }

    /// The word of symbol `index` in the chain.
    #[inline]
    pub(crate) fn chain_place(&self, index: u32) -> Option<&'a u32> {
        self.chain.get(index.checked_sub(self.symoffset)? as usize)
    }

    /// Whether symbol `index` may have a word in the chain. Symbols below `symoffset` have none: they are undefined.
    #[inline(always)]
    pub(crate) fn is_hashed(&self, index: u32) -> bool {
        index >= self.symoffset
    }

    /// The address of symbol `index`'s word in the chain. For a symbol without one the address points anywhere, so it
    /// may only be prefetched.
    #[inline(always)]
    pub(crate) fn chain_address(&self, index: u32) -> *const u32 {
        self.chain.as_ptr().wrapping_add(index.wrapping_sub(self.symoffset) as usize)
    }

    /// The hash of symbol `index` as the chain keeps it, without its lowest bit. `None` for a symbol that has no word
    /// there, because it is undefined.
    #[inline]
    pub fn half_hash(&self, index: u32) -> Option<u32> {
        self.chain_place(index).map(|entry| entry & !1)
    }

    /// How many buckets the table has.
    pub(crate) fn bucket_count(&self) -> usize {
        self.buckets.len()
    }

    /// How many symbols the table has.
    pub(crate) fn hashed_count(&self) -> u32 {
        self.symbol_count().map_or(0, |count| count - self.symoffset)
    }

    /// Calls `each` with every symbol that a search can reach and its hash without the lowest bit. Buckets come in
    /// order, and the symbols of each bucket in the order of a search. `None` at the end says that the table breaks its
    /// own rules: a symbol stands in the wrong bucket, or the bloom filter denies it, so that a search for its name
    /// would not find it.
    pub(crate) fn walk(&self, mut each: impl FnMut(u32, u32)) -> Option<()> {
        let count = self.buckets.len() as u32;
        for (bucket, &first) in (0..).zip(self.buckets) {
            let mut index = first;
            if first == 0 {
                continue;
            }
            loop {
                let entry = *self.chain_place(index)?;
                let home = (entry & !1) % count;
                let at_home = home == bucket || (home + 1) % count == bucket;
                if !at_home || !self.may_have_half(entry) {
                    return None;
                }
                each(index, entry & !1);
                if entry & 1 == 1 {
                    break;
                }
                index += 1;
            }
        }
        Some(())
    }

    /// The chain's words of all symbols in the table, in the order of their indices.
    pub fn words(&self) -> &'a [u32] {
        let hashed = self.symbol_count().map_or(0, |count| count.saturating_sub(self.symoffset) as usize);
        self.chain.get(..hashed).unwrap_or_default()
    }

    /// One more than the highest symbol index in the table. `None` for an empty table, which says nothing about the
    /// symbols below `symoffset`.
    pub fn symbol_count(&self) -> Option<u32> {
        let last_bucket = self.buckets.iter().copied().max().filter(|&first| first >= self.symoffset && first != 0)?;
        let from = (last_bucket - self.symoffset) as usize;
        let length = self.chain.get(from..)?.iter().position(|entry| entry & 1 == 1)?;
        last_bucket.checked_add(length as u32)?.checked_add(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hash_is_the_one_that_linkers_use() {
        for (name, expected) in [("", 0x1505), ("printf", 0x156b_2bb8), ("exit", 0x7c96_7e3f), ("syscall", 0xbac2_12a0)]
        {
            assert_eq!(hash(name.as_bytes()), expected, "{name}");
        }
    }

    #[test]
    fn the_hash_of_every_length_is_that_of_one_byte_after_another() {
        let bytes: Vec<u8> = (0..=255).rev().chain(std::iter::repeat_n(255, 40)).collect();
        for start in [0, 1, 7, 200, 255] {
            for length in 0..41 {
                let name = &bytes[start..start + length];
                assert_eq!(hash(name), hash_byte_by_byte(name), "{length} bytes from {start}");
            }
        }
    }

    #[test]
    fn a_string_has_the_hash_of_its_bytes_wherever_its_end_lies() {
        let text: Vec<u8> = (0..40_u8).map(|i| i.wrapping_mul(73) | 1).collect();
        for from in 0..8 {
            for length in 0..=text.len() - from {
                let mut bytes = text[from..from + length].to_vec();
                assert_eq!(hash_string(&bytes), None, "without an end");
                bytes.extend(b"\0behind it");
                assert_eq!(hash_string(&bytes), Some((hash(&bytes[..length]), length)), "{length} bytes");
            }
        }
    }

    use crate::elf::aligned::Aligned;

    #[test]
    fn a_walk_gives_every_symbol_and_refuses_one_that_no_search_would_reach() {
        let hashes = ["one", "two"].map(|name| hash(name.as_bytes()));
        let walked = |chain: [u32; 2], bloom: u32| {
            let table = Aligned::words(&[1, 5, 1, 6, bloom, bloom, 5, chain[0], chain[1]]);
            let table = GnuHash::new(table.bytes(), Vaddr(0)).unwrap();
            let mut seen = Vec::new();
            table.walk(|index, hash| seen.push((index, hash))).map(|()| seen)
        };
        let good = [hashes[0] & !1, hashes[1] | 1];
        assert_eq!(walked(good, u32::MAX), Some(vec![(5, hashes[0] & !1), (6, hashes[1] & !1)]));
        assert_eq!(walked(good, 0), None, "the filter says no");
        assert_eq!(walked([good[0], good[1] & !1], u32::MAX), None, "the last bucket has no end");
        let wrong_bucket = Aligned::words(&[4, 1, 1, 0, u32::MAX, u32::MAX, 1, 0, 0, 0, 3]);
        let table = GnuHash::new(wrong_bucket.bytes(), Vaddr(0)).unwrap();
        assert_eq!(table.walk(|_, _| ()), None, "hash 2 or 3 in bucket 0 of 4");
    }

    #[test]
    fn a_chain_without_an_end_stops_at_the_end_of_its_bytes() {
        let h = hash(b"x");
        // One bucket from symbol 1; a bloom of ones; chain entries that never say "last".
        let table = Aligned::words(&[1, 1, 1, 0, u32::MAX, u32::MAX, 1, h & !1, h & !1, 0]);
        let hashes = GnuHash::new(table.bytes(), Vaddr(0)).unwrap();
        assert_eq!(hashes.find(h, &mut (), |_, _| false), None);
        assert_eq!(hashes.find(h, &mut (), |_, _| true), Some(1));
        assert_eq!(hashes.symbol_count(), None);
    }

    #[test]
    fn a_header_that_promises_more_than_there_is_is_refused() {
        for words in
            [&[u32::MAX, 0, 1, 0, 0, 0][..], &[1, 0, 1 << 31, 0, 0, 0], &[1, 0, 3, 0, 0, 0], &[1, 0, 1, 32, 0, 0]]
        {
            assert!(GnuHash::new(Aligned::words(words).bytes(), Vaddr(0)).is_err(), "{words:x?}");
        }
        assert!(GnuHash::new(&[], Vaddr(0)).is_err());
    }
}

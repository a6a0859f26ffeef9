//! Hash tables without the keyed hash of the standard library. That hash asks the kernel for a random key first, which
//! takes a good part of the time in which a small library is loaded.

use std::collections::{HashMap, HashSet};
use std::hash::BuildHasherDefault;

/// A hash table that uses [`Hasher`].
pub(crate) type Map<K, V> = HashMap<K, V, BuildHasherDefault<Hasher>>;

/// A hash set that uses [`Hasher`].
pub(crate) type Set<T> = HashSet<T, BuildHasherDefault<Hasher>>;

/// Takes eight bytes at a time: rotates the state, mixes the bytes in, and multiplies by an odd number.
#[derive(Clone, Copy, Default)]
pub(crate) struct Hasher(u64);

impl Hasher {
    #[inline]
    fn mix(&mut self, word: u64) {
        self.0 = (self.0.rotate_left(5) ^ word).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    }
}

impl std::hash::Hasher for Hasher {
    #[inline]
    fn write(&mut self, bytes: &[u8]) {
        let (words, rest) = bytes.as_chunks::<8>();
        words.iter().for_each(|word| self.mix(u64::from_le_bytes(*word)));
        let last = rest.iter().fold(rest.len() as u64, |word, &byte| word << 8 | u64::from(byte));
        self.mix(last);
    }

    #[inline]
    fn write_u8(&mut self, value: u8) {
        self.mix(value.into());
    }

    #[inline]
    fn write_u32(&mut self, value: u32) {
        self.mix(value.into());
    }

    #[inline]
    fn write_u64(&mut self, value: u64) {
        self.mix(value);
    }

    #[inline]
    fn finish(&self) -> u64 {
        // The hash table takes its index from the lowest bits, which a multiplication mixes least. So the upper half is
        // mixed into them.
        self.0 ^ self.0 >> 32
    }
}

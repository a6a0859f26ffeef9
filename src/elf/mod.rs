//! Reads what an ELF file says. The code is pure: nothing here touches the process, and nothing here is `unsafe`.
//!
//! Every offset, size, count and index is checked once, when bytes become one of these types. After that the accessors
//! of the types need no further check and cannot leave the bytes that they were given.

#![forbid(unsafe_code)]

pub mod addr;
pub mod dynamic;
pub mod gnu_hash;
pub mod image;
pub mod plan;
pub mod property;
pub mod reloc;
pub mod symbol;
pub mod sysv_hash;
pub mod trail;
pub mod version;

/// A little-endian `u16` at byte `at`, or `None` beyond the end.
pub(crate) fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    let word = bytes.get(at..at.checked_add(2)?)?;
    Some(u16::from_le_bytes(word.try_into().ok()?))
}

/// A little-endian `u32` at byte `at`, or `None` beyond the end.
pub(crate) fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    let word = bytes.get(at..at.checked_add(4)?)?;
    Some(u32::from_le_bytes(word.try_into().ok()?))
}

/// The bytes before the first NUL at or after `at`, or `None` where there is no NUL left.
pub(crate) fn c_str_at(bytes: &[u8], at: usize) -> Option<&[u8]> {
    let bytes = bytes.get(at..)?;
    // Eight bytes at a time: most of these strings are short, and a general search such as `memchr` takes longer to
    // begin.
    let (words, rest) = bytes.as_chunks();
    let in_word = words.iter().enumerate().find_map(|(n, word)| Some(n * 8 + first_nul(u64::from_le_bytes(*word))?));
    let length = match in_word {
        Some(length) => length,
        None => words.len() * 8 + rest.iter().position(|&byte| byte == 0)?,
    };
    Some(&bytes[..length])
}

/// The number of the lowest byte of `word` that is 0.
#[inline(always)]
fn first_nul(word: u64) -> Option<usize> {
    let zeros = word.wrapping_sub(0x0101_0101_0101_0101) & !word & 0x8080_8080_8080_8080;
    (zeros != 0).then(|| zeros.trailing_zeros() as usize / 8)
}

/// Bytes at an aligned address, as tables lie in memory.
#[cfg(test)]
pub(crate) mod aligned {
    pub struct Aligned(Vec<u8>, usize);

    impl Aligned {
        pub fn words(words: &[u32]) -> Aligned {
            let mut bytes = vec![0; words.len() * 4 + 8];
            let start = bytes.as_ptr().align_offset(8);
            for (at, word) in words.iter().enumerate() {
                bytes[start + at * 4..][..4].copy_from_slice(&word.to_le_bytes());
            }
            bytes.truncate(start + words.len() * 4);
            Aligned(bytes, start)
        }

        pub fn bytes(&self) -> &[u8] {
            &self.0[self.1..]
        }
    }
}

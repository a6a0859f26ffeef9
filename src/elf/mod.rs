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

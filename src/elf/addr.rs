//! Addresses, each kind a type of its own.
//!
//! A loader handles three kinds of number that all look alike: where a byte lies in the *file*, where the
//! file *says* that it belongs (`p_vaddr`, `st_value`, `r_offset`), and where it *is* in this process.
//! Confusing two of them is the classic bug of a loader, so they cannot be mixed here: the only way from a
//! [`Vaddr`] to an [`Addr`] is to add the object's [`Bias`].
//!
//! At the end stand the three ways in which tables are read that need not be aligned.

use std::fmt;
use std::ops::{Add, Range};

/// The size of a page on x86_64, in bytes. Every mapping system call works on whole pages.
pub const PAGE: u64 = 4096;

macro_rules! number {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
        pub struct $name(pub u64);

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}({:#x})", stringify!($name), self.0)
            }
        }

        /// Always with `0x`, as `readelf` and `strace` print addresses.
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&format!("{:#x}", self.0))
            }
        }

        /// A hexadecimal string: JSON numbers are only safe up to 2^53.
        #[cfg(feature = "serde")]
        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
                s.collect_str(self)
            }
        }
    };
}

number! {
    /// An address as the file gives it: relative to the object's load bias, in bytes.
    /// gABI: `p_vaddr`, `st_value`, `r_offset`, every `d_ptr`.
    Vaddr
}
number! {
    /// Where a byte lies in the file, in bytes from its start. gABI: `p_offset`, `e_phoff`.
    FileOffset
}
number! {
    /// An address in this process.
    Addr
}
number! {
    /// The load bias `B`: an object's addresses minus its `p_vaddr`s, modulo 2^64.
    /// glibc: `l_addr`; musl: `dso->base`.
    Bias
}
number! {
    /// One 64-bit word of an object's memory, whatever it means.
    Word
}

impl Add<Vaddr> for Bias {
    type Output = Addr;

    /// `B + p_vaddr`, modulo 2^64 as everywhere in ELF.
    fn add(self, vaddr: Vaddr) -> Addr {
        Addr(self.0.wrapping_add(vaddr.0))
    }
}

impl Bias {
    /// The inverse of `B + vaddr`.
    pub fn vaddr(self, address: Addr) -> Vaddr {
        Vaddr(address.0.wrapping_sub(self.0))
    }
}

impl Vaddr {
    /// This address moved on by `bytes`, or `None` where that leaves the 64-bit range.
    pub fn checked_add(self, bytes: u64) -> Option<Vaddr> {
        self.0.checked_add(bytes).map(Vaddr)
    }

    /// `self .. self + bytes`, or `None` where that leaves the 64-bit range.
    pub fn span(self, bytes: u64) -> Option<Range<Vaddr>> {
        Some(self..self.checked_add(bytes)?)
    }

    /// The start of the page that holds this address.
    pub fn page_down(self) -> Vaddr {
        Vaddr(page_down(self.0))
    }
}

/// `value` rounded down to a multiple of [`PAGE`].
pub const fn page_down(value: u64) -> u64 {
    value & !(PAGE - 1)
}

/// `value` rounded up to a multiple of [`PAGE`], or `None` where that leaves the 64-bit range.
pub const fn page_up(value: u64) -> Option<u64> {
    match value.checked_add(PAGE - 1) {
        Some(sum) => Some(page_down(sum)),
        None => None,
    }
}

/// A little-endian `u16` at byte `at`, or `None` beyond the end.
pub(crate) fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_le_bytes(*bytes.get(at..)?.first_chunk()?))
}

/// A little-endian `u32` at byte `at`, or `None` beyond the end.
pub(crate) fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(*bytes.get(at..)?.first_chunk()?))
}

/// The bytes before the first NUL at or after `at`, or `None` where there is no NUL left.
pub(crate) fn c_str_at(bytes: &[u8], at: usize) -> Option<&[u8]> {
    let rest = bytes.get(at..)?;
    // Most of these strings are short, and a search such as `memchr` takes longer to begin.
    Some(&rest[..rest.iter().position(|&byte| byte == 0)?])
}

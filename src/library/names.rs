//! How files and symbols may be named: by text, by bytes, by C strings, with or without the zero byte at the end.

use std::ffi::{CStr, CString, OsStr, OsString};
use std::os::unix::ffi::OsStrExt;

use super::{Error, Result};

/// Whatever names a file: text, a path, an `OsStr`. A zero byte at the end is left out; one before the end is
/// [`Error::InteriorZeroElements`].
pub trait AsFilename: AsRef<OsStr> {}

impl<T: AsRef<OsStr>> AsFilename for T {}

mod sealed {
    pub trait Bytes {
        /// The name, with or without a zero byte at its end.
        fn bytes(&self) -> &[u8];
    }
}

/// Whatever names a symbol: text, bytes, a C string. A zero byte at the end is left out; one before the end is
/// [`Error::InteriorZeroElements`].
///
/// ```
/// // SAFETY: zlib's constructors do nothing surprising, and the symbols are not used.
/// unsafe {
///     let zlib = dlscope::Library::open("libz.so.1")?;
///     for found in [zlib.get::<*const ()>("inflate")?, zlib.get(b"inflate\0")?, zlib.get(c"inflate")?] {
///         assert!(!found.is_null());
///     }
/// }
/// # Ok::<(), dlscope::Error>(())
/// ```
pub trait AsSymbolName: sealed::Bytes {
    /// The bytes of the name, without the zero byte at its end; there may be one before.
    #[doc(hidden)]
    #[inline]
    fn name(&self) -> &[u8] {
        let bytes = self.bytes();
        bytes.strip_suffix(b"\0").unwrap_or(bytes)
    }
}

impl<T: sealed::Bytes> AsSymbolName for T {}

macro_rules! names {
    ($($($name:ty),+ => $bytes:expr;)+) => {$($(
        impl sealed::Bytes for $name {
            #[inline]
            fn bytes(&self) -> &[u8] {
                $bytes(self)
            }
        }
    )+)+};
}

names! {
    &str, &String, String => str::as_bytes;
    &CStr, &CString, CString => CStr::to_bytes;
    &[u8], &Vec<u8>, Vec<u8> => std::convert::identity;
}

impl<const N: usize> sealed::Bytes for [u8; N] {
    #[inline]
    fn bytes(&self) -> &[u8] {
        self
    }
}

impl<const N: usize> sealed::Bytes for &[u8; N] {
    #[inline]
    fn bytes(&self) -> &[u8] {
        *self
    }
}

/// The file name as the loader takes it.
pub(crate) fn filename(name: &OsStr) -> Result<&OsStr> {
    let bytes = name.as_bytes();
    Ok(OsStr::from_bytes(without_zeros(bytes.strip_suffix(b"\0").unwrap_or(bytes))?))
}

/// `name`, if there is no zero byte in it.
#[inline]
pub(super) fn without_zeros(name: &[u8]) -> Result<&[u8]> {
    if name.contains(&0) { Err(Error::InteriorZeroElements) } else { Ok(name) }
}

/// The file name that a library of this name usually has: `libLLVM.so` for `LLVM`.
///
/// ```
/// assert_eq!(dlscope::library_filename("LLVM"), "libLLVM.so");
/// ```
pub fn library_filename(name: impl AsRef<OsStr>) -> OsString {
    use std::env::consts::{DLL_PREFIX, DLL_SUFFIX};
    let mut file = OsString::from(DLL_PREFIX);
    file.push(name);
    file.push(DLL_SUFFIX);
    file
}

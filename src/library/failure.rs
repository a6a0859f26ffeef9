//! [`Error`]: what users get. Its variants are libloading's, so that code which matches on them goes on to compile; what
//! went wrong is in the [`Refusal`] that each of them leads to.

use std::fmt;
use std::ops::Deref;

use crate::error::{Error as Refusal, ErrorKind};
use crate::event::Stage;

/// The result of opening, asking and closing libraries.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// A library was not opened, or a symbol was not found.
///
/// The variants have the names that they have in `libloading`. The error dereferences to a [`Refusal`], which says what
/// went wrong:
///
/// ```
/// use dlscope::{Error, ErrorKind, Library};
/// // SAFETY: there is no library of this name.
/// let error = unsafe { Library::open("libnowhere.so") }.unwrap_err();
/// assert!(matches!(error, Error::DlOpen { .. }));
/// assert!(matches!(error.kind, ErrorKind::NotFound { .. }));
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Error {
    /// A library was not opened.
    DlOpen {
        /// Why not.
        desc: Refusal,
    },
    /// A library was not opened because `RTLD_NOLOAD` was given and it was not loaded before.
    DlOpenUnknown,
    /// A symbol was not found.
    DlSym {
        /// Why not.
        desc: Refusal,
    },
    /// A symbol was not found, and nobody knows why. dlscope never says so.
    DlSymUnknown,
    /// A library was not closed. dlscope never says so.
    DlClose {
        /// Why not.
        desc: Refusal,
    },
    /// A library was not closed, and nobody knows why. dlscope never says so.
    DlCloseUnknown,
    /// The type that a symbol was asked for as does not have the size of a pointer.
    IncompatibleSize,
    /// The name of a file or symbol has a zero byte before its end.
    InteriorZeroElements,
}

const fn bare(stage: Stage, kind: ErrorKind) -> Refusal {
    Refusal { object: String::new(), stage, kind }
}

static NOT_LOADED: Refusal = bare(Stage::Find, ErrorKind::NotLoaded);
static NO_SYMBOL: Refusal = bare(Stage::Lookup, ErrorKind::Unknown);
static NOT_CLOSED: Refusal = bare(Stage::Close, ErrorKind::Unknown);
static SIZE: Refusal = bare(Stage::Lookup, ErrorKind::IncompatibleSize);
static ZERO: Refusal = bare(Stage::Find, ErrorKind::InteriorZeroElements);

impl Deref for Error {
    type Target = Refusal;

    fn deref(&self) -> &Refusal {
        match self {
            Error::DlOpen { desc } | Error::DlSym { desc } | Error::DlClose { desc } => desc,
            Error::DlOpenUnknown => &NOT_LOADED,
            Error::DlSymUnknown => &NO_SYMBOL,
            Error::DlCloseUnknown => &NOT_CLOSED,
            Error::IncompatibleSize => &SIZE,
            Error::InteriorZeroElements => &ZERO,
        }
    }
}

impl From<Refusal> for Error {
    fn from(desc: Refusal) -> Error {
        match desc.stage {
            Stage::Lookup => Error::DlSym { desc },
            Stage::Close => Error::DlClose { desc },
            _ => Error::DlOpen { desc },
        }
    }
}

impl From<Error> for Refusal {
    fn from(error: Error) -> Refusal {
        match error {
            Error::DlOpen { desc } | Error::DlSym { desc } | Error::DlClose { desc } => desc,
            other => Refusal::clone(&other),
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.object.is_empty() { self.kind.fmt(f) } else { Refusal::fmt(self, f) }
    }
}

impl std::error::Error for Error {
    /// The kernel's error, if it is the cause. The refusal is no source of its own: its text is this error's text.
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        std::error::Error::source(&**self)
    }
}

#[cfg(feature = "serde")]
impl serde::Serialize for Error {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        Refusal::serialize(self, serializer)
    }
}

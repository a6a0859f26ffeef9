//! A loader, seen from a sample.

use std::ffi::CString;

/// A symbol's name in every form that a loader takes, made before the clock runs.
pub struct Name {
    /// For loaders with a Rust interface.
    pub text: String,
    /// For `dlsym`.
    pub c: CString,
}

impl Name {
    /// `None` for a name with a NUL inside.
    pub fn new(text: String) -> Option<Name> {
        let c = CString::new(text.as_bytes()).ok()?;
        Some(Name { text, c })
    }
}

/// A loader that is measured. Making the value is preparation and is timed apart.
pub trait Contender {
    /// An open library.
    type Library;

    /// Loads the library with all that it needs, binds it, and runs its constructors.
    ///
    /// # Errors
    /// What the loader says, in a line.
    fn open(&mut self, path: &str) -> Result<Self::Library, String>;

    /// Ends the use of the library.
    fn close(&mut self, library: Self::Library);

    /// Whether the loader finds the name in the library.
    fn find(&self, library: &Self::Library, name: &Name) -> bool;
}

//! From a name to a definition: which objects are asked, in which order, and what makes that fast.

pub(crate) mod directory;
pub(crate) mod first;
pub(crate) mod index;
pub(crate) mod scope;

//! Who finds what: files by name, dependencies, symbols over several objects, and orders.

pub(crate) mod cpu;
pub(crate) mod directory;
pub(crate) mod first;
pub(crate) mod index;
pub(crate) mod ldcache;
pub(crate) mod needed;
pub(crate) mod order;
pub(crate) mod plain;
pub(crate) mod relocate;
pub(crate) mod scope;
pub(crate) mod search;
pub(crate) mod tokens;
pub(crate) mod versions;

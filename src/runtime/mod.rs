//! Chapters beside the story: each is entered from one named call that can be stepped over. Assembly lives here and in
//! `capi/`, and nowhere else.

pub(crate) mod gdb;
pub(crate) mod ifunc;
pub(crate) mod lazy;
pub(crate) mod present;
mod state;
pub(crate) mod tls;
pub mod unwind;

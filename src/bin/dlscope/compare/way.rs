//! How dlscope loads the library that is compared.

use super::corrupt::Corrupt;

/// How dlscope loads the library that is compared.
#[derive(Clone, Copy, Default, clap::Args)]
pub struct Way {
    /// Let dlscope tell every event while it relocates: it goes another way then, on which each object is seen to be
    /// asked for each symbol
    #[arg(long)]
    pub watched: bool,
    /// Spoil what dlscope made of the library, to see that it is noticed: for tests
    #[arg(long, value_enum, hide = true)]
    pub corrupt: Option<Corrupt>,
}

//! The options for dlscope's side of a comparison.

use super::corrupt::Corrupt;

/// How dlscope loads the library.
#[derive(Clone, Copy, Default, clap::Args)]
pub struct DlscopeOptions {
    /// Let dlscope emit every event while it relocates: it then asks each object for each symbol in turn, instead of an
    /// index over all of them
    #[arg(long)]
    pub watched: bool,
    /// Spoil dlscope's result, to test that the comparison notices it
    #[arg(long, value_enum, hide = true)]
    pub corrupt: Option<Corrupt>,
}

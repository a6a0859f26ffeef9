//! Unwinding through loaded libraries in a program without `dlscope::interpose!()`: tables are registered with the unwinder.

mod common;
mod unwinding;

/// Whether this program answers the unwinder itself.
const INTERPOSED: bool = false;

#[test]
fn exceptions_are_thrown_and_caught() {
    unwinding::exceptions_are_thrown_and_caught("exceptions_are_thrown_and_caught");
}

#[test]
fn panics_cross_a_library() {
    unwinding::panics_cross_a_library("panics_cross_a_library");
}

#[test]
fn a_backtrace_passes_through_a_library() {
    unwinding::a_backtrace_passes_through_a_library("a_backtrace_passes_through_a_library");
}

#[test]
fn libstdcxx_and_its_streams_work() {
    unwinding::libstdcxx_and_its_streams_work("libstdcxx_and_its_streams_work");
}

//! What all samples have in common, whoever is measured.
//!
//! Each contender is a program of its own, or shares one with those that it does not disturb: `dlopen-rs` defines
//! `dlopen`, `dlsym` and a dozen more of libc's functions in every program that links it, so it has its own.

pub mod contender;
pub mod process;
pub mod sample;

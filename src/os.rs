//! What `libloading` has under the same name: libraries with flags and handles, and symbols without a lifetime.

pub mod unix;

//! Compiles the floor, and gives every sample the same libraries to start with.

fn main() {
    println!("cargo:rerun-if-changed=c/floor.c");
    cc::Build::new().file("c/floor.c").opt_level(2).compile("floor");
    // libc and libgcc_s come with Rust. Most programs have libm, too, so a load should not have to bring it.
    println!("cargo:rustc-link-arg-bins=-Wl,--push-state,--no-as-needed,-lm,--pop-state");
}

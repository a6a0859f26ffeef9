//! The shortest program that uses dlscope: `cargo run --example open_and_call -- LIB FUNCTION` opens a library and
//! calls a function of type `int f(void)`.

use std::ffi::c_int;

// With this line, exceptions of loaded libraries are unwound without a lock.
dlscope::interpose!();

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let (Some(library), Some(function)) = (arguments.next(), arguments.next()) else {
        return Err("usage: open_and_call LIB FUNCTION".into());
    };
    // SAFETY: whoever runs this program promises that the library's code may run, and that the function has this type.
    unsafe {
        let library = dlscope::Library::open(library)?;
        let function = library.get::<unsafe extern "C" fn() -> c_int>(&function)?;
        println!("{}", function());
    }
    Ok(())
}

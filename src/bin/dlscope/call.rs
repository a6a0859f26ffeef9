//! `dlscope call`: loads a library, calls one function of it, prints the result and nothing else.

use std::ffi::{OsString, c_void};
use std::io::Write as _;

use dlscope::elf::symbol::SymbolType;
use dlscope::{ErrorKind, Library};

use crate::Failure;
use crate::signature::{Signature, Value};
use crate::subject::SearchDirs;
use crate::why;

/// Load a library, call one of its functions, print the result
#[derive(clap::Args)]
#[command(after_help = "\
Types: i8 i16 i32 i64 u8 u16 u32 u64 f32 f64, ptr (any pointer), str (a C string), void.
Numbers may be hexadecimal (0x2a); a pointer may be `null`.

Examples:
  dlscope call libm.so.6 'cos(f64) -> f64' 0
  dlscope call libz.so.1 'zlibVersion() -> str'
  dlscope call libc.so.6 'labs(i64) -> i64' -42

Nothing checks the types: a call with a wrong signature may crash, as it would in C.")]
pub struct Args {
    /// The library: a name to search, or a path with a '/'
    library: OsString,
    /// The function and its types, as 'pow(f64, f64) -> f64'
    signature: String,
    /// One value for each argument
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    arguments: Vec<String>,
    #[command(flatten)]
    search: SearchDirs,
}

/// Runs the subcommand.
pub fn run(args: &Args) -> Result<(), Failure> {
    let signature = Signature::parse(&args.signature).map_err(Failure::Usage)?;
    let values = signature.values(&args.arguments).map_err(Failure::Usage)?;
    let loader = args.search.loader();
    // SAFETY: the user asks for this library's code to run.
    let library = unsafe { loader.open(&args.library) }?;
    refuse_variable(&library, &signature.name)?;
    // SAFETY: the user vouches for the signature.
    let result = unsafe { invoke(&library, &signature, None, &values) };
    let result = result.map_err(|failure| with_near_names(failure, &library, &signature.name))?;
    flush_c_output();
    if let Some(result) = result {
        writeln!(anstream::stdout(), "{result}")?;
    }
    library.close()?;
    Ok(())
}

/// Where the library has no such function, names what comes near: a letter or two differ, or C++ has mangled the name.
fn with_near_names(failure: Failure, library: &Library, name: &str) -> Failure {
    match &failure {
        Failure::Load(error) if matches!(error.kind, ErrorKind::NoSuchSymbol { .. }) => {
            let near = why::near(library, name).into_iter().map(|line| format!("\n       {line}"));
            let message = near.fold(error.to_string(), |message, line| message + &line);
            Failure::Refused(message)
        }
        _ => failure,
    }
}

/// Refuses to call a variable: it has an address like a function, but there is no code.
fn refuse_variable(library: &Library, name: &str) -> Result<(), Failure> {
    let is_variable = |kind: SymbolType| matches!(kind, SymbolType::Object | SymbolType::ThreadLocal);
    match library.symbols().find(|symbol| symbol.name == name && is_variable(symbol.kind)) {
        Some(symbol) => {
            let path = library.path().display();
            Err(Failure::Refused(format!("{path}: {name} is a variable of {} bytes, not a function", symbol.size)))
        }
        None => Ok(()),
    }
}

/// Calls the function that `signature` names, in this version or the default one. Returns the result as text, `None`
/// for void.
///
/// # Safety
/// The function has this signature, and `values` are what it expects.
pub unsafe fn invoke(
    library: &Library,
    signature: &Signature,
    version: Option<&str>,
    values: &[Value],
) -> Result<Option<String>, Failure> {
    // SAFETY: only the address is taken here; any symbol has one.
    let function = *unsafe {
        match version {
            None => library.get::<*const c_void>(&signature.name),
            Some(version) => library.get_version::<*const c_void>(&signature.name, version),
        }
    }?;
    let arguments = signature.parameters.iter().zip(values).map(|(&ty, value)| (ty, value.word));
    // SAFETY: the caller's promise; `Type::read` has made whole words of the values.
    let word = unsafe { crate::invoke::invoke(function, arguments, signature.result) };
    // SAFETY: a function with the result type `str` returns a C string or null.
    Ok(unsafe { signature.result.show(word) })
}

/// Writes out what C code printed and libc still buffers, so that it comes before the command's own output.
pub fn flush_c_output() {
    // SAFETY: null means all streams; no stream is locked by this thread.
    unsafe { nix::libc::fflush(std::ptr::null_mut()) };
}

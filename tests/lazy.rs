//! Lazy binding: what is bound at the first call, and what the call gets.

mod common;
mod fixtures;

use std::ffi::{CStr, c_char, c_int};
use std::fs;
use std::sync::Arc;

use common::{in_own_process, in_own_process_with, library};
use dlscope::event::Kind;
use dlscope::{Bind, Loader, Recorder};
use fixtures::unpack;
use goblin::elf::Elf;
use goblin::elf::dynamic::DF_1_NOW;

fn first_calls(recorder: &Recorder) -> Vec<String> {
    let events = recorder.events();
    let name = |kind: &Kind| if let Kind::FirstCall { name, .. } = kind { Some(name.clone()) } else { None };
    events.iter().filter_map(|e| name(&e.kind)).collect()
}

/// Calls the fixture `plt` twice, and says which functions were bound at a first call.
fn call_plt() -> Vec<String> {
    let recorder = Arc::new(Recorder::default());
    let loader = Loader::new().bind(Bind::Lazy).probe(recorder.clone());
    // SAFETY: the types are those of the fixture's `call:` lines.
    unsafe {
        let plt = loader.open(unpack("plt", "lazy")).unwrap();
        let length = plt.get::<unsafe extern "C" fn(*const c_char) -> u64>("length").unwrap();
        assert!(first_calls(&recorder).is_empty());
        assert_eq!([length(c"hello".as_ptr()), length(c"lazy".as_ptr())], [5, 4]);
    }
    first_calls(&recorder)
}

#[test]
fn a_function_is_bound_at_its_first_call_and_only_then() {
    in_own_process("a_function_is_bound_at_its_first_call_and_only_then", || assert_eq!(call_plt(), ["strlen"]));
}

#[test]
fn ld_bind_now_binds_everything_at_once() {
    let now = |command: &mut std::process::Command| {
        command.env("LD_BIND_NOW", "1");
    };
    in_own_process_with("ld_bind_now_binds_everything_at_once", now, || assert!(call_plt().is_empty()));
}

#[test]
fn real_libraries_work() {
    in_own_process("real_libraries_work", || {
        let Some(path) = common::newest(&["libxml2.so.*"]).and_then(library) else { return };
        let file = fs::read(&path).unwrap();
        // Some distributions link everything so that it is bound at once.
        let at_once = Elf::parse(&file).unwrap().dynamic.unwrap().info.flags_1 & DF_1_NOW != 0;
        type Parse = unsafe extern "C" fn(*const c_char, c_int, *const c_char, *const c_char, c_int) -> *mut ();
        let recorder = Arc::new(Recorder::default());
        let loader = Loader::new().bind(Bind::Lazy).probe(recorder.clone());
        // SAFETY: the types are those of libxml2's headers.
        unsafe {
            let xml = loader.open(path).unwrap();
            let text = c"<a><b>42</b></a>";
            let read = xml.get::<Parse>("xmlReadMemory").unwrap();
            let document = read(text.as_ptr(), 16, c"memory".as_ptr(), std::ptr::null(), 0);
            let root = xml.get::<unsafe extern "C" fn(*mut ()) -> *mut ()>("xmlDocGetRootElement").unwrap()(document);
            let content = xml.get::<unsafe extern "C" fn(*mut ()) -> *const c_char>("xmlNodeGetContent").unwrap();
            assert_eq!(CStr::from_ptr(content(root)), c"42");
        }
        assert!(at_once || !first_calls(&recorder).is_empty());
    });
}

#[test]
fn a_missing_function_ends_the_process_in_the_words_of_glibc() {
    if std::env::var_os("DLSCOPE_MISSING").is_some() {
        // SAFETY: the fixture's function takes nothing; calling it does not return.
        unsafe {
            let loader = Loader::new().bind(Bind::Lazy);
            let library = loader.open(unpack("missing-symbol", "lazy")).unwrap();
            library.get::<unsafe extern "C" fn() -> c_int>("user").unwrap()();
        }
        return;
    }
    let mut child = std::process::Command::new(std::env::current_exe().unwrap());
    let name = "a_missing_function_ends_the_process_in_the_words_of_glibc";
    let output = child.args([name, "--exact", "--nocapture"]).env("DLSCOPE_MISSING", "1").output().unwrap();
    let text = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(127), "{text}");
    assert!(
        text.contains(": symbol lookup error: ") && text.contains("libmissing-symbol.so: undefined symbol: nowhere\n"),
        "{text}"
    );
}

//! Says what it gets from three crates that load their libraries by libloading.

use std::ffi::{CStr, CString, c_int, c_void};
use std::mem::transmute;

use ash::vk;
use clang_sys::*;
use khronos_egl as egl;

fn main() {
    // SAFETY: each library is used as its documentation says, and closed when nothing of it is used any more.
    unsafe {
        clang();
        gl();
        vulkan();
    }
}

unsafe fn clang() {
    clang_sys::load().expect("libclang is loaded");
    let path = std::env::args().nth(1).expect("the path of a C file");
    let path = CString::new(path).unwrap();
    unsafe {
        let index = clang_createIndex(0, 0);
        let unit = clang_parseTranslationUnit(index, path.as_ptr(), std::ptr::null(), 0, std::ptr::null_mut(), 0, 0);
        assert!(!unit.is_null());
        let mut names = Vec::<String>::new();
        clang_visitChildren(clang_getTranslationUnitCursor(unit), visit, (&raw mut names).cast());
        println!("clang-sys: the file declares {names:?}");
        clang_disposeTranslationUnit(unit);
        clang_disposeIndex(index);
    }
    println!("clang-sys: {:?}", get_library().map(|library| library.version()));
    clang_sys::unload().unwrap();
}

extern "C" fn visit(cursor: CXCursor, _: CXCursor, names: *mut c_void) -> CXChildVisitResult {
    unsafe {
        let name = clang_getCursorSpelling(cursor);
        let text = CStr::from_ptr(clang_getCString(name)).to_string_lossy().into_owned();
        (*names.cast::<Vec<String>>()).push(text);
        clang_disposeString(name);
    }
    CXChildVisit_Recurse
}

unsafe fn gl() {
    unsafe {
        let egl = egl::DynamicInstance::<egl::EGL1_4>::load_required().expect("libEGL is loaded");
        let display = egl.get_display(egl::DEFAULT_DISPLAY).expect("a display");
        println!("khronos-egl: {:?} {:?}", egl.version(), egl.initialize(display).expect("a driver"));
        let wanted = [egl::RED_SIZE, 8, egl::SURFACE_TYPE, egl::PBUFFER_BIT, egl::NONE];
        let config = egl.choose_first_config(display, &wanted).unwrap().expect("a configuration");
        egl.bind_api(egl::OPENGL_ES_API).unwrap();
        let version = [egl::CONTEXT_CLIENT_VERSION, 2, egl::NONE];
        let context = egl.create_context(display, config, None, &version).unwrap();
        let size = [egl::WIDTH, 16, egl::HEIGHT, 16, egl::NONE];
        let surface = egl.create_pbuffer_surface(display, config, &size).unwrap();
        egl.make_current(display, Some(surface), Some(surface), Some(context)).unwrap();
        let function = |name| egl.get_proc_address(name).unwrap();
        let set_color: unsafe extern "C" fn(f32, f32, f32, f32) = transmute(function("glClearColor"));
        let clear: unsafe extern "C" fn(u32) = transmute(function("glClear"));
        let read: unsafe extern "C" fn(c_int, c_int, c_int, c_int, u32, u32, *mut u8) =
            transmute(function("glReadPixels"));
        set_color(1.0, 0.0, 1.0, 1.0);
        clear(0x4000); // GL_COLOR_BUFFER_BIT
        let mut pixel = [0u8; 4];
        read(0, 0, 1, 1, 0x1908, 0x1401, pixel.as_mut_ptr()); // GL_RGBA, GL_UNSIGNED_BYTE
        println!("khronos-egl: a pixel is {pixel:?}");
        egl.terminate(display).unwrap();
    }
}

unsafe fn vulkan() {
    unsafe {
        let entry = match ash::Entry::load() {
            Ok(entry) => entry,
            Err(ash::LoadingError::LibraryLoadFailure(_)) => return println!("ash: there is no libvulkan"),
            Err(error) => panic!("{error}"),
        };
        let app = vk::ApplicationInfo::default();
        let instance = entry.create_instance(&vk::InstanceCreateInfo::default().application_info(&app), None).unwrap();
        for device in instance.enumerate_physical_devices().unwrap() {
            let device = instance.get_physical_device_properties(device);
            println!("ash: {:?}", device.device_name_as_c_str());
        }
        instance.destroy_instance(None);
    }
}

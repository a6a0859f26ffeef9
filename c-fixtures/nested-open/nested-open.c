//@ teaches: a constructor that calls dlopen itself, and a destructor that calls dlclose
//@ runpath: $ORIGIN
//@ has: R_X86_64_JUMP_SLOT dlopen
//@ has: no DT_NEEDED libinner.so
//@ call: inner_answer() -> i32 = 42
//@ prints: outer opens
//@ prints: inner starts
//@ prints: outer has opened
//@ prints: outer closes
//@ prints: outer has closed
//@ prints: inner stops

#include <dlfcn.h>
#include <stdio.h>

static void *inner;

// The loader is entered again while it is busy with this library. dlopen looks at the DT_RUNPATH of
// the object that calls it: so it must know that the call came from here.
__attribute__((constructor)) static void start(void) {
    puts("outer opens");
    inner = dlopen("libinner.so", RTLD_NOW);
    puts("outer has opened");
}

// A dlclose inside a dlclose only counts down: the library goes when the outer call comes to it.
__attribute__((destructor)) static void stop(void) {
    puts("outer closes");
    dlclose(inner);
    puts("outer has closed");
}

int inner_answer(void) {
    int (*answer)(void) = (int (*)(void))dlsym(inner, "answer");
    return answer();
}

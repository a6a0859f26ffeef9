// Allocators that ask for the real one. AT_FIRST_CALL: when they are first called. IN_CONSTRUCTOR: not before. ALWAYS: at
// each call, and for names that nobody has, and for their caller.
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#if defined PLUGIN
int plugin(void) { return 7; }
#elif defined AT_FIRST_CALL
void *malloc(size_t size)
{
    static void *(*real)(size_t);
    if (!real) real = (void *(*)(size_t))dlsym(RTLD_NEXT, "malloc");
    return real(size);
}
#elif defined IN_CONSTRUCTOR
static void *(*real)(size_t);
__attribute__((constructor)) static void find(void) { real = (void *(*)(size_t))dlvsym(RTLD_NEXT, "malloc", "GLIBC_2.2.5"); }
void *malloc(size_t size) { return real(size); }
#elif defined ALWAYS
static __thread int inside __attribute__((tls_model("initial-exec")));
void *malloc(size_t size)
{
    void *(*real)(size_t) = (void *(*)(size_t))dlsym(RTLD_NEXT, "malloc");
    if (!inside) {
        inside = 1;
        Dl_info info;
        dladdr(__builtin_return_address(0), &info);
        dlsym(RTLD_DEFAULT, "no_such_function");
        if (strstr(dlerror(), "no_such_function") == 0) abort();
        inside = 0;
    }
    return real(size);
}
void free(void *place)
{
    // glibc's own dlsym frees.
    static void (*real)(void *);
    if (!real) real = (void (*)(void *))dlsym(RTLD_NEXT, "free");
    real(place);
}
#endif
#ifdef MAIN
int main(void)
{
    // Printing must not allocate while the words of dlerror are at hand.
    setvbuf(stdout, 0, _IONBF, 0);
    void *volatile place = malloc(10);
    free(place);
    for (int i = 0; i < 2; i++) {
        void *handle = dlopen("./libplugin.so", i % 2 ? RTLD_NOW : RTLD_LAZY);
        if (!handle) { puts(dlerror()); return 2; }
        if (((int (*)(void))dlsym(handle, "plugin"))() != 7) return 3;
        if (dlsym(handle, "missing")) return 4;
        if (i == 0) puts(dlerror());
        if (dlopen("./libmissing.so", RTLD_NOW)) return 5;
        if (i == 0) puts(dlerror());
        if (dlclose(handle)) return 6;
    }
    puts("ok");
    return 0;
}
#endif

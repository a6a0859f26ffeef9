// A constructor of a linked library asks for everything, before the preload library's own constructors ran.
#define _GNU_SOURCE
#include <dlfcn.h>
#include <link.h>
#include <stdio.h>
#include <string.h>
#if defined PLUGIN
int plugin(void) { return 7; }
#elif defined LIB
int in_library;
static int count(struct dl_phdr_info *info, size_t size, void *seen) { (void)info; (void)size; ++*(int *)seen; return 0; }
__attribute__((constructor)) static void early(void)
{
    int seen = 0;
    dl_iterate_phdr(count, &seen);
    printf("objects: %s\n", seen > 3 ? "some" : "few");
    printf("puts: %d\n", dlsym(RTLD_NEXT, "puts") == (void *)puts);
    if (!dlsym(RTLD_NEXT, "no_such")) puts(strstr(dlerror(), "libearly.so: undefined symbol: no_such"));
    Dl_info info;
    if (dladdr((void *)&in_library, &info)) printf("dladdr: %s\n", info.dli_sname);
    // Only LD_LIBRARY_PATH leads there.
    void *handle = dlopen("libplugin.so", RTLD_NOW);
    if (!handle) { puts(dlerror()); return; }
    printf("plugin: %d\n", ((int (*)(void))dlsym(handle, "plugin"))());
    fflush(stdout);
}
#else
extern int in_library;
int main(void) { puts("main"); return in_library; }
#endif

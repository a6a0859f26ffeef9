// What signal handlers and allocators call allocates nothing.
#define _GNU_SOURCE
#include <dlfcn.h>
#include <link.h>
#include <stdio.h>
#include <stdlib.h>
#ifdef PLUGIN
int plugin(void) { return 7; }
#else
static void *(*real)(size_t);
static int allocations;
void *malloc(size_t size)
{
    if (!real) real = (void *(*)(size_t))dlsym(RTLD_NEXT, "malloc");
    allocations++;
    return real(size);
}
static int count(struct dl_phdr_info *info, size_t size, void *seen) { (void)info; (void)size; ++*(int *)seen; return 0; }
#define TRY(what, act) do { int before = allocations; act; printf("%s: %d\n", what, allocations - before); } while (0)
int main(void)
{
    setvbuf(stdout, 0, _IONBF, 0);
    int seen = 0;
    Dl_info info;
    void *handle = dlopen("./libplugin.so", RTLD_NOW), *program = dlopen(0, RTLD_NOW), *libc = dlopen("libc.so.6", RTLD_NOW);
    if (!handle || !program) { puts(dlerror()); return 2; }
    int (*plugin)(void) = (int (*)(void))dlsym(handle, "plugin");
    TRY("dl_iterate_phdr", dl_iterate_phdr(count, &seen));
    TRY("dladdr of the program", dladdr((void *)main, &info));
    TRY("dladdr of libc", dladdr(dlsym(RTLD_DEFAULT, "puts"), &info));
    TRY("dladdr of a loaded library", dladdr((void *)plugin, &info));
    TRY("dladdr of nothing", dladdr((void *)1, &info));
    TRY("RTLD_DEFAULT", dlsym(RTLD_DEFAULT, "puts"));
    TRY("RTLD_NEXT", dlsym(RTLD_NEXT, "free"));
    TRY("an indirect function", dlsym(RTLD_NEXT, "memcpy"));
    TRY("the program's handle", dlsym(program, "malloc"));
    TRY("a start-up library's handle", dlsym(libc, "puts"));
    TRY("a version", dlvsym(RTLD_NEXT, "memcpy", "GLIBC_2.2.5"));
    TRY("a library's handle", dlsym(handle, "plugin"));
    printf("%d, %d, %d\n", seen > 3, dlvsym(RTLD_DEFAULT, "memcpy", "GLIBC_2.2.5") == dlvsym(RTLD_DEFAULT, "memcpy", "GLIBC_2.14"),
        dlsym(RTLD_DEFAULT, "memcpy") == dlvsym(RTLD_DEFAULT, "memcpy", "GLIBC_2.14"));
    return plugin() - 7;
}
#endif

// An open in a constructor, of a library of the same load whose own constructor did not run yet: it runs before dlopen
// returns, and only once. The same for a new library that needs such a one. Each library is counted as added once.
//@ lib libb -DB -Wl,-soname,libb.so
//@ lib libc2 -DC2 -Wl,-soname,libc2.so -Wl,--no-as-needed ./libb.so -Wl,-rpath,\$ORIGIN
//@ lib liba -DA -Wl,-soname,liba.so
//@ lib libr -DR -Wl,--no-as-needed ./libb.so ./liba.so -Wl,-rpath,\$ORIGIN
//@ lib libd -DD -Wl,-soname,libd.so
//@ lib libs -DS -Wl,--no-as-needed ./libb.so ./libd.so -Wl,-rpath,\$ORIGIN
#define _GNU_SOURCE
#include <dlfcn.h>
#include <link.h>
#include <stdio.h>
#define CONSTRUCTOR __attribute__((constructor)) static void construct(void)
#if defined B
int ready;
CONSTRUCTOR { puts("b"); ready++; }
__attribute__((destructor)) static void destroy(void) { puts("b goes"); }
#elif defined A
CONSTRUCTOR
{
    puts("a");
    void *handle = dlopen("libb.so", RTLD_NOW);
    printf("a: b is ready %d times\n", handle ? *(int *)dlsym(handle, "ready") : -1);
}
#elif defined C2
extern int ready;
CONSTRUCTOR { printf("c: b is ready %d times\n", ready); }
#elif defined D
CONSTRUCTOR { puts("d"); printf("d: c is there: %d\n", dlopen("./libc2.so", RTLD_NOW) != 0); }
#elif defined R || defined S
int nothing;
#else
static int count(struct dl_phdr_info *info, size_t size, void *loaded)
{
    *(long *)loaded = info->dlpi_adds - info->dlpi_subs;
    return 1;
}

int main(void)
{
    long before, after;
    dl_iterate_phdr(count, &before);
    setvbuf(stdout, 0, _IONBF, 0);
    for (int i = 0; i < 2; i++) {
        void *handle = dlopen(i ? "./libs.so" : "./libr.so", RTLD_NOW);
        if (!handle) return puts(dlerror()), 2;
        void *b = dlopen("libb.so", RTLD_NOW | RTLD_NOLOAD);
        printf("b is ready %d times\n", *(int *)dlsym(b, "ready"));
        dl_iterate_phdr(count, &after);
        printf("%ld more are loaded\n", after - before);
        dlclose(b);
        printf("closed: %d\n", dlclose(handle));
    }
    return 0;
}
#endif

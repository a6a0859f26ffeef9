// Programs that bring a part of malloc's family. What they get back must be theirs.
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#ifdef PLUGIN
__thread char small[100] __attribute__((aligned(64))) = "x";
__thread char large[70000] __attribute__((aligned(4096))) = "y";
uintptr_t touch(void) { return small[0] != 'x' || large[0] != 'y' ? 1 : (uintptr_t)small % 64 + (uintptr_t)large % 4096; }
#else
static char arena[64 << 20] __attribute__((aligned(4096)));
static size_t used, live;
static void say(const char *words) { if (write(1, words, strlen(words)) < 0) abort(); }
static void *take(size_t size, size_t align)
{
#ifdef ASKS
    Dl_info info;
    static __thread int inside __attribute__((tls_model("initial-exec")));
    // Each caller is looked up, and sometimes a function.
    if (!inside++) {
        if (!dladdr(__builtin_return_address(0), &info)) say("dladdr does not know the caller\n");
        if (used % 7 == 0 && !dlsym(RTLD_NEXT, "malloc")) say("dlsym does not know malloc\n");
    }
    inside--;
#endif
    size_t room = ((size + 15) & ~15ul) + 16 + align;
    size_t at = __atomic_fetch_add(&used, room, __ATOMIC_RELAXED);
    if (at + room > sizeof arena) return 0;
    char *block = (char *)(((uintptr_t)arena + at + 16 + align - 1) & -align);
    ((size_t *)block)[-2] = size;
    __atomic_fetch_add(&live, 1, __ATOMIC_RELAXED);
    return block;
}
void *malloc(size_t size) { return take(size, 16); }
void free(void *block)
{
    if (!block) return;
    if ((char *)block < arena || (char *)block >= arena + sizeof arena) say("free of foreign memory\n");
    __atomic_fetch_sub(&live, 1, __ATOMIC_RELAXED);
#ifdef ASKS
    Dl_info info;
    dladdr(__builtin_return_address(0), &info);
#endif
}
void *calloc(size_t count, size_t size) { void *block = take(count * size, 16); return block ? memset(block, 0, count * size) : 0; }
void *realloc(void *old, size_t size)
{
    void *block = take(size, 16);
    if (block && old) { size_t before = ((size_t *)old)[-2]; memcpy(block, old, before < size ? before : size); free(old); }
    return block;
}
#ifdef MEMALIGN
void *memalign(size_t align, size_t size) { return take(size, align < 16 ? 16 : align); }
int posix_memalign(void **place, size_t align, size_t size) { *place = memalign(align, size); return *place ? 0 : ENOMEM; }
#endif
static uintptr_t (*touch)(void);
static void *work(void *p) { (void)p; return (void *)touch(); }
int main(void)
{
    setvbuf(stdout, 0, _IONBF, 0);
    size_t before = 0;
    for (int i = 0; i < 20; i++) {
        void *handle = dlopen("./libplugin.so", RTLD_NOW);
        if (!handle) return puts(dlerror()), 2;
        touch = (uintptr_t (*)(void))dlsym(handle, "touch");
        if (touch()) return puts("not aligned"), 3;
        for (int k = 0; k < 4; k++) {
            pthread_t thread;
            void *result;
            pthread_create(&thread, 0, work, 0);
            pthread_join(thread, &result);
            if (result) return puts("not aligned"), 4;
        }
        if (dlsym(handle, "none") || !dlerror() || dlopen("./libnone.so", RTLD_NOW) || !dlerror()) return 5;
        dlclose(handle);
        if (i == 2) before = live;
    }
    printf("blocks more: %s\n", live > before + 40 ? "many" : "few");
    return 0;
}
#endif

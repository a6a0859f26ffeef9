// Signal handlers ask the loader everything, while two threads open and close libraries, in the same threads and in others.
#define _GNU_SOURCE
#include <dlfcn.h>
#include <link.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#ifdef PLUGIN
int plugin(void) { return getpid() ? 7 : 0; }
#else
static void *kept; static int (*plugin)(void); static void *(*the_malloc)(size_t);
static volatile int over; static long asked, wrong[8];
struct seen { int objects, ours; };
static int see(struct dl_phdr_info *info, size_t size, void *data)
{
    struct seen *seen = data;
    seen->objects++;
    if (info->dlpi_phnum == 0 || info->dlpi_phdr[0].p_type == 77) seen->objects -= 1000;
    if (strstr(info->dlpi_name, "libkept")) seen->ours++;
    return 0;
}
static void handler(int s)
{
    (void)s;
    struct seen seen = {0}; Dl_info info;
    dl_iterate_phdr(see, &seen);
    if (seen.objects < 3 || seen.ours != 1) __atomic_fetch_add(&wrong[0], 1, 0);
    if (!dladdr((void *)plugin, &info) || strcmp(info.dli_sname, "plugin")) __atomic_fetch_add(&wrong[1], 1, 0);
    if (!dladdr((void *)the_malloc, &info)) __atomic_fetch_add(&wrong[2], 1, 0);
    if (dladdr(&info, &info)) __atomic_fetch_add(&wrong[3], 1, 0);
    if (dlsym(kept, "plugin") != (void *)plugin) __atomic_fetch_add(&wrong[4], 1, 0);
    if (dlsym(RTLD_DEFAULT, "malloc") != (void *)the_malloc) __atomic_fetch_add(&wrong[5], 1, 0);
    if (dlsym(kept, "malloc") != (void *)the_malloc) __atomic_fetch_add(&wrong[6], 1, 0);
    if (dlsym(kept, "none") || !dlerror()) __atomic_fetch_add(&wrong[7], 1, 0);
    __atomic_fetch_add(&asked, 1, 0);
}
static void *opens(void *name)
{
    while (!over) {
        void *h = dlopen(name, RTLD_NOW);
        if (!h) { puts(dlerror()); exit(3); }
        if (!dlsym(h, "plugin")) exit(4);
        dlclose(h);
    }
    return 0;
}
static void *allocates(void *p)
{
    void *held[64] = {0}; unsigned r = 1;
    while (!over) { r = r * 1103515245 + 12345; int k = r >> 16 & 63; free(held[k]); held[k] = malloc(r >> 8 & 4095); }
    return p;
}
int main(void)
{
    setvbuf(stdout, 0, _IONBF, 0);
    kept = dlopen("./libkept.so", RTLD_NOW);
    if (!kept) return puts(dlerror()), 2;
    plugin = (int (*)(void))dlsym(kept, "plugin");
    the_malloc = dlsym(RTLD_DEFAULT, "malloc");
    signal(SIGUSR1, handler);
    pthread_t threads[4];
    pthread_create(&threads[0], 0, opens, "./libone.so");
    pthread_create(&threads[1], 0, opens, "./libtwo.so");
    pthread_create(&threads[2], 0, allocates, 0);
    pthread_create(&threads[3], 0, opens, "./libkept.so");
    for (long i = 0; asked < 1000; i++) {
        pthread_kill(threads[i % 4], SIGUSR1);
        // At another moment of its work each time.
        sched_yield();
        for (volatile int k = 0; k < i * 37 % 3000; k++);
    }
    over = 1;
    for (int i = 0; i < 4; i++) pthread_join(threads[i], 0);
    for (int i = 0; i < 8; i++) if (wrong[i]) printf("%d: %ld of %ld wrong\n", i, wrong[i], asked);
    puts(asked > 100 ? "ok" : "not asked");
    return 0;
}
#endif

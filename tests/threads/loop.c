/* Eight threads open, close, look up and call at random. After each round everything is closed; what the process has then
   is printed: maps of files, descriptors, bytes of the heap in use, and KiB that are its own.

   Each argument is PATH=FUNCTION,FUNCTION…: functions without arguments. What cannot be opened is left out. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <malloc.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { THREADS = 8, HELD = 10, MOST = 200 };

static struct { const char *path; char *functions[20]; } libraries[MOST];
static int count, steps, wrong;

static unsigned below(unsigned long *random, unsigned end) {
    *random ^= *random << 13;
    *random ^= *random >> 7;
    *random ^= *random << 17;
    return *random % end;
}

static void *works(void *seed) {
    unsigned long random = 0x9e3779b97f4a7c15 ^ (unsigned long)seed << 17;
    struct { void *handle; int which; } held[HELD];
    int open = 0;
    for (int step = 0; step < steps; step++) {
        unsigned what = below(&random, 5);
        if (what < 2 || !open) {
            if (open == HELD) dlclose(held[--open].handle);
            held[open].which = below(&random, count);
            int mode = below(&random, 2) ? RTLD_NOW : RTLD_LAZY;
            held[open].handle = dlopen(libraries[held[open].which].path, mode);
            if (held[open].handle) open++;
            else __atomic_fetch_add(&wrong, 1, __ATOMIC_SEQ_CST);
            continue;
        }
        unsigned at = below(&random, open);
        if (what == 2) {
            dlclose(held[at].handle);
            held[at] = held[--open];
            continue;
        }
        if (what == 3 && dlsym(held[at].handle, "no_library_has_this")) __atomic_fetch_add(&wrong, 1, __ATOMIC_SEQ_CST);
        for (char **name = libraries[held[at].which].functions; *name; name++) {
            void *function = dlsym(held[at].handle, *name);
            if (!function) __atomic_fetch_add(&wrong, 1, __ATOMIC_SEQ_CST);
            else if (what == 4) ((void *(*)(void))function)();
        }
    }
    while (open) dlclose(held[--open].handle);
    return NULL;
}

static int lines_with(const char *file, const char *text, long *value) {
    char line[4096];
    int found = 0;
    FILE *from = fopen(file, "r");
    while (fgets(line, sizeof line, from))
        if (strstr(line, text)) {
            found++;
            if (value) *value = strtol(line + strlen(text), NULL, 10);
        }
    fclose(from);
    return found;
}

static void says(const char *what) {
    long dirty = 0;
    int descriptors = 0;
    malloc_trim(0);
    struct mallinfo2 heap = mallinfo2();
    for (int i = 0; i < 1024; i++) descriptors += fcntl(i, F_GETFD) >= 0;
    int maps = lines_with("/proc/self/maps", "/", NULL);
    lines_with("/proc/self/smaps_rollup", "Private_Dirty:", &dirty);
    printf("%s: wrong %d maps %d descriptors %d heap %zu dirty %ld\n", what, wrong, maps, descriptors,
           heap.uordblks + heap.hblkhd, dirty);
    fflush(stdout);
}

static void round_of(int how_many) {
    pthread_t threads[THREADS];
    alarm(60);
    steps = how_many;
    for (size_t i = 0; i < THREADS; i++) pthread_create(&threads[i], NULL, works, (void *)(i + 1));
    for (int i = 0; i < THREADS; i++) pthread_join(threads[i], NULL);
}

int main(int argc, char **argv) {
    for (int i = 1; i < argc && count < MOST; i++) {
        char *functions = strchr(argv[i], '=');
        *functions++ = 0;
        void *handle = dlopen(argv[i], RTLD_NOW);
        if (!handle) continue;
        int at = 0;
        for (char *name = strtok(functions, ","); name && at < 19; name = strtok(NULL, ","))
            if (dlsym(handle, name)) libraries[count].functions[at++] = name;
        libraries[count++].path = argv[i];
        dlclose(handle);
    }
    printf("libraries %d\n", count);
    /* Closed, and still there. */
    for (int i = 0; i < count; i++) {
        void *there = dlopen(libraries[i].path, RTLD_NOW | RTLD_NOLOAD);
        if (there) printf("pinned %s\n", strrchr(libraries[i].path, '/') ? strrchr(libraries[i].path, '/') + 1 : libraries[i].path);
        if (there) dlclose(there);
    }
    round_of(400);
    round_of(400);
    says("before");
    round_of(2000);
    says("after");
    return 0;
}

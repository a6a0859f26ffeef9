/* First calls through the PLT: nothing that a caller passes or gets back may be lost on the way. Run plain and under
   the preload: both must print the same. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <pthread.h>
#include <stdio.h>

static void *run(void *function) { return ((void *(*)(void))function)(); }

int main(int argc, char **argv) {
    char path[4096];
    setvbuf(stdout, NULL, _IOLBF, 0);
    snprintf(path, sizeof path, "%s/libcaller.so", argv[1]);
    void *caller = dlopen(path, RTLD_LAZY);
    if (!caller) { printf("%s\n", dlerror()); return 1; }
    ((void (*)(void))dlsym(caller, "arguments"))();
    pthread_t threads[8];
    void *race = dlsym(caller, "race");
    long sum = 0;
    for (int i = 0; i < 8; i++) pthread_create(&threads[i], NULL, run, race);
    for (int i = 0; i < 8; i++) { void *got; pthread_join(threads[i], &got); sum += (long)got; }
    printf("race: %ld\n", sum);
    fflush(stdout);
    ((void (*)(void))dlsym(caller, "missing"))();
    printf("not reached\n");
    return 0;
}

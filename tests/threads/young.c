// Threads that were created a moment ago, against loads of a library with an initial-exec variable: as many of the one as
// of the other. Each thread reads the variable once the load is over, and must find its initial value.
//
// usage: young LIBRARY LOADS
#include <dlfcn.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdio.h>
#include <stdlib.h>
#include <threads.h>

static sem_t loaded, create, created;
static int (*get)(void);
static pthread_t young;
static int failed;

static void *reads(void *nothing) { (void)nothing; sem_wait(&loaded); return (void *)(long)get(); }
static int reads_too(void *nothing) { return (int)(long)reads(nothing); }

// Creates one while the first thread loads.
static void *maker(void *nothing)
{
    for (;;) {
        sem_wait(&create);
        failed |= pthread_create(&young, NULL, reads, NULL);
        sem_post(&created);
    }
    return nothing;
}

int main(int argc, char **argv)
{
    static char stack[256 << 10] __attribute__((aligned(4096)));
    int loads = argc > 2 ? atoi(argv[2]) : 0, wrong = 0;
    pthread_t other;
    pthread_attr_t on_own_stack;
    sem_init(&loaded, 0, 0), sem_init(&create, 0, 0), sem_init(&created, 0, 0);
    pthread_attr_init(&on_own_stack);
    pthread_attr_setstack(&on_own_stack, stack, sizeof stack);
    pthread_create(&other, NULL, maker, NULL);
    for (int at = 0; at < loads; at++) {
        thrd_t of_c11;
        int found = 0;
        switch (at % 4) {
        case 0: failed |= pthread_create(&young, NULL, reads, NULL); break;
        case 1: failed |= pthread_create(&young, &on_own_stack, reads, NULL); break;
        case 2: failed |= thrd_create(&of_c11, reads_too, NULL) != thrd_success; break;
        case 3: sem_post(&create); break;
        }
        void *handle = dlopen(argv[1], RTLD_NOW);
        if (!handle) return puts(dlerror()), 2;
        get = (int (*)(void))dlsym(handle, "get");
        if (at % 4 == 3) sem_wait(&created);
        if (failed) return puts("a thread cannot be created"), 2;
        sem_post(&loaded);
        if (at % 4 == 2) {
            thrd_join(of_c11, &found);
        } else {
            void *result;
            pthread_join(young, &result);
            found = (int)(long)result;
        }
        wrong += found != 42 || get() != 42;
        dlclose(handle);
    }
    printf("%d loads, %d wrong\n", loads, wrong);
    return wrong != 0;
}

/* Threads that open, look up, call and close at the same time; a thread that is in a constructor while others work. */
//@ untraced
//@ lib libone -DNUMBER=1
//@ lib libtwo -DNUMBER=2 -L. -Wl,--no-as-needed -lone -Wl,-rpath,'$ORIGIN'
//@ lib libthree -DNUMBER=3 -L. -Wl,--no-as-needed -ltwo -Wl,-rpath,'$ORIGIN'
//@ lib libfour -DNUMBER=4 -L. -Wl,--no-as-needed -lone -Wl,-rpath,'$ORIGIN'
//@ lib libstarts -DSTARTS
#ifdef NUMBER
static int alive;
__thread int calls;
__attribute__((constructor)) static void begins(void) { __atomic_fetch_add(&alive, 1, __ATOMIC_SEQ_CST); }
__attribute__((destructor)) static void ends(void) { __atomic_fetch_sub(&alive, 1, __ATOMIC_SEQ_CST); }
int number(void) { calls++; return alive == 1 && calls > 0 ? NUMBER : -1; }
#elif defined(STARTS)
#include <pthread.h>
#include <stddef.h>
static int done;
static void *work(void *unused) { done = 1; return unused; }
/* A thread that needs nothing of the loader, waited for in a constructor. */
__attribute__((constructor)) static void begins(void) {
    pthread_t thread;
    pthread_create(&thread, NULL, work, NULL);
    pthread_join(thread, NULL);
}
int started(void) { return done; }
#else
#include "contract.h"

static const char *libraries[] = {"./libone.so", "./libtwo.so", "./libthree.so", "./libfour.so"};
static int wrong;

static void *works(void *seed) {
    unsigned random = (unsigned)(size_t)seed * 2654435761u;
    for (int i = 0; i < 400; i++) {
        random = random * 1664525 + 1013904223;
        int which = random >> 30;
        void *handle = dlopen(libraries[which], random >> 20 & 1 ? RTLD_NOW : RTLD_LAZY);
        int (*number)(void) = handle ? dlsym(handle, "number") : NULL;
        int mine = number && number() == which + 1;
        Dl_info info;
        mine &= dladdr((void *)number, &info) && strcmp(base(info.dli_fname), libraries[which] + 2) == 0;
        mine &= dlsym(handle, "nowhere") == NULL && strstr(dlerror(), "nowhere") != NULL;
        mine &= dlopen("./missing.so", RTLD_NOW) == NULL && strstr(dlerror(), "missing.so") != NULL;
        mine &= dlclose(handle) == 0;
        if (!mine) __atomic_fetch_add(&wrong, 1, __ATOMIC_SEQ_CST);
    }
    return NULL;
}

int main(void) {
    pthread_t threads[8];
    for (size_t i = 0; i < 8; i++) pthread_create(&threads[i], NULL, works, (void *)(i + 1));
    for (int i = 0; i < 8; i++) pthread_join(threads[i], NULL);
    printf("wrong: %d\n", wrong);
    for (int i = 0; i < 4; i++) printf("%s is gone: %d\n", libraries[i], !mapped(libraries[i] + 1));
    void *starts = opened("./libstarts.so", RTLD_NOW);
    printf("a thread in a constructor: %d\n", CALL(int, starts, "started"));
    return 0;
}
#endif

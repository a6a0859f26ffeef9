/* A callback of dl_iterate_phdr that calls dlsym and dlopen, while other threads open and close. glibc calls it with a lock
   that its dlopen waits for, and so may wait for itself: it is not asked. */
//@ ours
//@ untraced
//@ prints callbacks went on: 1
//@ prints wrong: 0
//@ prints gone: 0
//@ lib libleaf -DLEAF
#if defined(LEAF)
int leaf(void) { return 8; }
#else
#include "contract.h"

static int wrong, stop, rounds;

static void *works(void *path) {
    for (int i = 0; i < 300; i++) {
        void *handle = dlopen(path, i & 1 ? RTLD_NOW : RTLD_LAZY);
        wrong += !handle || CALL(int, handle, "leaf") != 8;
        wrong += dlclose(handle) != 0;
    }
    return NULL;
}

static int visit(struct dl_phdr_info *info, size_t size, void *count) {
    *(int *)count += dlsym(RTLD_DEFAULT, "puts") != NULL && dlsym(RTLD_NEXT, "malloc") != NULL;
    if (info->dlpi_name[0] == 0) dlclose(dlopen("./libleaf.so", RTLD_NOW));
    return 0;
}

static void *walks(void *unused) {
    while (!__atomic_load_n(&stop, __ATOMIC_SEQ_CST)) {
        int count = 0;
        dl_iterate_phdr(visit, &count);
        wrong += count < 3;
        rounds++;
    }
    return unused;
}

int main(void) {
    alarm(60);
    pthread_t threads[4], walker;
    pthread_create(&walker, NULL, walks, NULL);
    for (int i = 0; i < 4; i++) pthread_create(&threads[i], NULL, works, "./libleaf.so");
    for (int i = 0; i < 4; i++) pthread_join(threads[i], NULL);
    stop = 1;
    pthread_join(walker, NULL);
    printf("callbacks went on: %d\n", rounds > 0);
    printf("wrong: %d\n", wrong);
    printf("gone: %d\n", mapped("/libleaf.so"));
    return 0;
}
#endif

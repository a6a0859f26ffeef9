/* Who comes back in: dlopen in a constructor and dlclose in a destructor, both on several threads and in two namespaces
   that open from each other's constructors; a callback of dl_iterate_phdr that looks up; a fork meanwhile. */
//@ untraced
//@ lib libleaf -DLEAF
//@ lib libopens -DOPENS='"./libleaf.so"'
//@ lib libmore -DOPENS='"./libopens.so"'
//@ lib libasks -DASKS
#define _GNU_SOURCE
#include <dlfcn.h>
#include <link.h>
#include <stddef.h>
#if defined(LEAF)
static int alive;
__thread int of_thread = 8;
__attribute__((constructor)) static void begins(void) { alive++; }
__attribute__((destructor)) static void ends(void) { alive--; }
int leaf(void) { return alive == 1 ? of_thread : -1; }
#elif defined(OPENS)
static void *inner;
static int visit(struct dl_phdr_info *info, size_t size, void *count) {
    *(int *)count += dlsym(RTLD_DEFAULT, "puts") != NULL;
    return 0;
}
__attribute__((constructor)) static void begins(void) {
    int count = 0;
    inner = dlopen(OPENS, RTLD_NOW);
    dl_iterate_phdr(visit, &count);
    if (count < 3) inner = NULL;
}
__attribute__((destructor)) static void ends(void) { dlclose(inner); }
int leaf(void) { return inner ? ((int (*)(void))dlsym(inner, "leaf"))() : -2; }
#elif defined(ASKS)
/* Opened in two namespaces; the constructor in one opens a library in the other. */
static void *other;
__attribute__((constructor)) static void begins(void) {
    Dl_info info;
    dladdr((void *)&other, &info);
    void *self = dlopen(info.dli_fname, RTLD_NOW | RTLD_NOLOAD);
    Lmid_t number = -5;
    if (self && dlinfo(self, RTLD_DI_LMID, &number) == 0) {
        if (number == LM_ID_BASE) other = dlmopen(LM_ID_NEWLM, info.dli_fname, RTLD_NOW);
        dlclose(self);
    }
}
__attribute__((destructor)) static void ends(void) { if (other) dlclose(other); }
int has_other(void) { return other != NULL; }
#else
#include "contract.h"

static int wrong;

static void *works(void *path) {
    for (int i = 0; i < 100; i++) {
        void *handle = dlopen(path, i & 1 ? RTLD_NOW : RTLD_LAZY);
        wrong += !handle || CALL(int, handle, "leaf") != 8;
        wrong += dlclose(handle) != 0;
    }
    return NULL;
}

static void *forks(void *unused) {
    int good = 0;
    for (int i = 0; i < 20; i++) {
        pid_t child = fork();
        if (child == 0) _exit(dlsym(RTLD_DEFAULT, "puts") ? 9 : 0);
        int status;
        waitpid(child, &status, 0);
        good += WEXITSTATUS(status) == 9;
    }
    printf("children: %d\n", good);
    return unused;
}

int main(void) {
    alarm(60);
    pthread_t threads[5];
    pthread_create(&threads[4], NULL, forks, NULL);
    const char *paths[] = {"./libleaf.so", "./libopens.so", "./libmore.so", "./libmore.so"};
    for (int i = 0; i < 4; i++) pthread_create(&threads[i], NULL, works, (void *)paths[i]);
    for (int i = 0; i < 4; i++) pthread_join(threads[i], NULL);
    pthread_join(threads[4], NULL);
    printf("wrong: %d\n", wrong);
    printf("gone: %d %d %d\n", mapped("/libleaf.so"), mapped("/libopens.so"), mapped("/libmore.so"));
    void *asks = opened("./libasks.so", RTLD_NOW);
    printf("in another namespace: %d\n", CALL(int, asks, "has_other"));
    printf("closed: %d\n", dlclose(asks));
    return 0;
}
#endif

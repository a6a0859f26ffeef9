/* dlopen in a constructor, dlclose in a destructor; and opens that fail in the middle of one that does not: each takes
   back exactly its own part, in memory, in descriptors and in the counts. */
//@ lib libleaf -DLEAF
//@ lib libinner -DINNER -L. -Wl,--no-as-needed -lleaf -Wl,-rpath,'$ORIGIN'
//@ lib libbad -DBAD -L. -Wl,--no-as-needed -lleaf -linner -Wl,-rpath,'$ORIGIN'
//@ lib libfails -DFAILS -L. -Wl,--no-as-needed -linner -lbad -Wl,-rpath,'$ORIGIN'
//@ lib libouter -DOUTER
//@ lib libitself -DITSELF
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdio.h>
#include <string.h>
#if defined(LEAF)
static char some[20000] = {1};
char *leaf(void) { return some; }
__attribute__((constructor)) static void begins(void) { printf("leaf begins\n"); }
__attribute__((destructor)) static void ends(void) { printf("leaf ends\n"); }
#elif defined(INNER)
__thread int of_thread = 9;
int inner(void) { return of_thread; }
__attribute__((constructor)) static void begins(void) { printf("inner begins\n"); }
__attribute__((destructor)) static void ends(void) { printf("inner ends\n"); }
#elif defined(BAD)
void defined_nowhere(void);
__attribute__((constructor)) static void begins(void) { printf("must not run\n"); }
void (*use)(void) = defined_nowhere;
#elif defined(FAILS)
__attribute__((constructor)) static void begins(void) { printf("must not run either\n"); }
#elif defined(OUTER)
static void *inner, *leaf;
static int maps(void) {
    char line[4096];
    int count = 0;
    FILE *file = fopen("/proc/self/maps", "r");
    while (fgets(line, sizeof line, file)) count += strstr(line, ".so") != NULL;
    fclose(file);
    return count;
}
int alive = 3;
__attribute__((constructor)) static void begins(void) {
    printf("outer begins\n");
    leaf = dlopen("./libleaf.so", RTLD_NOW);
    int before = maps();
    for (int i = 0; i < 3; i++) {
        printf("fails: %d\n", dlopen("./libfails.so", RTLD_NOW) != NULL);
        printf("%s\n", dlerror());
        printf("more maps: %d\n", maps() - before);
    }
    printf("its dependency is gone: %d\n", dlopen("./libinner.so", RTLD_NOW | RTLD_NOLOAD) == NULL);
    printf("what was there is there: %d\n", dlopen("./libleaf.so", RTLD_NOW | RTLD_NOLOAD) == leaf);
    dlclose(leaf);
    inner = dlopen("./libinner.so", RTLD_NOW);
    printf("inner: %d\n", ((int (*)(void))dlsym(inner, "inner"))());
    printf("itself: %d\n", dlsym(RTLD_DEFAULT, "alive") == &alive);
}
__attribute__((destructor)) static void ends(void) {
    printf("outer ends\n");
    printf("inner: %d\n", dlclose(inner));
    printf("leaf: %d\n", dlclose(leaf));
}
#elif defined(ITSELF)
int count;
__attribute__((constructor)) static void begins(void) {
    void *again = dlopen("./libitself.so", RTLD_NOW);
    printf("opens itself: %d, constructors: %d\n", again != NULL, ++count);
    printf("closes itself: %d\n", dlclose(again));
}
#else
#include "contract.h"

static char before[1 << 16], after[1 << 16];

/* What belongs to a file. */
static void maps(char *text) {
    char line[4096];
    FILE *file = fopen("/proc/self/maps", "r");
    *text = 0;
    while (fgets(line, sizeof line, file))
        if (strstr(line, ".so")) strcat(text, line);
    fclose(file);
}

static int descriptors(void) {
    int count = 0;
    for (int i = 0; i < 256; i++) count += fcntl(i, F_GETFD) >= 0;
    return count;
}

int main(void) {
    maps(before);
    int open_before = descriptors();
    printf("fails: %d\n", dlopen("./libfails.so", RTLD_NOW) != NULL);
    error("fails");
    maps(after);
    printf("as before: %d %d\n", strcmp(before, after) == 0, descriptors() == open_before);
    void *outer = opened("./libouter.so", RTLD_NOW);
    printf("alive: %d\n", *(int *)dlsym(outer, "alive"));
    printf("closed: %d\n", dlclose(outer));
    maps(after);
    printf("as before: %d %d\n", strcmp(before, after) == 0, descriptors() == open_before);
    void *itself = opened("./libitself.so", RTLD_NOW);
    printf("constructors: %d\n", *(int *)dlsym(itself, "count"));
    closes(itself, "/libitself.so");
    return 0;
}
#endif

/* Modes of dlopen and what its handles mean: one file, one handle, however it is called and however often it is opened. */
//@ lib liba -DA
//@ ln -sf liba.so alias.so
//@ ln -f liba.so hard.so
//@ lib libdep -DDEP
//@ lib libtop -DTOP -L. -ldep -Wl,-rpath,'$ORIGIN' -Wl,-soname,libtop.so.1
//@ lib libkept -DKEPT
//@ lib libnodelete -DKEPT -Wl,-z,nodelete
//@ lib libasks -DASKS
#if defined(A)
const char *a_name(void) { return "a"; }
const char *who(void) { return "a"; }
#elif defined(DEP)
const char *dep_name(void) { return "dep"; }
#elif defined(TOP)
const char *dep_name(void);
const char *top_name(void) { return dep_name(); }
const char *who(void) { return "top"; }
#elif defined(KEPT)
int kept = 1;
#elif defined(ASKS)
#include <stddef.h>
extern const char *a_name(void) __attribute__((weak));
const char *asks(void) { return a_name ? a_name() : "nobody"; }
#else
#include "contract.h"

static void modes(void) {
    printf("no mode: %d\n", dlopen("./liba.so", 0) != NULL);
    error("no mode");
    printf("no mode, program: %d\n", dlopen(NULL, RTLD_GLOBAL) != NULL);
    error("no mode, program");
    void *both = dlopen("./liba.so", RTLD_NOW | RTLD_LAZY);
    printf("both modes: %d %d\n", both != NULL, dlclose(both));
    printf("noload before: %d\n", dlopen("./liba.so", RTLD_NOW | RTLD_NOLOAD) != NULL);
    error("noload before");
    printf("noload of nothing: %d\n", dlopen("./nothing.so", RTLD_NOW | RTLD_NOLOAD) != NULL);
    error("noload of nothing");
}

static void names(void) {
    char path[4096];
    void *a = opened("./liba.so", RTLD_NOW);
    printf("again: %d\n", dlopen("./liba.so", RTLD_NOW) == a);
    printf("symbolic link: %d\n", dlopen("./alias.so", RTLD_NOW) == a);
    printf("hard link: %d\n", dlopen("./hard.so", RTLD_NOW) == a);
    printf("another path: %d\n", dlopen(".//./liba.so", RTLD_NOW) == a);
    printf("absolute: %d\n", dlopen(strcat(getcwd(path, 4000), "/liba.so"), RTLD_NOW) == a);
    for (int i = 0; i < 6; i++) closes(a, "/liba.so");
    void *top = opened("./libtop.so", RTLD_NOW);
    printf("by soname: %d\n", dlopen("libtop.so.1", RTLD_NOW | RTLD_NOLOAD) == top);
    closes(top, "/libtop.so");
    closes(top, "/libtop.so");
    printf("by soname, gone: %d\n", dlopen("libtop.so.1", RTLD_NOW | RTLD_NOLOAD) != NULL);
    error("by soname, gone");
}

static void promotion(void) {
    void *asks = opened("./libasks.so", RTLD_NOW);
    printf("weak, before: %s\n", CALL(const char *, asks, "asks"));
    dlclose(asks);
    void *a = opened("./liba.so", RTLD_NOW), *top = opened("./libtop.so", RTLD_NOW);
    printf("local: %d %d\n", dlsym(RTLD_DEFAULT, "a_name") != NULL, dlsym(RTLD_DEFAULT, "dep_name") != NULL);
    error("local");
    printf("promoted: %d\n", dlopen("./libtop.so", RTLD_NOW | RTLD_NOLOAD | RTLD_GLOBAL) == top);
    printf("with what it needs: %d\n", dlsym(RTLD_DEFAULT, "dep_name") != NULL);
    dlopen("./alias.so", RTLD_NOW | RTLD_GLOBAL);
    printf("the first promoted, not the first loaded: %s\n", CALL(const char *, RTLD_DEFAULT, "who"));
    dlopen("./liba.so", RTLD_NOW | RTLD_LOCAL);
    printf("never taken back: %d\n", dlsym(RTLD_DEFAULT, "a_name") != NULL);
    asks = opened("./libasks.so", RTLD_NOW);
    printf("weak, after: %s\n", CALL(const char *, asks, "asks"));
    dlclose(asks);
    dlclose(a);
}

static void kept(void) {
    void *kept = opened("./libkept.so", RTLD_NOW);
    dlopen("./libkept.so", RTLD_NOW | RTLD_NOLOAD | RTLD_NODELETE);
    printf("closed: %d %d\n", dlclose(kept), dlclose(kept));
    printf("once more: %d\n", dlclose(kept));
    error("once more");
    printf("kept: %d\n", dlopen("./libkept.so", RTLD_NOW | RTLD_NOLOAD) == kept);
    void *itself = opened("./libnodelete.so", RTLD_NOW);
    *(int *)dlsym(itself, "kept") = 2;
    printf("closed: %d\n", dlclose(itself));
    itself = opened("./libnodelete.so", RTLD_NOW);
    printf("kept by itself: %d\n", *(int *)dlsym(itself, "kept"));
}

int main(void);

static void program(void) {
    void *self = dlopen(NULL, RTLD_NOW);
    printf("program: %d\n", self != NULL);
    printf("by an empty name: %d\n", dlopen("", RTLD_LAZY) == self);
    printf("noload: %d\n", dlopen(NULL, RTLD_LAZY | RTLD_NOLOAD) == self);
    printf("main: %d, puts: %d\n", dlsym(self, "main") == (void *)main, dlsym(self, "puts") != NULL);
    printf("what is global: %d\n", dlsym(self, "a_name") != NULL);
    for (int i = 0; i < 5; i++) printf("close: %d\n", dlclose(self));
}

static void of_the_system(void) {
    void *libc = opened("libc.so.6", RTLD_NOW | RTLD_NOLOAD), *puts_there = dlsym(libc, "puts");
    printf("libc: %d\n", puts_there == dlsym(RTLD_DEFAULT, "puts"));
    closes(libc, "/libc.so.6");
    printf("puts: %d\n", dlsym(RTLD_DEFAULT, "puts") == puts_there);
    void *pthread = opened("libpthread.so.0", RTLD_LAZY);
    printf("libpthread: %d\n", dlsym(pthread, "pthread_create") != NULL);
    printf("close: %d\n", dlclose(pthread));
}

int main(void) {
    modes();
    names();
    promotion();
    kept();
    program();
    of_the_system();
    return 0;
}
#endif

/* Whose symbols RTLD_DEFAULT, RTLD_NEXT and a handle mean, asked by the program and by libraries; RTLD_DEEPBIND. */
//@ lib libstart -DSTART
//@ program -rdynamic -L. -Wl,--no-as-needed -lstart -Wl,-rpath,'$ORIGIN'
//@ lib libsecond -DSECOND
//@ lib libfirst -DFIRST -Wl,--no-as-needed -L. -lsecond -Wl,-rpath,'$ORIGIN'
//@ lib libdeep -DDEEP -L. -lsecond -Wl,--no-as-needed -Wl,-rpath,'$ORIGIN'
//@ lib libsymbolic -DSYMBOLIC -Wl,-Bsymbolic
//@ lib libwrap -DWRAP
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stddef.h>
#if defined(START)
const char *who(void) { return "start"; }
const char *only_start(void) { return "only start"; }
void *start_next(const char *name) { return dlsym(RTLD_NEXT, name); }
void *start_default(const char *name) { return dlsym(RTLD_DEFAULT, name); }
#elif defined(SECOND)
const char *who(void) { return "second"; }
const char *only_second(void) { return "only second"; }
const char *in_between(void) { return "second"; }
void *second_next(const char *name) { return dlsym(RTLD_NEXT, name); }
void *second_default(const char *name) { return dlsym(RTLD_DEFAULT, name); }
#elif defined(FIRST)
const char *who(void) { return "first"; }
const char *in_between(void) { return "first"; }
const char *only_first(void) { return "only first"; }
const char *asks_who(void) { return who(); }
void *first_next(const char *name) { return dlsym(RTLD_NEXT, name); }
void *first_default(const char *name) { return dlsym(RTLD_DEFAULT, name); }
void *first_opens(const char *name) { return dlopen(name, RTLD_NOW | RTLD_NOLOAD); }
#elif defined(DEEP)
const char *who(void);
const char *getenv(const char *name) { return "own getenv"; }
const char *asks_who(void) { return who(); }
const char *asks_getenv(void) { return getenv("NOT_SET_ANYWHERE"); }
void *deep_default(const char *name) { return dlsym(RTLD_DEFAULT, name); }
#elif defined(SYMBOLIC)
const char *who(void) { return "symbolic"; }
const char *asks_who(void) { return who(); }
#elif defined(WRAP)
#include <stdlib.h>
/* What malloc debuggers and profilers do. */
static void *(*real)(size_t);
void *wrapped(size_t size) {
    if (!real) real = dlsym(RTLD_NEXT, "malloc");
    return real ? real(size) : NULL;
}
#else
#include "contract.h"

const char *who(void) { return "program"; }
int only_program = 1;

typedef void *(*asks)(const char *);
typedef const char *(*says)(void);

static void told(const char *what, void *found) {
    const char *text = found ? ((says)found)() : NULL;
    printf("%s: %s\n", what, text ? text : "(null)");
    error(what);
}

static void of_the_program(void) {
    told("default", dlsym(RTLD_DEFAULT, "who"));
    told("next", dlsym(RTLD_NEXT, "who"));
    told("default, by a library", ((asks)dlsym(RTLD_DEFAULT, "start_default"))("who"));
    told("next, by a library", ((asks)dlsym(RTLD_DEFAULT, "start_next"))("who"));
    told("program", dlsym(dlopen(NULL, RTLD_NOW), "who"));
    told("library", dlsym(opened("libstart.so", RTLD_NOW), "who"));
    printf("its dependencies: %d\n", dlsym(opened("libstart.so", RTLD_NOW), "puts") == dlsym(RTLD_DEFAULT, "puts"));
    printf("malloc behind the program: %d\n", dlsym(RTLD_NEXT, "malloc") == dlsym(RTLD_DEFAULT, "malloc"));
    printf("nothing behind: %d\n", dlsym(RTLD_NEXT, "only_program") != NULL);
    error("nothing behind");
}

static void of_libraries(void) {
    void *first = opened("./libfirst.so", RTLD_NOW), *second = opened("libsecond.so", RTLD_NOW | RTLD_NOLOAD);
    error("by a name that only the first can find");
    second = ((asks)dlsym(first, "first_opens"))("libsecond.so");
    printf("by a library that can find it: %d\n", second != NULL);
    told("handle", dlsym(first, "who"));
    told("handle of a dependency", dlsym(second, "who"));
    told("handle, only in a dependency", dlsym(first, "only_second"));
    told("bound to", dlsym(first, "asks_who"));
    told("not in the program's scope", dlsym(RTLD_DEFAULT, "only_first"));
    told("default in the first", ((asks)dlsym(first, "first_default"))("in_between"));
    told("default in the second", ((asks)dlsym(second, "second_default"))("in_between"));
    told("default, of the program", ((asks)dlsym(second, "second_default"))("who"));
    told("next in the first", ((asks)dlsym(first, "first_next"))("in_between"));
    told("next in the second", ((asks)dlsym(second, "second_next"))("in_between"));
    printf("next, in libc: %d\n", ((asks)dlsym(second, "second_next"))("puts") == dlsym(RTLD_DEFAULT, "puts"));
    told("next, before it", ((asks)dlsym(second, "second_next"))("only_first"));
    dlclose(second);
    dlclose(first);
    printf("closed: %d %d\n", mapped("/libfirst.so"), mapped("/libsecond.so"));
}

static void of_all(void) {
    void *first = opened("./libfirst.so", RTLD_NOW | RTLD_GLOBAL);
    told("global", dlsym(RTLD_DEFAULT, "in_between"));
    told("global, the program first", dlsym(RTLD_DEFAULT, "who"));
    told("by a library of the start", ((asks)dlsym(RTLD_DEFAULT, "start_default"))("in_between"));
    told("behind a library of the start", ((asks)dlsym(RTLD_DEFAULT, "start_next"))("in_between"));
    told("behind the program", dlsym(RTLD_NEXT, "in_between"));
    dlclose(first);
    /* Found by RTLD_DEFAULT, it stays. */
    printf("stays: %d\n", mapped("/libfirst.so"));
}

static void deep(void) {
    void *deep = opened("./libdeep.so", RTLD_NOW | RTLD_DEEPBIND);
    told("deep", dlsym(deep, "asks_who"));
    told("deep, own", dlsym(deep, "asks_getenv"));
    told("deep, asked by name", ((asks)dlsym(deep, "deep_default"))("who"));
    dlclose(deep);
    deep = opened("./libdeep.so", RTLD_NOW);
    told("not deep", dlsym(deep, "asks_who"));
    told("not deep, own", dlsym(deep, "asks_getenv"));
    dlclose(deep);
    told("symbolic", dlsym(opened("./libsymbolic.so", RTLD_NOW), "asks_who"));
}

int main(void) {
    of_the_program();
    of_libraries();
    of_all();
    deep();
    void *wrap = opened("./libwrap.so", RTLD_NOW);
    void *block = ((void *(*)(size_t))dlsym(wrap, "wrapped"))(16);
    printf("wrapped malloc: %d\n", block != NULL);
    free(block);
    return 0;
}
#endif

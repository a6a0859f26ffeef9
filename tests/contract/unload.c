/* What goes when, and what stays: dependencies, dependencies by relocation, cycles, destructors that open and close. */
//@ lib libbase -DNAME='"base"'
//@ lib libmiddle -DNAME='"middle"' -L. -Wl,--no-as-needed -lbase -Wl,-rpath,'$ORIGIN'
//@ lib libtop -DNAME='"top"' -L. -Wl,--no-as-needed -lmiddle -lbase -Wl,-rpath,'$ORIGIN'
//@ lib libother -DNAME='"other"' -L. -Wl,--no-as-needed -lbase -Wl,-rpath,'$ORIGIN'
//@ lib libone -DNAME='"one"'
//@ lib libtwo -DNAME='"two"' -L. -Wl,--no-as-needed -lone -Wl,-rpath,'$ORIGIN'
//@ lib libone -DNAME='"one"' -L. -Wl,--no-as-needed -ltwo -Wl,-rpath,'$ORIGIN'
//@ lib libgives -DNAME='"gives"' -DGIVES
//@ lib libtakes -DNAME='"takes"' -DTAKES
//@ lib libcloses -DNAME='"closes"' -DCLOSES
//@ lib libopens -DNAME='"opens"' -DOPENS
//@ lib libarrays -DARRAYS -Wl,-init,first_of_all,-fini,last_of_all
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdio.h>
#ifdef NAME
__attribute__((constructor)) static void begins(void) { printf("  %s begins\n", NAME); }
#if defined(GIVES)
int given = 7;
int give(void) { return given++; }
#elif defined(TAKES)
int give(void);
extern int given;
int take(void) { return give() + given; }
#elif defined(CLOSES)
void *held;
#endif
__attribute__((destructor)) static void ends(void) {
    printf("  %s ends\n", NAME);
#if defined(CLOSES)
    printf("  closes from its destructor: %d\n", dlclose(held));
#elif defined(OPENS)
    void *base = dlopen("./libbase.so", RTLD_NOW);
    printf("  opens from its destructor: %d\n", base != NULL);
    printf("  and closes: %d\n", dlclose(base));
#endif
}
#elif defined(ARRAYS)
void first_of_all(void) { printf("  DT_INIT\n"); }
void last_of_all(void) { printf("  DT_FINI\n"); }
__attribute__((constructor(101))) static void early(void) { printf("  early\n"); }
__attribute__((constructor(102))) static void later(void) { printf("  later\n"); }
__attribute__((constructor)) static void latest(int argc, char **argv, char **envp) {
    extern char **environ;
    printf("  latest, %d %d %d\n", argc, argv[argc] == NULL, envp == environ);
}
__attribute__((destructor(101))) static void last(void) { printf("  last\n"); }
__attribute__((destructor(102))) static void before(void) { printf("  before\n"); }
__attribute__((destructor)) static void first(void) { printf("  first\n"); }
#else
#include "contract.h"

static void *open_and_say(const char *path, int mode) {
    printf("open %s\n", path);
    return opened(path, mode);
}

static void close_and_say(const char *what, void *handle) {
    printf("close %s\n", what);
    printf("closed: %d\n", dlclose(handle));
}

int main(void) {
    void *top = open_and_say("./libtop.so", RTLD_NOW), *other = open_and_say("./libother.so", RTLD_NOW);
    close_and_say("top, base stays", top);
    printf("mapped: %d %d %d\n", mapped("/libtop.so"), mapped("/libmiddle.so"), mapped("/libbase.so"));
    close_and_say("other", other);
    printf("mapped: %d %d\n", mapped("/libother.so"), mapped("/libbase.so"));

    void *cycle = open_and_say("./libtwo.so", RTLD_NOW);
    close_and_say("a cycle", cycle);
    printf("mapped: %d %d\n", mapped("/libone.so"), mapped("/libtwo.so"));

    /* Bound to its symbols, without DT_NEEDED. */
    void *gives = open_and_say("./libgives.so", RTLD_NOW | RTLD_GLOBAL);
    void *takes = open_and_say("./libtakes.so", RTLD_LAZY);
    printf("take: %d\n", CALL(int, takes, "take"));
    close_and_say("gives, which takes is bound to", gives);
    printf("mapped: %d, take: %d\n", mapped("/libgives.so"), CALL(int, takes, "take"));
    close_and_say("takes", takes);
    printf("mapped: %d %d\n", mapped("/libgives.so"), mapped("/libtakes.so"));

    void *closes = open_and_say("./libcloses.so", RTLD_NOW);
    *(void **)dlsym(closes, "held") = open_and_say("./libmiddle.so", RTLD_NOW);
    close_and_say("closes", closes);
    printf("mapped: %d %d %d\n", mapped("/libcloses.so"), mapped("/libmiddle.so"), mapped("/libbase.so"));

    close_and_say("opens", open_and_say("./libopens.so", RTLD_NOW));
    printf("mapped: %d %d\n", mapped("/libopens.so"), mapped("/libbase.so"));

    close_and_say("arrays", open_and_say("./libarrays.so", RTLD_NOW));
    return 0;
}
#endif

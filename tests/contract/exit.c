/* The end of the process: destructors of what is still open, once, after the program's handlers; and what a library left
   with the process when it goes: handlers of exit, of fork and of threads. */
//@ lib liblife -DLIFE
//@ lib libdep -DOPEN='"dependency"'
//@ lib libopen -DOPEN='"open"' -L. -Wl,--no-as-needed -ldep -Wl,-rpath,'$ORIGIN'
//@ lib libkept -DOPEN='"kept"' -Wl,-z,nodelete
//@ lib libexits -DEXITS
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#if defined(LIFE)
static void bye(void) { printf("atexit of the library\n"); }
static void more(int status, void *text) { printf("on_exit of the library: %s\n", (char *)text); }
static void prepare(void) { printf("before a fork\n"); }
static void parent(void) { printf("after a fork\n"); }
__attribute__((constructor)) static void begins(void) {
    printf("life begins\n");
    atexit(bye);
    pthread_atfork(prepare, parent, NULL);
}
__attribute__((destructor)) static void ends(void) { printf("life ends\n"); }
int life = 1;
#elif defined(OPEN)
static void bye(void) { printf("atexit of %s\n", OPEN); }
__attribute__((constructor)) static void begins(void) { printf("%s begins\n", OPEN); atexit(bye); }
__attribute__((destructor)) static void ends(void) { printf("%s ends\n", OPEN); }
#elif defined(EXITS)
#include <dlfcn.h>
__attribute__((destructor)) static void ends(void) {
    void *dep = dlopen("./libdep.so", RTLD_NOW);
    printf("opened while the process ends: %d\n", dep != NULL);
    printf("closed: %d\n", dlclose(dep));
}
#else
#include "contract.h"

static void *still_open;

static void at_exit(void) {
    printf("atexit of the program\n");
    printf("still usable: %d\n", dlsym(RTLD_DEFAULT, "puts") != NULL);
    printf("open in a handler: %d\n", dlclose(dlopen("./libdep.so", RTLD_NOW)));
}

static void forks(const char *what) {
    printf("%s\n", what);
    fflush(stdout);
    pid_t child = fork();
    if (child == 0) _exit(0);
    waitpid(child, NULL, 0);
}

int main(void) {
    atexit(at_exit);
    void *life = opened("./liblife.so", RTLD_NOW);
    forks("a fork while it is open");
    dlclose(life);
    printf("closed\n");
    forks("a fork when it is closed");
    life = opened("./liblife.so", RTLD_NOW);
    dlclose(life);
    still_open = opened("./libopen.so", RTLD_NOW);
    opened("./libopen.so", RTLD_NOW);
    dlclose(opened("./libkept.so", RTLD_NOW));
    opened("./libexits.so", RTLD_LAZY);
    fflush(stdout);
    pid_t child = fork();
    if (child == 0) {
        printf("child\n");
        exit(3);
    }
    int status;
    waitpid(child, &status, 0);
    printf("status of the child: %d\n", WEXITSTATUS(status));
    printf("main returns\n");
    return 5;
}
#endif

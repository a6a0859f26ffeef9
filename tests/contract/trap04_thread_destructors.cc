/* Destructors of thread_local variables, in every order of closing and of the thread's end: each runs once, in mapped
   code, and then the library goes. With a libstdc++ that comes with the first library. */
//@ lib libends -DENDS
//@ lib libchain -DCHAIN -L. -lends -Wl,-rpath,'$ORIGIN'
//@ lib libother -DOTHER
//@ in_c
#if defined(OTHER)
int other = 1;
#elif defined(ENDS) || defined(CHAIN)
#include <cstdio>
#if defined(ENDS)
extern "C" void says(int which, const char *what) { printf("%s %d\n", what, which); }
#define TOUCH touch
#else
extern "C" void says(int which, const char *what);
extern "C" void touch(int which);
#define TOUCH touch_chain
struct Late { int which = 0; ~Late() { if (which) says(which, "made by a destructor, destroyed"); } };
static thread_local Late late;
#endif
struct Ends {
    int which = 0;
    ~Ends() {
        if (!which) return;
        says(which, "destroyed");
#if defined(CHAIN)
        late.which = which + 100;
#endif
    }
};
static thread_local Ends variable;
extern "C" void TOUCH(int which) {
#if defined(CHAIN)
    touch(which + 1000);
#endif
    variable.which = which;
}
#else
#include "contract.h"

/* A thread that does one thing after the other, when told to. */
static pthread_barrier_t turn;
static void (*order)(int);
static int which;

static void *obeys(void *unused) {
    for (;;) {
        pthread_barrier_wait(&turn);
        if (!order) return NULL;
        order(which);
        pthread_barrier_wait(&turn);
    }
}

static pthread_t worker(void) {
    pthread_t thread;
    pthread_barrier_init(&turn, NULL, 2);
    pthread_create(&thread, NULL, obeys, NULL);
    return thread;
}

static void does(void (*what)(int), int number) {
    order = what;
    which = number;
    pthread_barrier_wait(&turn);
    pthread_barrier_wait(&turn);
}

static void ends(pthread_t thread) {
    order = NULL;
    pthread_barrier_wait(&turn);
    pthread_join(thread, NULL);
    /* glibc looks only when something is closed; dlscope at once. */
    dlclose(opened("./libother.so", RTLD_NOW));
}

static void every_order(const char *path, const char *touch) {
    printf("%s\n", path);
    void *library = opened(path, RTLD_NOW);
    pthread_t thread = worker();
    does(dlsym(library, touch), 1);
    closes(library, path + 1);
    ends(thread);
    printf("ended, there: %d\n", mapped(path + 1));

    library = opened(path, RTLD_NOW);
    thread = worker();
    does(dlsym(library, touch), 2);
    ends(thread);
    printf("ended, there: %d\n", mapped(path + 1));
    closes(library, path + 1);

    library = opened(path, RTLD_NOW);
    thread = worker();
    does(dlsym(library, touch), 3);
    dlclose(library);
    printf("opened again: %d\n", opened(path, RTLD_NOW) == library);
    ends(thread);
    printf("ended, there: %d\n", mapped(path + 1));
    closes(library, path + 1);
}

static void at_exit(void) { printf("atexit of the program\n"); }

int main(void) {
    atexit(at_exit);
    for (int i = 0; i < 2; i++) {
        every_order("./libends.so", "touch");
        every_order("./libchain.so", "touch_chain");
    }
    void *library = opened("./libchain.so", RTLD_NOW);
    ((void (*)(int))dlsym(library, "touch_chain"))(7);
    closes(library, "/libchain.so");
    return 0;
}
#endif

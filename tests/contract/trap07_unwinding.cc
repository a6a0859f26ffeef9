/* Exceptions across two loaded libraries and inside constructors and destructors, while a signal handler takes
   backtraces, and while the libraries go and come back at the same addresses. */
//@ untraced
//@ lib libinner -DINNER
//@ lib libouter -DOUTER -L. -linner -Wl,-rpath,'$ORIGIN'
//@ in_c
#if defined(INNER)
#include <stdexcept>
struct Guard { int *count; ~Guard() { ++*count; } };
extern "C" __attribute__((noinline)) int throws(int n, int *unwound) {
    Guard guard{unwound};
    if (n == 0) throw std::runtime_error("zero");
    return throws(n - 1, unwound) + 1;
}
#elif defined(OUTER)
#include <cstdio>
#include <exception>
extern "C" int throws(int, int *);
extern "C" int across(int depth) {
    int unwound = 0;
    try {
        throws(depth, &unwound);
    } catch (std::exception &error) {
        return error.what()[0] == 'z' ? unwound : -2;
    }
    return -1;
}
static int in_constructor = across(3);
extern "C" int caught_in_constructor() { return in_constructor; }
struct AtTheEnd {
    ~AtTheEnd() { if (across(2) != 3) printf("nothing caught in a destructor\n"); }
} at_the_end;
extern "C" int in_callback(int (*calls)(int (*)(int)), int depth) {
    struct Throws { static int up(int n) { if (n == 0) throw n; return up(n - 1); } };
    try {
        return calls(Throws::up);
    } catch (int) {
        return depth;
    }
}
#else
#include "contract.h"
#include <execinfo.h>
#include <signal.h>

static volatile int taken;
static int stop;

static void handler(int signal) {
    void *frames[64];
    taken += backtrace(frames, 64) > 2;
}

static void *sends(void *thread) {
    while (!__atomic_load_n(&stop, __ATOMIC_SEQ_CST)) {
        pthread_kill(*(pthread_t *)thread, SIGUSR1);
        usleep(100);
    }
    return NULL;
}

/* The program has no C++ of its own: a throw passes through it. */
static __attribute__((noinline)) int between(int (*up)(int)) { return up(5) + 1; }

int main(void) {
    void *frames[4];
    backtrace(frames, 4); /* the first one loads libgcc_s */
    struct sigaction action = {.sa_handler = handler, .sa_flags = SA_RESTART};
    sigaction(SIGUSR1, &action, NULL);
    pthread_t thread, self = pthread_self();
    pthread_create(&thread, NULL, sends, &self);
    int wrong = 0, moved = 0, round = 0;
    ElfW(Addr) last = 0;
    /* On a busy machine signals come late. */
    for (; round < 60 || (taken <= 50 && round < 20000); round++) {
        void *outer = opened("./libouter.so", round & 1 ? RTLD_NOW : RTLD_LAZY);
        moved += ((struct link_map *)outer)->l_addr != last;
        last = ((struct link_map *)outer)->l_addr;
        int (*across)(int) = dlsym(outer, "across");
        wrong += CALL(int, outer, "caught_in_constructor") != 4;
        for (int depth = 0; depth < 20; depth++) wrong += across(depth) != depth + 1;
        int (*in_callback)(int (*)(int (*)(int)), int) = dlsym(outer, "in_callback");
        wrong += in_callback(between, 9) != 9;
        dlclose(outer);
    }
    stop = 1;
    pthread_join(thread, NULL);
    printf("wrong: %d\n", wrong);
    printf("backtraces: %d, at the same place again: %d\n", taken > 50, moved < round);
    printf("gone: %d %d\n", mapped("/libouter.so"), mapped("/libinner.so"));
    return 0;
}
#endif

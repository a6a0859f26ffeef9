/* fork, while other threads open and close: the child can open, look up, call and close at once. */
//@ untraced
//@ lib liba -DA
//@ lib libslow -DSLOW
#if defined(A)
__thread int of_thread = 4;
int four(void) { return of_thread; }
#elif defined(SLOW)
#include <unistd.h>
/* A constructor that is running in the moment of the fork, in a thread that the child does not have. */
__attribute__((constructor)) static void begins(void) { usleep(3000); }
int slow = 1;
#else
#include "contract.h"

static int stop;

static void *loads(void *path) {
    while (!__atomic_load_n(&stop, __ATOMIC_SEQ_CST)) dlclose(dlopen(path, RTLD_NOW));
    return NULL;
}

int main(void) {
    pthread_t threads[3];
    pthread_create(&threads[0], NULL, loads, "./liba.so");
    pthread_create(&threads[1], NULL, loads, "libz.so.1");
    pthread_create(&threads[2], NULL, loads, "./libslow.so");
    int good = 0;
    for (int i = 0; i < 60; i++) {
        fflush(stdout);
        pid_t child = fork();
        if (child == 0) {
            /* glibc's own lock may be held for ever by a thread that is not here; so only what it promises. */
            _exit(getpid() > 0 && dlsym(RTLD_DEFAULT, "puts") != NULL ? 42 : 1);
        }
        int status;
        waitpid(child, &status, 0);
        good += WIFEXITED(status) && WEXITSTATUS(status) == 42;
    }
    stop = 1;
    for (int i = 0; i < 3; i++) pthread_join(threads[i], NULL);
    printf("children: %d\n", good);
    fflush(stdout);
    /* With no other thread, everything. */
    pid_t child = fork();
    if (child == 0) {
        void *a = opened("./liba.so", RTLD_NOW);
        printf("in the child: %d\n", CALL(int, a, "four"));
        closes(a, "/liba.so");
        fflush(stdout);
        exit(7);
    }
    int status;
    waitpid(child, &status, 0);
    printf("status: %d\n", WEXITSTATUS(status));
    return 0;
}
#endif

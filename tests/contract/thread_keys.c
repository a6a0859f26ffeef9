/* A library that is closed in its last thread: the destructor of its thread-local variable runs, and behind it that of its
   pthread key, in each of the rounds that POSIX grants. Only then may the library go. */
//@ lib libkeys -DLIB
//@ lib libother -DOTHER
#if defined(OTHER)
int other;
#elif defined(LIB)
#include <pthread.h>
#include <stdio.h>
extern int __cxa_thread_atexit_impl(void (*)(void *), void *, void *);
extern void *__dso_handle;
static pthread_key_t key;
static int rounds;
static void of_variable(void *unused) { puts("destructor of a variable"); }
static void of_key(void *value) {
    printf("destructor of a key, round %d\n", ++rounds);
    if (rounds < 4) pthread_setspecific(key, value);
}
void touch(void) {
    rounds = 0;
    pthread_key_create(&key, of_key);
    pthread_setspecific(key, &key);
    __cxa_thread_atexit_impl(of_variable, NULL, &__dso_handle);
}
__attribute__((destructor)) static void ends(void) { pthread_key_delete(key), puts("unloaded"); }
#else
#include "contract.h"
static void *thread(void *unused) {
    void *library = opened("./libkeys.so", RTLD_NOW);
    CALL(void, library, "touch");
    printf("closed: %d\n", dlclose(library));
    return NULL;
}

int main(void) {
    for (int n = 0; n < 3; n++) {
        pthread_t ends;
        pthread_create(&ends, NULL, thread, NULL);
        pthread_join(ends, NULL);
        printf("joined, there: %d\n", mapped("libkeys.so"));
        closes(opened("./libother.so", RTLD_NOW), "libkeys.so");
    }
    return 0;
}
#endif

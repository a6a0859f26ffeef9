//@ teaches: thread-local variables, TLS descriptors: a function and an argument of the loader's choice
//@ cc: -mtls-dialect=gnu2
//@ has: PT_TLS
//@ has: R_X86_64_TLSDESC exported
//@ has: R_X86_64_TLSDESC>=2
//@ call: bump_exported() -> i32 = 43
//@ call: bump_local() -> i32 = 8
//@ call: other_thread() -> i32 = 43

#include <pthread.h>

// R_X86_64_TLSDESC: two words. The code calls the first one, with a pointer to both in rax, and gets
// the variable's distance from the thread pointer in rax; all other registers must survive.
__thread int exported = 42;

// R_X86_64_TLSDESC without a symbol: the addend is the offset in the library's block.
static __thread int local = 7;

int bump_exported(void) { return ++exported; }
int bump_local(void) { return ++local; }

static void *in_thread(void *unused) {
    (void)unused;
    return (void *)(long)bump_exported();
}

int other_thread(void) {
    pthread_t thread;
    void *result = 0;
    pthread_create(&thread, 0, in_thread, 0);
    pthread_join(thread, &result);
    return (int)(long)result;
}

//@ teaches: thread-local variables, general dynamic: the code asks __tls_get_addr with a module id and an offset
//@ has: PT_TLS
//@ has: STT_TLS exported
//@ has: R_X86_64_DTPMOD64 exported
//@ has: R_X86_64_DTPOFF64 exported
//@ has: R_X86_64_DTPMOD64>=2
//@ has: R_X86_64_JUMP_SLOT __tls_get_addr
//@ call: bump_exported() -> i32 = 43
//@ call: bump_local() -> i32 = 8
//@ call: zero() -> i32 = 0
//@ call: other_thread() -> i32 = 43
//@ call: bump_exported() -> i32 = 44

#include <pthread.h>

// R_X86_64_DTPMOD64 and R_X86_64_DTPOFF64: the two words that __tls_get_addr gets, which library
// and how far into its block. The 42 is in PT_TLS, from which each thread gets a fresh copy.
__thread int exported = 42;

// R_X86_64_DTPMOD64 alone: for its own variables the library knows the offset.
static __thread int local = 7;
static __thread int nothing;

int bump_exported(void) { return ++exported; }
int bump_local(void) { return ++local; }
int zero(void) { return nothing; }

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

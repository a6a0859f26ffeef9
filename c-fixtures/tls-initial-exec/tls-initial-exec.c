//@ teaches: thread-local variables, initial exec: a fixed distance from the thread pointer, in every thread
//@ cc: -ftls-model=initial-exec
//@ has: PT_TLS
//@ has: R_X86_64_TPOFF64 exported
//@ has: R_X86_64_TPOFF64>=2
//@ has: DT_FLAGS d_val=16
//@ call: bump_exported() -> i32 = 43
//@ has: PT_TLS p_align=64
//@ call: bump_local() -> i32 = 8
//@ call: misaligned_by() -> u64 = 0
//@ call: other_thread() -> i32 = 43

#include <pthread.h>

// R_X86_64_TPOFF64: the distance from the thread pointer. The block must lie at the same distance in
// threads that run already: DF_STATIC_TLS in DT_FLAGS warns of it.
__thread int exported = 42;

// R_X86_64_TPOFF64 without a symbol: the addend is the offset in the library's block.
static __thread int local = 7;

// Makes p_align of PT_TLS 64: the block must begin where the thread pointer's distance fits that.
static __thread char aligned[64] __attribute__((aligned(64)));

int bump_exported(void) { return ++exported; }
int bump_local(void) { return ++local; }

unsigned long misaligned_by(void) {
    char *volatile address = aligned;
    return (unsigned long)address % 64;
}

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

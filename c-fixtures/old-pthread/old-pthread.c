//@ teaches: libpthread.so.0 is an empty shell today, but old libraries need it and the versions it had
//@ needs: stub/libpthread.so.0
//@ runpath: none
//@ has: DT_NEEDED libpthread.so.0
//@ has: version pthread_self@GLIBC_2.2.5
//@ call: self_is_self() -> i32 = 1

// Linked as before glibc 2.34, when pthread_self was in libpthread.so.0. The need for its version
// GLIBC_2.2.5 names that file; the symbol itself is found in libc.so.6.
extern unsigned long pthread_self(void);

int self_is_self(void) { return pthread_self() != 0 && pthread_self() == pthread_self(); }

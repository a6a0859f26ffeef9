/* Thread-local variables behind descriptors (TLSDESC): their resolver must keep every register but rax and the flags, all
   of the vector registers included, also in a thread in which the block must be made first. glibc before 2.40 does not
   (sourceware bug 31372), so it is not asked. */
//@ ours
//@ prints all registers: 4, own variables: 42 43
//@ prints all registers: 4, own variables: 42 43
//@ prints all registers: 4, own variables: 42 43
//@ prints all registers: 4, own variables: 42 43
//@ prints closed: 0, libsmall.so there: 0
//@ prints all registers: 4, own variables: 42 43
//@ prints all registers: 4, own variables: 42 43
//@ prints all registers: 4, own variables: 42 43
//@ prints all registers: 4, own variables: 42 43
//@ prints closed: 0, libbig.so there: 0
//@ lib libsmall -DSIZE=64 -mtls-dialect=gnu2 -mavx -mno-red-zone
//@ lib libbig -DSIZE=8192 -mtls-dialect=gnu2 -mavx -mno-red-zone
//@ program -mavx
#ifdef SIZE
#include <immintrin.h>
__thread char block[SIZE];
__thread int number = 42;
int look(void) { return number++; }
int check(void) {
    register __m256d a asm("ymm5") = _mm256_set_pd(1, 2, 3, 4);
    register __m256d b asm("ymm15") = _mm256_set_pd(5, 6, 7, 8);
    register long c asm("rcx") = 3, d asm("r8") = 4, e asm("r10") = 5, f asm("r11") = 6;
    asm volatile("" : "+x"(a), "+x"(b), "+r"(c), "+r"(d), "+r"(e), "+r"(f));
    char *place;
    asm volatile("lea block@tlsdesc(%%rip), %%rax\n\tcall *block@tlscall(%%rax)\n\tadd %%fs:0, %%rax"
                 : "=a"(place), "+x"(a), "+x"(b), "+r"(c), "+r"(d), "+r"(e), "+r"(f) : : "cc", "memory");
    double x[4], y[4];
    _mm256_storeu_pd(x, a);
    _mm256_storeu_pd(y, b);
    place[0]++;
    place[SIZE - 1]++;
    return x[0] == 4 && x[3] == 1 && y[0] == 8 && y[3] == 5 && c == 3 && d == 4 && e == 5 && f == 6
        && place[0] == place[SIZE - 1];
}
#else
#include "contract.h"

static void *checks(void *library) {
    int good = 0;
    for (int i = 0; i < 4; i++) good += CALL(int, library, "check");
    int first = CALL(int, library, "look"), second = CALL(int, library, "look");
    printf("all registers: %d, own variables: %d %d\n", good, first, second);
    return NULL;
}

int main(void) {
    if (!__builtin_cpu_supports("avx")) return 0;
    const char *names[] = {"./libsmall.so", "./libbig.so"};
    for (int i = 0; i < 2; i++) {
        void *library = opened(names[i], RTLD_NOW);
        pthread_t thread;
        checks(library);
        for (int j = 0; j < 3; j++) {
            pthread_create(&thread, NULL, checks, library);
            pthread_join(thread, NULL);
        }
        closes(library, names[i] + 1);
    }
    return 0;
}
#endif

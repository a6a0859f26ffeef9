/* Lazy binding: nothing that a caller passes or gets back may be lost in the first call of a function of another library.
   At last one of a function that is nowhere: glibc's words, and its status. */
//@ traced first_call "sum"
//@ traced first_call "large"
//@ traced first_call "raced"
//@ traced first_call "chosen"
//@ lib libcallee -DCALLEE
//@ lib libcaller -DCALLER -fplt -Wl,-z,lazy -Wl,-rpath,'$ORIGIN' -L. -lcallee
#if defined(CALLEE) || defined(CALLER)
#include <immintrin.h>
#include <stdarg.h>
#include <stdio.h>
typedef struct { long a, b; } two;
typedef struct { double a, b; } reals;
typedef struct { long a; double b; } mixed;
typedef struct { long a[9]; } many;
#endif
#if defined(CALLEE)
double sum(int n, ...) {
    va_list list;
    va_start(list, n);
    double s = 0;
    while (n--) s += va_arg(list, double);
    va_end(list);
    return s;
}
long six(long a, long b, long c, long d, long e, long f, long g, long h) {
    return a + 10 * b + 100 * c + 1000 * d + 10000 * e + 100000 * f + 1000000 * g + 10000000 * h;
}
double eight(double a, double b, double c, double d, double e, double f, double g, double h) {
    return a + 2 * b + 3 * c + 4 * d + 5 * e + 6 * f + 7 * g + 8 * h;
}
two ints(long a) { return (two){a, a + 1}; }
reals doubles(double a) { return (reals){a, a / 2}; }
mixed both(long a) { return (mixed){a, a * 1.5}; }
many large(long a) {
    many m;
    for (int i = 0; i < 9; i++) m.a[i] = a + i;
    return m;
}
long double wide(long double a) { return a * 3; }
_Complex double complexes(_Complex double a) { return a * a; }
__attribute__((target("avx2"))) double wide8(__m256d a, __m256d b, __m256d c, __m256d d, __m256d e, __m256d f, __m256d g,
                                             __m256d h) {
    double r[4];
    _mm256_storeu_pd(r, a + 2 * b + 3 * c + 4 * d + 5 * e + 6 * f + 7 * g + 8 * h);
    return r[0] + 10 * r[1] + 100 * r[2] + 1000 * r[3];
}
__attribute__((target("avx2"))) __m256d vector(double a) { return _mm256_set_pd(a, a + 1, a + 2, a + 3); }
__attribute__((target("avx512f"))) double wider(__m512d a, __m512d b) {
    double r[8], s = 0;
    _mm512_storeu_pd(r, a * b);
    for (int i = 0; i < 8; i++) s += r[i] * (i + 1);
    return s;
}
unsigned rounding(void) { return _mm_getcsr() & 0x6000; }
static int one(void) { return 1; }
static int two_(void) { return 2; }
static int (*choose(void))(void) { return sizeof(long) == 8 ? two_ : one; }
int chosen(void) __attribute__((ifunc("choose")));
long raced(long a) { return a + 1; }
#elif defined(CALLER)
double sum(int, ...);
long six(long, long, long, long, long, long, long, long);
double eight(double, double, double, double, double, double, double, double);
two ints(long);
reals doubles(double);
mixed both(long);
many large(long);
long double wide(long double);
_Complex double complexes(_Complex double);
double wide8(__m256d, __m256d, __m256d, __m256d, __m256d, __m256d, __m256d, __m256d);
__m256d vector(double);
double wider(__m512d, __m512d);
unsigned rounding(void);
int chosen(void);
long raced(long);
void nowhere_at_all(void);
__attribute__((target("avx2"))) static void vectors(void) {
    __m256d a = _mm256_set_pd(1, 2, 3, 4), s = _mm256_set1_pd(1);
    double r[4];
    printf("ymm: %g\n", wide8(a, a + s, a + 2 * s, a + 3 * s, a + 4 * s, a + 5 * s, a + 6 * s, a + 7 * s));
    _mm256_storeu_pd(r, vector(7));
    printf("ymm back: %g %g %g %g\n", r[0], r[1], r[2], r[3]);
}
__attribute__((target("avx512f"))) static void wider_vectors(void) {
    __m512d a = _mm512_set_pd(1, 2, 3, 4, 5, 6, 7, 8);
    printf("zmm: %g\n", wider(a, a + a));
}
void arguments(void) {
    printf("variadic: %g\n", sum(9, 1., 2., 3., 4., 5., 6., 7., 8., 9.));
    printf("integers: %ld\n", six(1, 2, 3, 4, 5, 6, 7, 8));
    printf("doubles: %g\n", eight(1, 2, 3, 4, 5, 6, 7, 8));
    two t = ints(41);
    reals d = doubles(3);
    mixed m = both(4);
    many l = large(100);
    printf("structs: %ld %ld, %g %g, %ld %g, %ld %ld\n", t.a, t.b, d.a, d.b, m.a, m.b, l.a[0], l.a[8]);
    printf("long double: %Lg\n", wide(1.5L));
    _Complex double c = complexes(2.0 + 1.0i);
    printf("complex: %g %g\n", __real__ c, __imag__ c);
    unsigned before = _mm_getcsr();
    _mm_setcsr(before | 0x6000);
    unsigned kept = rounding();
    unsigned after = _mm_getcsr() & 0x6000;
    _mm_setcsr(before);
    printf("mxcsr: %x %x\n", kept, after);
    printf("ifunc: %d\n", chosen());
    if (__builtin_cpu_supports("avx2")) vectors();
    if (__builtin_cpu_supports("avx512f")) wider_vectors();
}
long race(void) {
    long s = 0;
    for (int i = 0; i < 1000; i++) s = raced(s);
    return s;
}
void missing(void) { nowhere_at_all(); }
#else
#include "contract.h"

static void *run(void *function) { return ((void *(*)(void))function)(); }

int main(void) {
    void *caller = opened("./libcaller.so", RTLD_LAZY);
    CALL(void, caller, "arguments");
    pthread_t threads[8];
    void *race = dlsym(caller, "race");
    long sum = 0;
    for (int i = 0; i < 8; i++) pthread_create(&threads[i], NULL, run, race);
    for (int i = 0; i < 8; i++) {
        void *got;
        pthread_join(threads[i], &got);
        sum += (long)got;
    }
    printf("race: %ld\n", sum);
    fflush(stdout);
    CALL(void, caller, "missing");
    printf("not reached\n");
    return 0;
}
#endif

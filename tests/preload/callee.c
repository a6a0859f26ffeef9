#include <fenv.h>
#include <stdarg.h>
#include <immintrin.h>
typedef struct { long a, b; } two; typedef struct { double a, b; } reals; typedef struct { long a[9]; } many;
typedef struct { long a; double b; } mixed;
double sum(int n, ...) { va_list l; va_start(l, n); double s = 0; while (n--) s += va_arg(l, double); va_end(l); return s; }
long six(long a, long b, long c, long d, long e, long f, long g, long h) { return a + 10*b + 100*c + 1000*d + 10000*e + 100000*f + 1000000*g + 10000000*h; }
double eight(double a, double b, double c, double d, double e, double f, double g, double h) { return a + 2*b + 3*c + 4*d + 5*e + 6*f + 7*g + 8*h; }
two ints(long a) { return (two){a, a + 1}; } reals doubles(double a) { return (reals){a, a / 2}; }
mixed both(long a) { return (mixed){a, a * 1.5}; } many large(long a) { many m; for (int i = 0; i < 9; i++) m.a[i] = a + i; return m; }
long double wide(long double a) { return a * 3; } _Complex double complexes(_Complex double a) { return a * a; }
__attribute__((target("avx2"))) double wide8(__m256d a, __m256d b, __m256d c, __m256d d, __m256d e, __m256d f, __m256d g, __m256d h) {
  double r[4]; _mm256_storeu_pd(r, a + 2*b + 3*c + 4*d + 5*e + 6*f + 7*g + 8*h); return r[0] + 10*r[1] + 100*r[2] + 1000*r[3]; }
__attribute__((target("avx2"))) __m256d vector(double a) { return _mm256_set_pd(a, a + 1, a + 2, a + 3); }
__attribute__((target("avx512f"))) double wider(__m512d a, __m512d b) { double r[8]; _mm512_storeu_pd(r, a * b); double s = 0; for (int i = 0; i < 8; i++) s += r[i] * (i + 1); return s; }
unsigned rounding(void) { return _mm_getcsr() & 0x6000; }
static int one(void) { return 1; } static int two_(void) { return 2; }
static int (*choose(void))(void) { return sizeof(long) == 8 ? two_ : one; }
int chosen(void) __attribute__((ifunc("choose")));
long raced(long a) { return a + 1; }

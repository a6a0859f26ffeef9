#include <stdio.h>
#include <immintrin.h>
typedef struct { long a, b; } two; typedef struct { double a, b; } reals; typedef struct { long a[9]; } many;
typedef struct { long a; double b; } mixed;
double sum(int, ...); long six(long, long, long, long, long, long, long, long); double eight(double, double, double, double, double, double, double, double);
two ints(long); reals doubles(double); mixed both(long); many large(long); long double wide(long double); _Complex double complexes(_Complex double);
double wide8(__m256d, __m256d, __m256d, __m256d, __m256d, __m256d, __m256d, __m256d); __m256d vector(double); double wider(__m512d, __m512d);
unsigned rounding(void); int chosen(void); long raced(long); void nowhere_at_all(void);
__attribute__((target("avx2"))) static void vectors(void) {
  __m256d a = _mm256_set_pd(1, 2, 3, 4), s = _mm256_set1_pd(1); double r[4];
  printf("ymm: %g\n", wide8(a, a + s, a + 2*s, a + 3*s, a + 4*s, a + 5*s, a + 6*s, a + 7*s));
  _mm256_storeu_pd(r, vector(7)); printf("ymm back: %g %g %g %g\n", r[0], r[1], r[2], r[3]); }
__attribute__((target("avx512f"))) static void wider_vectors(void) {
  __m512d a = _mm512_set_pd(1, 2, 3, 4, 5, 6, 7, 8); printf("zmm: %g\n", wider(a, a + a)); }
void arguments(void) {
  printf("variadic: %g\n", sum(9, 1., 2., 3., 4., 5., 6., 7., 8., 9.));
  printf("integers: %ld\n", six(1, 2, 3, 4, 5, 6, 7, 8));
  printf("doubles: %g\n", eight(1, 2, 3, 4, 5, 6, 7, 8));
  two t = ints(41); reals d = doubles(3); mixed m = both(4); many l = large(100);
  printf("structs: %ld %ld, %g %g, %ld %g, %ld %ld\n", t.a, t.b, d.a, d.b, m.a, m.b, l.a[0], l.a[8]);
  printf("long double: %Lg\n", wide(1.5L)); _Complex double c = complexes(2.0 + 1.0i);
  printf("complex: %g %g\n", __real__ c, __imag__ c);
  unsigned before = _mm_getcsr(); _mm_setcsr(before | 0x6000); unsigned kept = rounding(); unsigned after = _mm_getcsr() & 0x6000; _mm_setcsr(before);
  printf("mxcsr: %x %x\n", kept, after);
  printf("ifunc: %d\n", chosen());
  if (__builtin_cpu_supports("avx2")) vectors();
  if (__builtin_cpu_supports("avx512f")) wider_vectors(); }
long race(void) { long s = 0; for (int i = 0; i < 1000; i++) s = raced(s); return s; }
void missing(void) { nowhere_at_all(); }

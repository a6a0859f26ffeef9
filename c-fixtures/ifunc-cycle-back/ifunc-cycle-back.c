//@ teaches: two libraries that need each other, and the first has an IFUNC: its resolver must wait for both
//@ needs: libother.so
//@ crash: under RTLD_NOW glibc relocates libother.so first, and calls the resolver while its library is not relocated yet
//@ has: STT_GNU_IFUNC chosen
//@ has: R_X86_64_JUMP_SLOT other
//@ call: chosen() -> i32 = 2
//@ call: other() -> i32 = 12

extern int other(void);

static int one(void) { return 1; }
static int two(void) { return 2; }
// R_X86_64_RELATIVE twice.
static int (*const volatile table[2])(void) = {one, two};

static void *resolve(void) { return (void *)table[1]; }
int chosen(void) __attribute__((ifunc("resolve")));

int call_other(void) { return other(); }

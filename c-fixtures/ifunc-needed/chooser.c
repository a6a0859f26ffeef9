//@ has: STT_GNU_IFUNC chosen
//@ has: R_X86_64_RELATIVE>=2

static int one(void) { return 1; }
static int two(void) { return 2; }

// R_X86_64_RELATIVE twice: the resolver reads a table that is wrong until it has been relocated.
static int (*const volatile table[2])(void) = {one, two};

static void *resolve(void) { return (void *)table[1]; }
int chosen(void) __attribute__((ifunc("resolve")));

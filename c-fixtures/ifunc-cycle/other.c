//@ needs: stub/libifunc-cycle.so
//@ has: DT_NEEDED libifunc-cycle.so
//@ has: STT_GNU_IFUNC chosen
//@ has: R_X86_64_JUMP_SLOT ten

extern int ten(void);

static int one(void) { return 1; }
static int two(void) { return 2; }
// R_X86_64_RELATIVE twice: the resolver reads them.
static int (*const volatile table[2])(void) = {one, two};

static void *resolve(void) { return (void *)table[1]; }
int chosen(void) __attribute__((ifunc("resolve")));

// R_X86_64_JUMP_SLOT, against the order in which the two need each other.
int other(void) { return ten(); }

//@ teaches: a resolver is due before the slot that it needs: one pass from first to last crashes, two passes do not
//@ needs: libadviser.so
//@ crash: under RTLD_NOW glibc relocates from first to last, and calls the resolver while the slot of advice is not filled yet
//@ has: STT_GNU_IFUNC chosen
//@ has: R_X86_64_JUMP_SLOT advice
//@ has: R_X86_64_JUMP_SLOT chosen
//@ call: chosen() -> i32 = 2
//@ call: call_chosen() -> i32 = 2

extern int advice(void);

static int one(void) { return 1; }
static int two(void) { return 2; }

// R_X86_64_JUMP_SLOT for advice.
static void *resolve(void) { return advice() == 2 ? (void *)two : (void *)one; }

// Exported: R_X86_64_JUMP_SLOT for chosen, which the linker puts before the one for advice.
int chosen(void) __attribute__((ifunc("resolve")));

int call_chosen(void) { return chosen(); }

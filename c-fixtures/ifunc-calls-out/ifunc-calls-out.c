//@ teaches: an IFUNC resolver that calls into another library: its own slots must be filled before it runs
//@ needs: libadviser.so
//@ has: R_X86_64_IRELATIVE=1
//@ has: R_X86_64_JUMP_SLOT advice
//@ call: call_chosen() -> i32 = 2

extern int advice(void);

static int one(void) { return 1; }
static int two(void) { return 2; }

// R_X86_64_JUMP_SLOT for advice: the resolver goes through a slot of this same library.
static void *resolve(void) { return advice() == 2 ? (void *)two : (void *)one; }

// R_X86_64_IRELATIVE: the linker puts it behind the JUMP_SLOTs, so that even a loader which goes
// through them once, from first to last, gets this right.
static int chosen(void) __attribute__((ifunc("resolve")));

int call_chosen(void) { return chosen(); }

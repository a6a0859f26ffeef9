//@ has: R_X86_64_RELATIVE>=1

static int number = 2;

// R_X86_64_RELATIVE: the advice is wrong, or a crash, until this library is relocated.
static int *volatile pointer = &number;
int advice(void) { return *pointer; }

//@ teaches: -z nocombreloc: relocations in the order of their places, and no DT_RELACOUNT
//@ cc: -Wl,-z,nocombreloc
//@ has: no DT_RELACOUNT
//@ has: R_X86_64_RELATIVE>=5
//@ has: R_X86_64_64=2
//@ call: sum() -> i32 = 15

// The linker usually sorts the R_X86_64_RELATIVE to the front and says in DT_RELACOUNT how many
// they are. That is a hint for speed: here relocations of two kinds alternate.
static int a = 1;
int b = 2;
static int c = 4;
int d = 8;

static int *volatile pa = &a; // R_X86_64_RELATIVE
static int *volatile pb = &b; // R_X86_64_64
static int *volatile pc = &c; // R_X86_64_RELATIVE
static int *volatile pd = &d; // R_X86_64_64

int sum(void) { return *pa + *pb + *pc + *pd; }

//@ teaches: three ways to the address of a variable: R_X86_64_RELATIVE, R_X86_64_64, R_X86_64_GLOB_DAT
//@ has: R_X86_64_RELATIVE>=6
//@ has: R_X86_64_64=2 exported
//@ has: R_X86_64_GLOB_DAT exported
//@ call: through_relative() -> i32 = 20
//@ call: through_symbol() -> i32 = 10
//@ call: through_symbol_and_addend() -> i32 = 12
//@ call: through_got() -> i32 = 10
//@ call: text_at(i32 2) -> str = "two"

static int local[4] = {10, 20, 30, 40};
int exported[4] = {10, 11, 12, 13};

// R_X86_64_RELATIVE, B + A: the addend is the p_vaddr of local[1], counted out by the linker.
static int *volatile relative = &local[1];

// R_X86_64_64, S + A with A = 0: the symbol's address, whoever defines it first.
static int *volatile symbol = exported;

// R_X86_64_64, S + A with A = 8: the addend moves on from there. R_X86_64_GLOB_DAT has no addend.
static int *volatile symbol_and_addend = &exported[2];

// Three more R_X86_64_RELATIVE: a table of strings is a table of addresses.
static const char *const volatile texts[3] = {"zero", "one", "two"};

int through_relative(void) { return *relative; }
int through_symbol(void) { return *symbol; }
int through_symbol_and_addend(void) { return *symbol_and_addend; }

// R_X86_64_GLOB_DAT, S: code has no room for an address of 64 bits that the loader fills in, so it
// reads the address from a slot of the GOT.
int through_got(void) { return exported[0]; }

const char *text_at(int index) { return texts[index]; }

//@ teaches: weak symbols: undefined ones are 0; a defined one does not lose to a later strong one at run time
//@ needs: libstrong.so
//@ has: STB_WEAK missing_function
//@ has: STB_WEAK number
//@ has: R_X86_64_64 missing_variable
//@ has: R_X86_64_GLOB_DAT missing_function
//@ call: missing() -> i32 = 3
//@ call: number() -> i32 = 1
//@ call: number_from_strong() -> i32 = 1

extern int missing_variable __attribute__((weak));
extern int missing_function(void) __attribute__((weak));

// R_X86_64_64 against an undefined weak symbol: S is 0, so the word becomes 0, without the bias.
static int *volatile pointer = &missing_variable;

// Defined and weak. The linker would prefer a strong definition in another .o; the loader takes
// the first definition in its search order, weak or not.
__attribute__((weak)) int number(void) { return 1; }

// R_X86_64_GLOB_DAT against an undefined weak symbol: the slot becomes 0, and code can ask.
int missing(void) { return (pointer == 0) + 2 * (missing_function == 0); }

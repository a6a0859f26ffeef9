//@ teaches: SHN_ABS: a symbol whose value is a number, to which no load bias is added
//@ needs: libnumbers.so
//@ has: R_X86_64_64 the_answer
//@ has: R_X86_64_GLOB_DAT zero
//@ call: answer() -> u64 = 4242
//@ call: is_zero() -> i32 = 1

extern char the_answer, zero;

// R_X86_64_64: S is st_value itself. The "address" of the_answer is the number.
static char *volatile answer_pointer = &the_answer;

unsigned long answer(void) { return (unsigned long)answer_pointer; }

// A value of 0 is no definition, except for SHN_ABS (and thread-local symbols).
int is_zero(void) {
    char *volatile address = &zero;
    return address == 0;
}

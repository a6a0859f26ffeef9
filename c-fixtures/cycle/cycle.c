//@ teaches: two libraries that need each other: both are mapped before either is relocated
//@ needs: libother.so
//@ has: DT_NEEDED libother.so
//@ has: R_X86_64_JUMP_SLOT other_even
//@ call: odd(i32 7) -> i32 = 1
//@ call: other_even(i32 7) -> i32 = 0
//@ call: other_even(i32 10) -> i32 = 1

extern int other_even(int number);

// Each function calls the one in the other library. Neither library can be finished first.
int odd(int number) { return number == 0 ? 0 : other_even(number - 1); }

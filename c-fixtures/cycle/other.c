//@ needs: stub/libcycle.so
//@ has: DT_NEEDED libcycle.so
//@ has: R_X86_64_JUMP_SLOT odd

extern int odd(int number);

int other_even(int number) { return number == 0 ? 1 : odd(number - 1); }

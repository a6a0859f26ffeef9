//@ has: STB_GLOBAL number
//@ has: R_X86_64_JUMP_SLOT number

int number(void) { return 2; }

// libweak.so comes before this library in the search order: its weak number() is the one called.
int number_from_strong(void) { return number(); }

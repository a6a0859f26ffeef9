//@ teaches: R_X86_64_PC32 that does not fit: the symbol is more than 2 GiB away
//@ needs: libnull.so
//@ policy: the distance does not fit in 32 bits; glibc prints a warning and keeps the low half
//@ has: R_X86_64_PC32 near_null
//@ call: answer() -> i32 = 42

// R_X86_64_PC32 against an absolute symbol near address 0: no library is mapped so low.
__asm__(".pushsection .data\n"
        "distance: .long near_null - .\n"
        ".popsection");

int answer(void) { return 42; }

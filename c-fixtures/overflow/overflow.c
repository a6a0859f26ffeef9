//@ teaches: R_X86_64_32 that fits and one that does not: an address has more than 32 bits
//@ cc: -Wl,-z,noreloc-overflow
//@ needs: libsmall.so
//@ policy: the result does not fit in 32 bits; glibc prints a warning and keeps the low half
//@ has: R_X86_64_32 small
//@ has: R_X86_64_32 far
//@ call: fits() -> u32 = 4096

// Exported, so that its address is looked up; a library lies far above 4 GiB.
int far = 1;

// R_X86_64_32, S + A: the first symbol is the number 4096 and fits, the second is an address.
__asm__(".pushsection .data\n"
        "words: .long small, far\n"
        ".popsection");
extern volatile unsigned words[2] __attribute__((visibility("hidden")));

unsigned fits(void) { return words[0]; }

//@ teaches: R_X86_64_SIZE64 and R_X86_64_SIZE32: the size of a symbol, as the loader finds it
//@ needs: libsized.so
//@ has: R_X86_64_SIZE64 sized
//@ has: R_X86_64_SIZE32 sized
//@ call: size64() -> u64 = 24
//@ call: size32() -> u32 = 25

extern int sized[];

// R_X86_64_SIZE64, Z + A: st_size of the definition that the loader chooses.
__asm__(".pushsection .data\n"
        "size_in_64_bits: .quad sized@SIZE\n"
        // R_X86_64_SIZE32 with addend 1; four bytes are written, and the next four must stay.
        "size_in_32_bits: .long sized@SIZE + 1, 77\n"
        ".popsection");
extern volatile unsigned long size_in_64_bits __attribute__((visibility("hidden")));
extern volatile unsigned size_in_32_bits[2] __attribute__((visibility("hidden")));

unsigned long size64(void) { return size_in_64_bits; }
unsigned size32(void) { return size_in_32_bits[1] == 77 ? size_in_32_bits[0] : 0; }

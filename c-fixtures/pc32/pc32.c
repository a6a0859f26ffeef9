//@ teaches: R_X86_64_PC32: a distance of 32 bits between the place and a symbol
//@ needs: libnear.so
//@ has: R_X86_64_PC32 near
//@ call: through_distance() -> i32 = 11

// R_X86_64_PC32, S + A - P: the loader computes how far `near` is from this word. It fits when both
// lie within 2 GiB, as two libraries do that are mapped one after the other.
__asm__(".pushsection .data\n"
        "distance: .long near - .\n"
        ".popsection");
extern volatile int distance __attribute__((visibility("hidden")));

int through_distance(void) { return *(int *)((char *)&distance + distance); }

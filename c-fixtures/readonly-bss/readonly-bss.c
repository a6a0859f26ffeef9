//@ teaches: zeros in the tail of a read-only page: the loader must write where the library never may
//@ cc: -Wl,-T,readonly-bss.ld
//@ patch: readonly-tail
//@ has: PT_LOAD:R-- bss>=64
//@ call: sum() -> i32 = 0
//@ call: is_constant_there() -> i32 = 9

// The section has no bytes in the file (@nobits), and by its flags nobody writes to it. So p_memsz is
// larger than p_filesz in a PT_LOAD without PF_W. Whatever follows in the file was mapped into the
// rest of the page; to zero it, the page must be writable for a moment.
__asm__(".pushsection .zeros, \"a\", @nobits\n"
        ".globl zeros\n"
        ".hidden zeros\n"
        "zeros: .skip 64\n"
        ".popsection");
extern const volatile unsigned char zeros[64] __attribute__((visibility("hidden")));

static const volatile int constant = 9;

int sum(void) {
    int sum = 0;
    for (int i = 0; i < 64; i++) sum += zeros[i];
    return sum;
}

int is_constant_there(void) { return constant; }

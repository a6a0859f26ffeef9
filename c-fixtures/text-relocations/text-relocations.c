//@ teaches: DT_TEXTREL: relocations inside the code, whose pages are made writable for a moment
//@ cc: -Wl,-z,notext
//@ has: DT_TEXTREL
//@ has: R_X86_64_RELATIVE>=4
//@ has: R_X86_64_64 other
//@ has: PT_LOAD:R-X
//@ has: no PT_LOAD:RWX
//@ call: through_code() -> i32 = 42
//@ call: other() -> i32 = 2

int other(void) { return 2; }

// Code that was not made for a shared library: it has an address inside an instruction.
// R_X86_64_RELATIVE for the first, and R_X86_64_64 for the exported second, both in a
// PT_LOAD without PF_W.
__asm__(".pushsection .text\n"
        "address_of_answer:\n"
        "  movabs $.Lhere, %rax\n"
        "  ret\n"
        ".Lhere: .long 42\n"
        "address_of_other:\n"
        "  movabs $other, %rax\n"
        "  ret\n"
        ".popsection");
extern int *address_of_answer(void) __attribute__((visibility("hidden")));
extern void *address_of_other(void) __attribute__((visibility("hidden")));

int through_code(void) { return address_of_other() == (void *)other ? *address_of_answer() : 0; }

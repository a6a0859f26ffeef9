//@ teaches: one small library with a little of everything: code, data, calls, pointers, a constructor
//@ has: R_X86_64_RELATIVE=5
//@ has: R_X86_64_64=1
//@ has: R_X86_64_64 counter
//@ has: R_X86_64_GLOB_DAT=6
//@ has: R_X86_64_GLOB_DAT counter
//@ has: R_X86_64_GLOB_DAT nobody_has_this
//@ has: R_X86_64_JUMP_SLOT=2
//@ has: R_X86_64_JUMP_SLOT puts
//@ has: R_X86_64_JUMP_SLOT add
//@ has: STB_WEAK nobody_has_this
//@ has: PT_LOAD=4
//@ has: PT_LOAD:RW- bss=8
//@ has: PT_GNU_RELRO
//@ call: add(i32 40, i32 2) -> i32 = 42
//@ call: add_and_greet(i32 1, i32 2) -> i32 = 3
//@ call: twice_through_pointer(i32 21) -> i32 = 42
//@ call: counter_through_pointer() -> i32 = 2
//@ call: is_it_there() -> i32 = 0
//@ prints: hello from libadd.so

#include <stdio.h>

// Counts the constructor's runs: 1 in the file, 2 when dlopen returns.
int counter = 1;

// R_X86_64_64: `counter` is exported, and another object that comes first may define it too. So
// the linker leaves the symbol's name here, and the loader looks it up and stores its address.
static int *volatile counter_pointer = &counter;

static int twice(int number) { return 2 * number; }

// R_X86_64_RELATIVE: the word holds an address inside the library. `twice` is static, so there is
// nothing to look up; the address misses only the load bias.
static int (*volatile twice_pointer)(int) = twice;

// R_X86_64_GLOB_DAT with a weak symbol that nobody defines: its slot becomes 0, and no error.
extern int nobody_has_this __attribute__((weak));

// No relocation: the arguments come in registers, and so goes the result.
int add(int left, int right) { return left + right; }

int add_and_greet(int left, int right) {
    // R_X86_64_JUMP_SLOT for puts: a call to another object goes through the PLT, which jumps to
    // the address in this slot.
    puts("hello from libadd.so");
    // R_X86_64_JUMP_SLOT for add: an exported function is called through the PLT even from inside
    // its own library, since another object may define it too.
    return add(left, right);
}

int twice_through_pointer(int number) { return twice_pointer(number); }

int counter_through_pointer(void) { return *counter_pointer; }

int is_it_there(void) { return &nobody_has_this != 0; }

// A constructor: its address is a word of DT_INIT_ARRAY, one more R_X86_64_RELATIVE. Three further
// ones, four of the R_X86_64_GLOB_DAT and the one byte of bss (8 with padding) come from
// crtbeginS.o and crti.o, which the compiler links into every library.
__attribute__((constructor)) static void hello(int argc, char **argv, char **envp) {
    // R_X86_64_GLOB_DAT for counter: code finds an exported variable through the GOT.
    if (argc > 0 && argv != 0 && envp != 0) counter++;
}

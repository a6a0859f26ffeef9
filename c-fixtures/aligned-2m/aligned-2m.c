//@ teaches: a p_align of 2 MiB: the loader must find room that begins at such a boundary
//@ cc: -Wl,-z,max-page-size=0x200000 -Wl,-z,noseparate-code -Wl,-z,norelro
//@ has: PT_LOAD=2 p_align=0x200000
//@ has: PT_LOAD:RW- bss>=0x200000
//@ call: misaligned_by() -> u64 = 0
//@ call: bump() -> i32 = 1

// mmap promises a page boundary only. The linker counts on p_align: p_vaddr and p_offset are equal
// modulo p_align, and an address that the code takes to be aligned is so only if the load bias is
// a multiple of p_align too. The variable is bss, and without RELRO (which
// would end at such a boundary, too) the file stays small.
static int variable __attribute__((aligned(0x200000)));

// R_X86_64_RELATIVE: p_vaddr is a multiple of 2 MiB, and B + A is one if B is.
static int *volatile variable_pointer = &variable;

unsigned long misaligned_by(void) { return (unsigned long)variable_pointer % 0x200000; }

int bump(void) { return ++*variable_pointer; }

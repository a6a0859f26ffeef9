//@ teaches: a relocation type that the psABI does not have: nobody can guess what to write
//@ patch: relocation-type 1 99
//@ has: no R_X86_64_64
//@ refuse: unexpected reloc type 0x63
//@ call: value() -> i32 = 1

int number = 1;

// R_X86_64_64 as the linker wrote it; the file was then changed to say 99.
static int *volatile pointer = &number;

int value(void) { return *pointer; }

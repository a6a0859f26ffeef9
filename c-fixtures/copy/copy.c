//@ teaches: R_X86_64_COPY belongs into programs: in a library it is a sign of damage
//@ patch: relocation-type 1 5
//@ policy: R_X86_64_COPY in a shared object; glibc copies
//@ has: R_X86_64_COPY number
//@ call: answer() -> i32 = 42

int number = 1;

// R_X86_64_64 as the linker wrote it; the file was then changed to say R_X86_64_COPY (5), which
// copies the variable itself to this place.
static int *volatile pointer = &number;

int answer(void) { return 42; }

//@ cc: -Wl,-Bsymbolic
//@ has: DT_SYMBOLIC
//@ has: DT_FLAGS d_val=2
//@ has: no R_X86_64_JUMP_SLOT number

int number(void) { return 2; }
int variable = 2;

// The linker bound these to the definitions here; DT_SYMBOLIC tells the loader to look here first
// for whatever it left.
int selfish_number(void) { return number(); }
int selfish_variable(void) { return variable; }

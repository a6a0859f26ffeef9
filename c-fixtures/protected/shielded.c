//@ has: STV_PROTECTED own_protected
//@ has: STV_PROTECTED own_variable
//@ has: STV_DEFAULT own_default
//@ has: R_X86_64_JUMP_SLOT own_default
//@ has: no R_X86_64_JUMP_SLOT own_protected
//@ has: no R_X86_64_GLOB_DAT own_variable

int own_default(void) { return 2; }
__attribute__((visibility("protected"))) int own_protected(void) { return 2; }
__attribute__((visibility("protected"))) int own_variable = 2;

// R_X86_64_JUMP_SLOT: the definition in libprotected.so comes first.
int ask_default(void) { return own_default(); }

// No relocation: the linker bound the call to the function here, as for a static one.
int sees_protected(void) { return own_protected(); }
int sees_protected_variable(void) { return own_variable; }

// R_X86_64_RELATIVE or R_X86_64_64, as the linker likes; with the latter the loader has to see
// that a reference from here to a protected symbol means the one here.
static int (*volatile pointer)(void) = own_protected;
int sees_protected_through_pointer(void) { return pointer(); }

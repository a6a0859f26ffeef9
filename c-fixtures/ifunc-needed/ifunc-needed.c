//@ teaches: an IFUNC of a needed library: that library must be relocated before its resolver is called
//@ needs: libchooser.so
//@ has: R_X86_64_JUMP_SLOT chosen
//@ has: R_X86_64_64 chosen
//@ call: call_chosen() -> i32 = 2
//@ call: call_through_pointer() -> i32 = 2

extern int chosen(void);

// R_X86_64_64 and R_X86_64_JUMP_SLOT: both end in a call of the resolver in libchooser.so.
static int (*volatile pointer)(void) = chosen;

int call_chosen(void) { return chosen(); }
int call_through_pointer(void) { return pointer(); }

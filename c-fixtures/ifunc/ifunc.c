//@ teaches: IFUNC: the symbol's value is a function that the loader calls to learn the address
//@ has: STT_GNU_IFUNC exported
//@ has: R_X86_64_IRELATIVE>=1
//@ has: R_X86_64_JUMP_SLOT exported
//@ has: R_X86_64_64 exported
//@ call: exported() -> i32 = 2
//@ call: call_exported() -> i32 = 2
//@ call: call_through_pointer() -> i32 = 2
//@ call: call_hidden() -> i32 = 20
//@ call: resolver_saw_relocated_data() -> i32 = 1

typedef int function(void);

// R_X86_64_RELATIVE: what the resolver needs. It runs during relocation, so this must come before.
static int choice = 2;
static int *volatile choice_pointer = &choice;

static int one(void) { return 1; }
static int two(void) { return 2; }
static int ten(void) { return 10; }
static int twenty(void) { return 20; }

static int saw = 0;
static function *resolve_exported(void) {
    saw = choice_pointer == &choice;
    return *choice_pointer == 2 ? two : one;
}
static function *resolve_hidden(void) { return *choice_pointer == 2 ? twenty : ten; }

int exported(void) __attribute__((ifunc("resolve_exported")));

// Not exported: there is no symbol to look up, so R_X86_64_IRELATIVE holds the resolver's address.
__attribute__((visibility("hidden"))) int hidden(void) __attribute__((ifunc("resolve_hidden")));

// R_X86_64_64 against an IFUNC symbol: the word gets what the resolver answers, not its address.
static function *volatile pointer = exported;

// R_X86_64_JUMP_SLOT against an IFUNC symbol of this library.
int call_exported(void) { return exported(); }
int call_through_pointer(void) { return pointer(); }
int call_hidden(void) { return hidden(); }
int resolver_saw_relocated_data(void) { return saw; }

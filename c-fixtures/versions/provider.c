//@ cc: -Wl,--version-script=provider.map
//@ has: version foo@V1
//@ has: version foo@@V2
//@ has: DT_VERDEF
//@ has: DT_VERDEFNUM d_val=3

// Two functions, two dynamic symbols of the same name. foo@@V2 is the default: what a program
// linked today gets. foo@V1 stays for programs that were linked when it was the only one.
__asm__(".symver foo_one, foo@V1");
__asm__(".symver foo_two, foo@@V2");
int foo_one(void) { return 1; }
int foo_two(void) { return 2; }

//@ cc: -Wl,--version-script=v1.map
//@ has: version foo@@V1

int foo(void) { return 1; }

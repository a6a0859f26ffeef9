//@ out: glibc-hwcaps/x86-64-v2/libbuild.so
//@ has: DT_SONAME libbuild.so

const char *build(void) { return "build for x86-64-v2"; }

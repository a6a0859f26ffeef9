//@ has: DT_SONAME libbuild.so

const char *build(void) { return "build for every processor"; }

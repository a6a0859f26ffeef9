//@ teaches: glibc-hwcaps: in each folder that is searched, a build for the newer processor is tried first
//@ needs: libbuild.so
//@ has: DT_NEEDED libbuild.so
//@ has: DT_RUNPATH $ORIGIN
//@ call: user() -> str = "build for x86-64-v2"

// Tried in this order: glibc-hwcaps/x86-64-v4, -v3, -v2 (those that the processor has), then the
// folder itself. Practically every processor since 2009 has x86-64-v2.
extern const char *build(void);
const char *user(void) { return build(); }

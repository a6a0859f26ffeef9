//@ teaches: DF_1_INITFIRST: one library's constructors run before those of all others of the load
//@ needs: libordinary.so libeager.so
//@ cc: -Wl,--no-as-needed
//@ call: order() -> str = "eager ordinary main"

extern const char *what_happened(void);
extern void happened(const char *what);

__attribute__((constructor)) static void starts(void) { happened("main"); }

const char *order(void) { return what_happened(); }

//@ needs: libdiary.so
//@ cc: -Wl,-z,initfirst
//@ has: DT_FLAGS_1 d_val=32
extern void happened(const char *what);

// DF_1_INITFIRST in DT_FLAGS_1: before all others, whatever their order.
__attribute__((constructor)) static void starts(void) { happened("eager"); }

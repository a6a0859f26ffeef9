//@ needs: libdiary.so
extern void happened(const char *what);

// A dependency that comes first in DT_NEEDED and has no dependency on `eager`.
__attribute__((constructor)) static void starts(void) { happened("ordinary"); }

//@ teaches: no section headers: a loader needs the program headers only
//@ cc: -fno-builtin
//@ patch: no-section-headers
//@ has: no sections
//@ has: R_X86_64_RELATIVE>=1
//@ has: R_X86_64_JUMP_SLOT labs
//@ call: distance(i64 3, i64 10) -> i64 = 7

#include <stdlib.h>

// Sections are the linker's view of a file; readelf -S shows none here. Symbols are found through
// PT_DYNAMIC, and their number through the hash table.
// R_X86_64_JUMP_SLOT for labs: relocations are found through PT_DYNAMIC as well.
long distance(long from, long to) { return labs(from - to); }

//@ teaches: a PT_NOTE of more than 100 KB in front of everything else: the headers do not fit the first page
//@ has: PT_NOTE p_filesz>=102400
//@ has: R_X86_64_JUMP_SLOT labs
//@ cc: -fno-builtin
//@ call: distance(i64 10, i64 3) -> i64 = 7

#include <stdlib.h>

// A note is for tools, and a loader has no use for this one. But it lies in the first PT_LOAD,
// before the symbol and relocation tables, so a reader that takes the first page or two of the
// file for all of the headers and tables is wrong here.
__asm__(".pushsection .note.big, \"a\", @note\n"
        ".balign 4\n"
        ".long 8, 102400, 1\n" // length of the name, of the contents, type
        ".asciz \"dlscope\"\n"
        ".fill 102400\n"
        ".popsection");

long distance(long from, long to) { return labs(from - to); }

//@ teaches: STB_GNU_UNIQUE: one definition for the whole process, even between libraries opened apart
//@ has: STB_GNU_UNIQUE shared_counter
//@ has: R_X86_64_GLOB_DAT shared_counter
//@ call: bump() -> i32 = 1
//@ call: libtwin.so!bump_twin() -> i32 = 2
//@ call: bump() -> i32 = 3

// C++ makes such symbols for static variables of inline functions and templates: the language
// wants one of them, however many libraries carry a copy and however they were opened.
__asm__(".pushsection .data\n"
        ".globl shared_counter\n"
        ".type shared_counter, @gnu_unique_object\n"
        ".size shared_counter, 4\n"
        "shared_counter: .long 0\n"
        ".popsection");
extern int shared_counter;

// R_X86_64_GLOB_DAT, with a search that ends at the first unique definition of this name.
int bump(void) { return ++shared_counter; }

//@ has: STB_GNU_UNIQUE shared_counter

__asm__(".pushsection .data\n"
        ".globl shared_counter\n"
        ".type shared_counter, @gnu_unique_object\n"
        ".size shared_counter, 4\n"
        "shared_counter: .long 0\n"
        ".popsection");
extern int shared_counter;

int bump_twin(void) { return ++shared_counter; }

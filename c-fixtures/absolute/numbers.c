//@ has: SHN_ABS the_answer
//@ has: SHN_ABS zero

__asm__(".globl the_answer, zero\n"
        "the_answer = 4242\n"
        "zero = 0");

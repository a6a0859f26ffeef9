//@ has: SHN_ABS small

__asm__(".globl small\n"
        "small = 4096");

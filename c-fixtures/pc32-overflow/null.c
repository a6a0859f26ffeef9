//@ has: SHN_ABS near_null

__asm__(".globl near_null\n"
        "near_null = 16");

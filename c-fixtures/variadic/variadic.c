//@ teaches: a variadic call with doubles through the PLT: the number of them travels in al, which nobody may spoil
//@ has: R_X86_64_JUMP_SLOT snprintf
//@ call: format(f64 1.5, f64 -2.25, i32 7) -> str = "1.50 -2.25 7"

#include <stdio.h>

static char text[100];

// R_X86_64_JUMP_SLOT: al says how many of xmm0 to xmm7 are in use (psABI, "Variable Argument Lists").
// A loader that binds at the first call runs between here and snprintf, and must keep them all.
const char *format(double first, double second, int third) {
    snprintf(text, sizeof text, "%.2f %.2f %d", first, second, third);
    return text;
}

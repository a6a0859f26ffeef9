/* Exceptions and first calls: thrown by a function that is called for the first time, and caught by its caller, the
   trampoline gone from the stack; a longjmp out of one; and a backtrace inside. */
//@ traced first_call "throws_int"
//@ traced first_call "throws_error"
//@ traced first_call "jumps"
//@ lib libcallee -DCALLEE
//@ lib libcaller -DCALLER -fplt -Wl,-z,lazy -Wl,-rpath,'$ORIGIN' -L. -lcallee
//@ in_c
#if defined(CALLEE)
#include <csetjmp>
#include <cstdio>
#include <execinfo.h>
#include <stdexcept>
#include <string>
struct Local { const char *name; ~Local() { printf("  %s is unwound\n", name); } };
extern "C" int throws_int(int n) { Local local{"of the callee"}; if (n > 0) throw n; return n; }
extern "C" double throws_error(double a, double b, double c, const char *text) {
    throw std::runtime_error(std::string(text) + " " + std::to_string((int)(a + b + c)));
}
extern "C" void calls_back(void (*callback)(int), int n) { Local local{"around the callback"}; callback(n); }
extern "C" void jumps(std::jmp_buf buffer, int n) { std::longjmp(buffer, n); }
extern "C" int frames() { void *all[64]; return backtrace(all, 64); }
#elif defined(CALLER)
#include <csetjmp>
#include <cstdio>
#include <stdexcept>
struct Local { const char *name; ~Local() { printf("  %s is unwound\n", name); } };
extern "C" int throws_int(int);
extern "C" double throws_error(double, double, double, const char *);
extern "C" void calls_back(void (*)(int), int);
extern "C" void jumps(std::jmp_buf, int);
extern "C" int frames();
static void back(int n) { Local local{"the callback"}; throw n + 0.5; }
extern "C" void all() {
    for (int i = 0; i < 2; i++) {
        printf("%s call\n", i ? "a later" : "the first");
        try { Local local{"of the caller"}; throws_int(7); } catch (int n) { printf("an int: %d\n", n); }
        try { throws_error(1, 2, 3, "an error"); } catch (std::exception &e) { printf("%s\n", e.what()); }
        try { calls_back(back, 2); } catch (double d) { printf("through a callback: %g\n", d); }
        std::jmp_buf buffer;
        int n = setjmp(buffer);
        if (n == 0) jumps(buffer, 5);
        printf("jumped: %d\n", n);
    }
    int first = frames(), later = frames();
    printf("as many frames: %d\n", first == later && first > 3);
}
#else
#include "contract.h"

int main(void) {
    void *caller = opened("./libcaller.so", RTLD_LAZY);
    CALL(void, caller, "all");
    closes(caller, "/libcaller.so");
    caller = opened("./libcaller.so", RTLD_LAZY);
    CALL(void, caller, "all");
    return 0;
}
#endif

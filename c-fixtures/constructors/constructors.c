//@ teaches: DT_INIT, DT_INIT_ARRAY, DT_FINI_ARRAY, DT_FINI: what runs when, and with which arguments
//@ cc: -nostartfiles -Wl,-init,init -Wl,-fini,fini
//@ has: DT_INIT
//@ has: DT_FINI
//@ has: DT_INIT_ARRAYSZ d_val=32
//@ has: DT_FINI_ARRAYSZ d_val=24
//@ has: R_X86_64_RELATIVE>=7
//@ call: order() -> str = "init first second plain late"
//@ call: arguments_are_right() -> i32 = 1
//@ prints: stop plain
//@ prints: stop second
//@ prints: stop first
//@ prints: fini

#include <stdio.h>
#include <string.h>

extern char **environ;

static char trail[100];
static int right = 1;

static void note(const char *who) {
    if (trail[0]) strcat(trail, " ");
    strcat(trail, who);
}

// DT_INIT names one function, which runs first. (The compiler's own crti.o usually brings it; it
// is left out here by -nostartfiles.)
void init(int argc, char **argv, char **envp) {
    note("init");
    right &= argc > 0 && argv[argc] == 0 && envp == environ;
}

// DT_INIT_ARRAY: the linker sorts by priority; without one comes last. Each of these words is an
// R_X86_64_RELATIVE.
__attribute__((constructor(300))) static void second(void) { note("second"); }
__attribute__((constructor(200))) static void first(int argc, char **argv, char **envp) {
    note("first");
    right &= argc > 0 && argv[0] != 0 && argv[argc] == 0 && envp == environ;
}
__attribute__((constructor)) static void plain(void) { note("plain"); }
__attribute__((constructor)) static void late(void) { note("late"); }

// DT_FINI_ARRAY runs from its end to its beginning, and DT_FINI last.
__attribute__((destructor(200))) static void stop_first(void) { puts("stop first"); }
__attribute__((destructor(300))) static void stop_second(void) { puts("stop second"); }
__attribute__((destructor)) static void stop_plain(void) { puts("stop plain"); }
void fini(void) { puts("fini"); }

const char *order(void) { return trail; }
int arguments_are_right(void) { return right; }

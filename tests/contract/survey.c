/* Small things that other loaders' own tests ask for: the order of IFUNC resolvers and of -z initfirst, -Bsymbolic and
 * RTLD_DEFAULT, and which addresses `dladdr` and `_dl_find_object` know. */
//@ lib ifuncs -DIFUNCS -Wl,-z,now
//@ lib first -DFIRST; lib own -DOWN -Wl,-Bsymbolic; lib top -DTOP -Wl,--no-as-needed ./first.so ./own.so
//@ lib plain -DSAYS='"plain"'; lib d1 -DSAYS='"d1"' -Wl,--no-as-needed ./plain.so; lib f1 -DSAYS='"f1"' -Wl,-z,initfirst -Wl,--no-as-needed ./d1.so
//@ lib f2 -DSAYS='"f2"' -Wl,-z,initfirst; lib mid -DSAYS='"mid"' -Wl,--no-as-needed ./plain.so; lib all -DSAYS='"all"' -Wl,--no-as-needed ./mid.so ./f1.so ./f2.so
//@ lib places -DPLACES; lib gaps -DPLACES -Wl,-z,max-page-size=0x200000; lib older -DPLACES -Wl,--hash-style=sysv
//@ lib linked -DOWN -Wl,-Bsymbolic
//@ program -rdynamic -no-pie -fno-pie -Wl,--no-as-needed ./linked.so -Wl,-rpath,.
#define _GNU_SOURCE
#include <dlfcn.h>
#include <link.h>
#include <stdio.h>
#include <string.h>

#if defined IFUNCS
/* `number` is found by name, through a slot of DT_JMPREL. `local` is hidden, so an R_X86_64_IRELATIVE of DT_RELA calls its
 * resolver, which calls `number`. */
static int three(void) { return 3; }
static int four(void) { return 4; }
static int (*choose_number(void))(void) { return three; }
int number(void) __attribute__((ifunc("choose_number")));
static int (*choose_local(void))(void) { return number() == 3 ? four : three; }
__attribute__((visibility("hidden"))) int local(void) __attribute__((ifunc("choose_local")));
int (*const volatile pointer)(void) = local;
int answer(void) { return 10 * pointer() + local(); }
#elif defined FIRST
int value = 1;
#elif defined OWN
int value = 2;
int *by_default(void) { int *found = dlsym(RTLD_DEFAULT, "value"); __asm__ volatile("" : "+r"(found)); return found; }
#elif defined TOP
int top;
#elif defined SAYS
__attribute__((constructor)) static void begin(void) { printf("%s ", SAYS); fflush(stdout); }
#elif defined PLACES
__asm__(".globl absolute\nabsolute = 0x5001\n");
int function(void) { return 1; }
char room[8192] = { 1 };
#else
int value = 7;
static ElfW(Addr) text_end, end;

static int look(struct dl_phdr_info *info, size_t size, void *bias)
{
    if (info->dlpi_addr != (ElfW(Addr))bias) return 0;
    for (int i = 0; i < info->dlpi_phnum; i++) {
        const ElfW(Phdr) *segment = &info->dlpi_phdr[i];
        if (segment->p_type != PT_LOAD) continue;
        end = info->dlpi_addr + segment->p_vaddr + segment->p_memsz;
        if (segment->p_flags & PF_X) text_end = end;
    }
    return 1;
}

static const char *named(const void *address)
{
    static char text[200];
    Dl_info info;
    ElfW(Sym) *symbol = 0;
    int found = dladdr1(address, &info, (void **)&symbol, RTLD_DL_SYMENT);
    const char *name = found && info.dli_sname ? info.dli_sname : "none";
    snprintf(text, sizeof text, "%d %s%s", found, name, found && symbol ? ", with its entry" : "");
    return text;
}

static void places(const char *file)
{
    struct link_map *map = dlopen(file, RTLD_NOW);
    if (!map) { printf("%s: %s\n", file, dlerror()); return; }
    dl_iterate_phdr(look, (void *)map->l_addr);
    char *second_page = (char *)(text_end & -4096) + 8192;
    printf("%s: behind the code %s\n", file, named((void *)text_end));
    printf("  two pages on: %s\n", named(second_page));
    printf("  the last byte: %s\n", named((void *)(end - 1)));
    printf("  the end: %s\n", named((void *)end));
    struct dl_find_object object;
    printf("  the unwinder's: %d %d\n", _dl_find_object((void *)(end - 1), &object), _dl_find_object((void *)end, &object));
    char *room = dlsym(map, "room");
    printf("  room: %s", named(room + 5));
    printf(", its first byte: %s", named(room));
    printf(", the byte before: %s\n", strstr(named(room - 1), "absolute") ? "absolute" : "another");
    printf("  where `absolute` would be: %s\n", strstr(named((char *)map->l_addr + 0x5001), "absolute") ? "absolute" : "another");
    printf("  the start: %s\n", named((void *)map->l_addr));
}

int main(void)
{
    void *ifuncs = dlopen("./ifuncs.so", RTLD_NOW);
    if (!ifuncs) { puts(dlerror()); return 1; }
    printf("ifuncs: %d\n", ((int (*)(void))dlsym(ifuncs, "answer"))());

    void *top = dlopen("./top.so", RTLD_NOW);
    if (!top) { puts(dlerror()); return 1; }
    int *(*by_default)(void) = dlsym(top, "by_default");
    printf("-Bsymbolic, with the handle: %d\n", *(int *)dlsym(top, "value"));
    printf("-Bsymbolic, by RTLD_DEFAULT: %d\n", *by_default());
    int *(*linked)(void) = dlsym(RTLD_DEFAULT, "by_default");
    printf("the same, linked at start: %d\n", *linked());

    dlopen("./all.so", RTLD_NOW);
    puts("");
    places("./places.so");
    places("./gaps.so");
    places("./older.so");
    printf("a PLT entry of the program: %s\n", named((void *)puts));
    printf("behind it: %s\n", named((char *)puts + 1));
    void *libc = dlopen("libc.so.6", RTLD_NOW);
    printf("the start of libc: %s\n", named((void *)((struct link_map *)libc)->l_addr));
    return 0;
}
#endif

/* Files as linkers and rewriting tools write them: what glibc takes, and what it refuses in which words. Each case is a
   copy of one library with a few bytes changed. */
//@ lib whole -DLIB -Wl,-z,x86-64-v4 -Wl,-z,separate-code -Wl,-z,now
//@ lib relative -DLIB -Wl,-z,pack-relative-relocs || lib relative -DLIB
#if defined(LIB)
#include <unistd.h>
int number = 7, *pointer = &number;
int function(void) { return *pointer + (getpid() < 1); }
#else
#include "contract.h"
#include <elf.h>

#define PROPERTY_SEGMENT 0x6474e553
static char *file;
static long length;
static Elf64_Ehdr *header(void) { return (Elf64_Ehdr *)file; }

static void begin_with(const char *path) {
    FILE *from = fopen(path, "r");
    free(file);
    file = calloc(1, 1 << 20);
    length = fread(file, 1, 1 << 20, from);
    fclose(from);
}

static Elf64_Phdr *segment(unsigned type) {
    Elf64_Phdr *at = (Elf64_Phdr *)(file + header()->e_phoff);
    for (int n = 0; n < header()->e_phnum; n++)
        if (at[n].p_type == type) return at + n;
    return NULL;
}

static Elf64_Shdr *section(unsigned type) {
    Elf64_Shdr *at = (Elf64_Shdr *)(file + header()->e_shoff);
    for (int n = 0; n < header()->e_shnum; n++)
        if (at[n].sh_type == type) return at + n;
    return NULL;
}

static Elf64_Dyn *entry(long tag) {
    for (Elf64_Dyn *at = (Elf64_Dyn *)(file + section(SHT_DYNAMIC)->sh_offset); at->d_tag; at++)
        if (at->d_tag == tag) return at;
    return NULL;
}

/* Opens the changed copy under a name of its own. */
static void tried(const char *what) {
    char name[64];
    snprintf(name, sizeof name, "./%s.so", what);
    FILE *to = fopen(name, "w");
    fwrite(file, 1, length, to);
    fclose(to);
    void *handle = dlopen(name, RTLD_NOW);
    if (!handle) return error(what);
    printf("%s: loads, %d\n", what, CALL(int, handle, "function"));
    printf("%s: closed %d\n", what, dlclose(handle));
}

static void with_isa(unsigned levels) {
    Elf64_Phdr *at = segment(PROPERTY_SEGMENT);
    unsigned *words = (unsigned *)(file + at->p_offset);
    for (unsigned n = 4; n < at->p_filesz / 4; n++)
        if (words[n] == 0xc0008002) words[n + 2] = levels;
}

static void with_align(const char *what, unsigned long align) {
    begin_with("whole.so");
    with_isa(1);
    Elf64_Phdr *at = (Elf64_Phdr *)(file + header()->e_phoff);
    for (int n = 0; n < header()->e_phnum; n++)
        if (at[n].p_type == PT_LOAD) at[n].p_align = align;
    tried(what);
}

/* The table of versions moves behind the first segment's bytes, to an odd address. */
static void with_odd_versions(void) {
    begin_with("whole.so");
    with_isa(1);
    Elf64_Phdr *first = segment(PT_LOAD);
    Elf64_Shdr *versions = section(SHT_GNU_versym);
    unsigned long place = (first->p_filesz + 8) | 1;
    memmove(file + place, file + versions->sh_offset, versions->sh_size);
    entry(DT_VERSYM)->d_un.d_ptr = place;
    first->p_filesz = first->p_memsz = place + versions->sh_size;
    tried("odd-versions");
}

/* As `patchelf --remove-needed` leaves it: versions are needed from a file that is no dependency. */
static void without_needed(void) {
    begin_with("whole.so");
    with_isa(1);
    entry(DT_NEEDED)->d_tag = DT_DEBUG;
    tried("without-needed");
}

static void with_relr(int says_so) {
    begin_with("relative.so");
    if (!says_so) {
        Elf64_Shdr *needs = section(SHT_GNU_verneed);
        Elf64_Verneed *need = (Elf64_Verneed *)(file + needs->sh_offset);
        Elf64_Vernaux *first = (Elf64_Vernaux *)((char *)need + need->vn_aux), *at = first, *other = NULL;
        for (int n = 0; n < need->vn_cnt; n++, at = (Elf64_Vernaux *)((char *)at + at->vna_next))
            if (at->vna_hash != 0xfd0e42) other = at;
        at = first;
        for (int n = 0; n < need->vn_cnt; n++, at = (Elf64_Vernaux *)((char *)at + at->vna_next))
            if (at->vna_hash == 0xfd0e42) at->vna_hash = other->vna_hash, at->vna_name = other->vna_name;
    }
    tried(says_so ? "relr" : "relr-unsaid");
}

int main(void) {
    static const unsigned long aligns[] = {0, 1, 8, 24, 0x1000, 0x2000, 0x4000, 0x10000, 0x200000};
    for (unsigned n = 0; n < sizeof aligns / sizeof *aligns; n++) {
        char what[32];
        snprintf(what, sizeof what, "align-%lx", aligns[n]);
        with_align(what, aligns[n]);
    }
    begin_with("whole.so"), with_isa(1), segment(PT_LOAD)->p_vaddr += 8, tried("off-the-page");
    begin_with("whole.so"), with_isa(1), segment(PT_DYNAMIC)->p_filesz = 0, tried("debug");
    begin_with("whole.so"), with_isa(1), segment(PT_DYNAMIC)->p_type = PT_NULL, tried("not-dynamic");
    begin_with("whole.so"), with_isa(1), segment(PT_GNU_RELRO)->p_memsz = -0x10000l, tried("relro-past-the-end");
    with_odd_versions();
    without_needed();
    /* The last bit stands for a level that no processor has. */
    begin_with("whole.so"), with_isa(0x1f), tried("next-processor");
    begin_with("whole.so"), with_isa(0x3), tried("this-processor");
    with_relr(1);
    with_relr(0);
    return 0;
}
#endif

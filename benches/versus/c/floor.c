// The floor: what no loader can skip. Map the segments, zero the bss, store one word per relocation, seal RELRO. No
// symbol is looked up and nothing is called, so what it leaves behind is of no use but to be timed.
#define _GNU_SOURCE
#include <elf.h>
#include <fcntl.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define PAGE_DOWN(x) ((x) & ~(uint64_t)4095)
#define PAGE_UP(x) PAGE_DOWN((x) + 4095)

static int protection(const Elf64_Phdr *p) {
    return (p->p_flags & PF_R ? PROT_READ : 0) | (p->p_flags & PF_W ? PROT_WRITE : 0) |
           (p->p_flags & PF_X ? PROT_EXEC : 0);
}

// The first segment's mapping reserves room for all; the others go over it.
static uint8_t *map(int fd, const Elf64_Phdr *ph, int n) {
    uint64_t low = UINT64_MAX, high = 0;
    const Elf64_Phdr *first = NULL;
    for (int i = 0; i < n; i++) {
        if (ph[i].p_type != PT_LOAD)
            continue;
        if (!first) {
            first = &ph[i];
            low = PAGE_DOWN(ph[i].p_vaddr);
        }
        high = ph[i].p_vaddr + ph[i].p_memsz;
    }
    if (!first)
        return NULL;
    uint8_t *start = mmap(NULL, PAGE_UP(high) - low, protection(first), MAP_PRIVATE, fd,
                          (off_t)PAGE_DOWN(first->p_offset));
    if (start == MAP_FAILED)
        return NULL;
    uint8_t *bias = start - low;
    for (int i = 0; i < n; i++) {
        const Elf64_Phdr *p = &ph[i];
        if (p->p_type != PT_LOAD)
            continue;
        uint64_t begin = PAGE_DOWN(p->p_vaddr), file_end = p->p_vaddr + p->p_filesz;
        uint64_t end = p->p_vaddr + p->p_memsz, whole = PAGE_UP(file_end);
        if (p != first && mmap(bias + begin, whole - begin, protection(p), MAP_PRIVATE | MAP_FIXED, fd,
                               (off_t)PAGE_DOWN(p->p_offset)) == MAP_FAILED)
            return NULL;
        if (end > file_end && (p->p_flags & PF_W))
            memset(bias + file_end, 0, whole - file_end);
        if (PAGE_UP(end) > whole && mmap(bias + whole, PAGE_UP(end) - whole, protection(p),
                                         MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) == MAP_FAILED)
            return NULL;
    }
    return bias;
}

static void store(uint8_t *bias, uint64_t table, uint64_t bytes) {
    const Elf64_Rela *r = (const void *)(bias + table), *end = r + bytes / sizeof *r;
    for (; r < end; r++)
        *(uint64_t *)(bias + r->r_offset) = (uint64_t)bias + (uint64_t)r->r_addend;
}

static void store_relr(uint8_t *bias, uint64_t table, uint64_t bytes) {
    const uint64_t *r = (const void *)(bias + table), *end = r + bytes / sizeof *r;
    uint64_t *where = NULL;
    for (; r < end; r++) {
        if (!(*r & 1)) {
            where = (uint64_t *)(bias + *r);
            *where++ += (uint64_t)bias;
            continue;
        }
        uint64_t *word = where;
        for (uint64_t bits = *r >> 1; bits; bits >>= 1, word++)
            if (bits & 1)
                *word += (uint64_t)bias;
        where += 63;
    }
}

static int load(const char *path) {
    uint8_t bytes[4096];
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0 || pread(fd, bytes, sizeof bytes, 0) < (ssize_t)sizeof(Elf64_Ehdr))
        return -1;
    const Elf64_Ehdr *header = (const void *)bytes;
    const Elf64_Phdr *ph = (const void *)(bytes + header->e_phoff);
    int n = header->e_phnum;
    if (header->e_phoff + n * sizeof *ph > sizeof bytes)
        return -1;
    uint8_t *bias = map(fd, ph, n);
    close(fd);
    if (!bias)
        return -1;
    uint64_t value[64] = {0}, sealed = 0, seal_end = 0;
    for (int i = 0; i < n; i++) {
        if (ph[i].p_type == PT_DYNAMIC)
            for (const Elf64_Dyn *d = (const void *)(bias + ph[i].p_vaddr); d->d_tag; d++)
                if (d->d_tag > 0 && d->d_tag < 64)
                    value[d->d_tag] = d->d_un.d_val;
        if (ph[i].p_type == PT_GNU_RELRO) {
            sealed = PAGE_DOWN(ph[i].p_vaddr);
            seal_end = PAGE_DOWN(ph[i].p_vaddr + ph[i].p_memsz);
        }
    }
    store_relr(bias, value[36 /* DT_RELR */], value[35 /* DT_RELRSZ */]);
    store(bias, value[DT_RELA], value[DT_RELASZ]);
    store(bias, value[DT_JMPREL], value[DT_PLTRELSZ]);
    return seal_end > sealed ? mprotect(bias + sealed, seal_end - sealed, PROT_READ) : 0;
}

// Loads `count` files; 0 if all went well.
int versus_floor(const char *const *paths, size_t count) {
    for (size_t i = 0; i < count; i++)
        if (load(paths[i]) != 0)
            return -1;
    return 0;
}

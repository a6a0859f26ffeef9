/* A program that seals the read-only parts of all its objects (mseal(2), Linux 6.10), and opens a library with
   initial-exec variables afterwards. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <link.h>
#include <pthread.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#if defined(PLUGIN)
__thread int variable __attribute__((tls_model("initial-exec"))) = 7;
int value(void) { return variable; }
#else
#define MSEAL 462
static int sealed;

static int seal(struct dl_phdr_info *info, size_t size, void *data) {
    for (int i = 0; i < info->dlpi_phnum; i++) {
        const ElfW(Phdr) *header = &info->dlpi_phdr[i];
        size_t start = info->dlpi_addr + header->p_vaddr;
        size_t from = start & -4096UL, to = (start + header->p_memsz) & -4096UL;
        if (header->p_type == PT_GNU_RELRO && to > from)
            sealed += syscall(MSEAL, from, to - from, 0) == 0 && mprotect((void *)from, to - from, PROT_READ | PROT_WRITE);
    }
    return 0;
}

static void *thread(void *function) {
    printf("in a thread: %d\n", ((int (*)(void))function)());
    return NULL;
}

int main(void) {
    dl_iterate_phdr(seal, NULL);
    fprintf(stdout, "sealed: %d\n", sealed > 0);
    void *plugin = dlopen("./libplugin.so", RTLD_NOW);
    int (*value)(void) = plugin ? dlsym(plugin, "value") : NULL;
    if (!value) {
        puts(dlerror());
        return 1;
    }
    printf("%d\n", value());
    pthread_t other;
    pthread_create(&other, NULL, thread, value);
    pthread_join(other, NULL);
    return 0;
}
#endif

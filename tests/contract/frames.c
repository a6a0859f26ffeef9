/* _dl_find_object: libraries with unwind tables, with none, and with an SFrame section alone, which it tells of since
   glibc 2.42. backtrace(3) passes through all of them without harm. */
//@ lib libfull -DFULL
//@ lib libnone -DNONE -nostdlib -fno-asynchronous-unwind-tables
//@ lib libshort -DSHORT -nostdlib -Wa,--gsframe
#if defined(FULL) || defined(NONE) || defined(SHORT)
#if defined(SHORT)
__asm__(".cfi_sections .sframe");
#endif
int through(int (*function)(void)) { return function() + 1; }
#else
#include "contract.h"
#include <execinfo.h>
#include <gnu/libc-version.h>

#define SFRAME 0x6474e554

static int trace(void) {
    void *frames[32];
    return backtrace(frames, 32) > 0;
}

struct tables {
    struct link_map *of;
    void *frames, *sframe;
};

static int look(struct dl_phdr_info *info, size_t size, void *data) {
    struct tables *tables = data;
    if (info->dlpi_addr != tables->of->l_addr || !info->dlpi_name[0]) return 0;
    for (int i = 0; i < info->dlpi_phnum; i++) {
        void *here = (void *)(info->dlpi_addr + info->dlpi_phdr[i].p_vaddr);
        if (info->dlpi_phdr[i].p_type == PT_GNU_EH_FRAME) tables->frames = here;
        if (info->dlpi_phdr[i].p_type == SFRAME) tables->sframe = here;
    }
    return 1;
}

int main(void) {
    int minor = atoi(strchr(gnu_get_libc_version(), '.') + 1);
    const char *names[] = {"libfull", "libnone", "libshort"};
    for (int i = 0; i < 3; i++) {
        char path[64];
        snprintf(path, sizeof path, "./%s.so", names[i]);
        void *handle = opened(path, RTLD_NOW);
        int (*through)(int (*)(void)) = dlsym(handle, "through");
        struct tables tables = {handle, NULL, NULL};
        dl_iterate_phdr(look, &tables);
        struct dl_find_object object = {0};
        int found = _dl_find_object((void *)through, &object);
        printf("%s: found: %d, map: %d\n", names[i], found, object.dlfo_link_map == handle);
        printf("  tables: %d %d\n", tables.frames != NULL, object.dlfo_eh_frame == tables.frames);
        /* The word behind dlfo_eh_frame, which older headers call reserved. */
        void *sframe = ((void **)(&object.dlfo_eh_frame))[1];
        int told = object.dlfo_flags & 1;
        printf("  SFrame: %d %d\n", tables.sframe != NULL,
               told ? sframe == tables.sframe && sframe : !tables.sframe || minor < 42);
        printf("  through it: %d\n", through(trace));
        dlclose(handle);
        printf("  gone: %d\n", _dl_find_object((void *)through, &object));
    }
    return 0;
}
#endif

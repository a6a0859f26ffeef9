// A program that needs many libraries is shown each of them once.
#define _GNU_SOURCE
#include <link.h>
#include <stdio.h>
#include <string.h>
#ifdef PART
int PART;
#else
static int show(struct dl_phdr_info *info, size_t size, void *adds)
{
    (void)size;
    *(unsigned long long *)adds = info->dlpi_adds;
    char *name = strstr(info->dlpi_name, "/libpart");
    if (name) puts(name);
    return name && strstr(name, "37") ? 37 : 0;
}
int main(void)
{
    unsigned long long adds = 0;
    int stopped = dl_iterate_phdr(show, &adds);
    printf("stopped: %d\n", stopped);
    return 0;
}
#endif

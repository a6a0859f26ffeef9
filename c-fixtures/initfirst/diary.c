#include <string.h>

// Plain data, so that it can be written before any constructor of this library has run.
static char events[64];

void happened(const char *what) {
    if (events[0]) strcat(events, " ");
    strcat(events, what);
}

const char *what_happened(void) { return events; }

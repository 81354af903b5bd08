/* The clock on the wall, so many seconds off (CLOCK_OFF), for a process that loads this first (LD_PRELOAD). */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdlib.h>
#include <sys/time.h>
#include <time.h>

static time_t off(void) { const char *text = getenv("CLOCK_OFF"); return text ? atol(text) : 0; }

int clock_gettime(clockid_t clock, struct timespec *told) {
    static int (*own)(clockid_t, struct timespec *);
    if (!own) own = dlsym(RTLD_NEXT, "clock_gettime");
    int failed = own(clock, told);
    if (!failed && clock == CLOCK_REALTIME) told->tv_sec += off();
    return failed;
}

int gettimeofday(struct timeval *restrict told, void *restrict zone) {
    struct timespec exact;
    (void)zone;
    int failed = clock_gettime(CLOCK_REALTIME, &exact);
    if (!failed) { told->tv_sec = exact.tv_sec; told->tv_usec = exact.tv_nsec / 1000; }
    return failed;
}

time_t time(time_t *told) {
    struct timespec exact;
    clock_gettime(CLOCK_REALTIME, &exact);
    if (told) *told = exact.tv_sec;
    return exact.tv_sec;
}

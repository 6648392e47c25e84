// A clock that can be stepped, for a program that is started with this library
// in LD_PRELOAD: its time of day is the machine's plus the nanoseconds in the
// first eight bytes of the file that NEMESIS_CLOCK names. The monotonic clock
// stays true, as it does when the time of a machine is set.
//
// It asks the kernel directly: looking up the functions that it replaces would
// allocate memory, which an allocator that reads the time does not survive.

#define _GNU_SOURCE
#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

static const volatile long long *offset;

__attribute__((constructor)) static void begin(void) {
  const char *path = getenv("NEMESIS_CLOCK");
  int fd = path ? open(path, O_RDONLY) : -1;
  void *page = fd < 0 ? MAP_FAILED : mmap(0, sizeof *offset, PROT_READ, MAP_SHARED, fd, 0);
  if (page == MAP_FAILED) _exit(111); // rather than to run on the true time
  offset = page;
}

int clock_gettime(clockid_t id, struct timespec *ts) {
  const long long second = 1000000000;
  int failed = syscall(SYS_clock_gettime, id, ts);
  if (failed || !offset || (id != CLOCK_REALTIME && id != CLOCK_REALTIME_COARSE)) return failed;
  long long now = ts->tv_sec * second + ts->tv_nsec + *offset;
  ts->tv_sec = now / second;
  ts->tv_nsec = now % second;
  return 0;
}

int gettimeofday(struct timeval *tv, void *zone) {
  struct timespec ts;
  int failed = clock_gettime(CLOCK_REALTIME, &ts);
  (void)zone;
  tv->tv_sec = ts.tv_sec;
  tv->tv_usec = ts.tv_nsec / 1000;
  return failed;
}

time_t time(time_t *t) {
  struct timespec ts;
  clock_gettime(CLOCK_REALTIME, &ts);
  if (t) *t = ts.tv_sec;
  return ts.tv_sec;
}

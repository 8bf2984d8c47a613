/* Faults from outside, preloaded into every process of a run: what is done to files below a folder is counted over all
   processes, and at a given number the disk refuses or the whole process group is killed.

   FAULTS_ROOT    the folder; what is done elsewhere goes through untouched
   FAULTS_COUNT   a file of eight bytes that all processes count in
   FAULTS_LOG     a file that a line is appended to for everything that is counted: number, what, path
   FAULTS_AT      the number at which it happens, from 1
   FAULTS_DO      `kill`, before it is done; `half`, when half of a write is done; or the number of an error
   FAULTS_LASTS   if set, the error is given from then on, to all that needs room
   FAULTS_CLOCK   if set, the wall clock jumps by days, to and fro, at every look */

#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/types.h>
#include <time.h>
#include <unistd.h>

static _Atomic int64_t *count;
static const char *root, *log_path, *act;
static int64_t at;
static int lasts;

__attribute__((constructor)) static void start(void) {
    const char *path = getenv("FAULTS_COUNT");
    root = getenv("FAULTS_ROOT");
    log_path = getenv("FAULTS_LOG");
    act = getenv("FAULTS_DO");
    at = getenv("FAULTS_AT") ? atoll(getenv("FAULTS_AT")) : 0;
    lasts = getenv("FAULTS_LASTS") != NULL;
    if (!path) return;
    int handle = syscall(SYS_openat, AT_FDCWD, path, O_RDWR | O_CLOEXEC, 0);
    if (handle < 0) return;
    void *page = mmap(NULL, 8, PROT_READ | PROT_WRITE, MAP_SHARED, handle, 0);
    syscall(SYS_close, handle);
    if (page != MAP_FAILED) count = page;
}

/* The heartbeat is written when some time has passed: nothing depends on it, and its operations would count. */
static int is_ours(const char *path) {
    if (strstr(path, "heartbeat.json")) return 0;
    return count && root && path && strncmp(path, root, strlen(root)) == 0;
}

static const char *path_of(int handle, char *buffer, size_t size) {
    char link[64];
    snprintf(link, sizeof link, "/proc/self/fd/%d", handle);
    ssize_t length = syscall(SYS_readlinkat, AT_FDCWD, link, buffer, size - 1);
    if (length < 0) return NULL;
    buffer[length] = 0;
    return buffer;
}

enum verdict { GO, HALF, REFUSE };

static void die(void) {
    kill(0, SIGKILL);
    for (;;) pause();
}

/* Counts; does not return from a kill. */
static enum verdict judge(const char *what, const char *path, int needs_room) {
    if (!is_ours(path)) return GO;
    int64_t number = atomic_fetch_add(count, 1) + 1;
    if (log_path) {
        char line[4600];
        int length = snprintf(line, sizeof line, "%lld %s %s\n", (long long)number, what, path);
        int handle = syscall(SYS_openat, AT_FDCWD, log_path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0644);
        if (handle >= 0) {
            syscall(SYS_write, handle, line, length);
            syscall(SYS_close, handle);
        }
    }
    if (!at || !act || number < at || (number > at && !(lasts && needs_room))) return GO;
    if (strcmp(act, "kill") == 0) die();
    if (strcmp(act, "half") == 0) return HALF;
    errno = atoi(act);
    return REFUSE;
}

#define REAL(name) ((__typeof__(name) *)dlsym(RTLD_NEXT, #name))

static int opens_for_writing(int flags) {
    return (flags & O_ACCMODE) != O_RDONLY || (flags & O_CREAT);
}

#define OPEN(name)                                                                     \
    int name(const char *path, int flags, ...) {                                       \
        va_list list;                                                                  \
        va_start(list, flags);                                                         \
        int mode = va_arg(list, int);                                                  \
        va_end(list);                                                                  \
        if (opens_for_writing(flags) && judge("open", path, 1) == REFUSE) return -1;   \
        return REAL(name)(path, flags, mode);                                          \
    }
OPEN(open)
OPEN(open64)

#define WRITE(name, signature, call, halved)                                           \
    ssize_t name signature {                                                           \
        char buffer[4200];                                                             \
        int saved = errno;                                                             \
        enum verdict verdict = judge("write", path_of(handle, buffer, sizeof buffer), 1); \
        if (verdict == REFUSE) return -1;                                              \
        errno = saved;                                                                 \
        if (verdict == HALF) {                                                         \
            REAL(name) halved;                                                         \
            die();                                                                     \
        }                                                                              \
        return REAL(name) call;                                                        \
    }
WRITE(write, (int handle, const void *data, size_t size), (handle, data, size), (handle, data, size / 2))
WRITE(pwrite, (int handle, const void *data, size_t size, off_t offset), (handle, data, size, offset),
      (handle, data, size / 2, offset))
WRITE(pwrite64, (int handle, const void *data, size_t size, off64_t offset), (handle, data, size, offset),
      (handle, data, size / 2, offset))

#define ON_HANDLE(name, what, needs_room, signature, call)                             \
    int name signature {                                                               \
        char buffer[4200];                                                             \
        if (judge(what, path_of(handle, buffer, sizeof buffer), needs_room) == REFUSE) return -1; \
        return REAL(name) call;                                                        \
    }
ON_HANDLE(fsync, "fsync", 1, (int handle), (handle))
ON_HANDLE(fdatasync, "fsync", 1, (int handle), (handle))
ON_HANDLE(fchmod, "chmod", 0, (int handle, mode_t mode), (handle, mode))
ON_HANDLE(ftruncate, "truncate", 0, (int handle, off_t size), (handle, size))
ON_HANDLE(ftruncate64, "truncate", 0, (int handle, off64_t size), (handle, size))

#define ON_PATH(name, what, needs_room, path, signature, call)                         \
    int name signature {                                                               \
        if (judge(what, path, needs_room) == REFUSE) return -1;                        \
        return REAL(name) call;                                                        \
    }
ON_PATH(rename, "rename", 0, to, (const char *from, const char *to), (from, to))
ON_PATH(unlink, "unlink", 0, path, (const char *path), (path))
ON_PATH(rmdir, "rmdir", 0, path, (const char *path), (path))
ON_PATH(mkdir, "mkdir", 1, path, (const char *path, mode_t mode), (path, mode))

int flock(int handle, int operation) {
    if (getenv("FAULTS_NO_FLOCK")) {
        errno = ENOSYS;
        return -1;
    }
    return REAL(flock)(handle, operation);
}

int clock_gettime(clockid_t clock, struct timespec *now) {
    static _Atomic int looks;
    int result = syscall(SYS_clock_gettime, clock, now);
    if (result == 0 && clock == CLOCK_REALTIME && getenv("FAULTS_CLOCK")) {
        int look = atomic_fetch_add(&looks, 1);
        now->tv_sec += (look % 2 ? -1 : 1) * 86400L * (look % 7);
    }
    return result;
}

#include "seccomp.h"

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/bpf.h>
#include <linux/sockios.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "ring_abi.h"

/* --- libseccomp's interface, as far as it is used (seccomp.h of 2.3 and newer) ---------------------------------------- */

enum { SOCKET_FAMILY = 0, PROCESS = 0, OPENAT_FLAGS = 2, BPF_COMMAND = 0, IOCTL_REQUEST = 1 }; /* arguments of calls */
enum { COMPARE_EQ = 4, COMPARE_MASKED_EQ = 7 };
enum { ATTRIBUTE_SYNC_THREADS = 4 };

#define ACTION_ALLOW UINT32_C(0x7fff0000)
#define ACTION_ERRNO(number) (UINT32_C(0x00050000) | (number))
#define ACTION_KILL_PROCESS UINT32_C(0x80000000)

struct comparison {
    unsigned argument;
    int how;
    uint64_t a;
    uint64_t b;
};

struct version {
    unsigned major;
    unsigned minor;
    unsigned micro;
};

struct library {
    void *(*init)(uint32_t action);
    int (*rule_add_array)(void *filter, uint32_t action, int call, unsigned count, const struct comparison *array);
    int (*syscall_resolve_name)(const char *name);
    int (*attr_set)(void *filter, int attribute, uint32_t value);
    int (*load)(void *filter);
    void (*release)(void *filter);
    const struct version *(*version)(void);
};

static int find_all(void *handle, struct library *library)
{
    const struct {
        const char *name;
        void *place;
    } symbols[] = {
        {"seccomp_init", &library->init},
        {"seccomp_rule_add_array", &library->rule_add_array},
        {"seccomp_syscall_resolve_name", &library->syscall_resolve_name},
        {"seccomp_attr_set", &library->attr_set},
        {"seccomp_load", &library->load},
        {"seccomp_release", &library->release},
        {"seccomp_version", &library->version},
    };
    for (size_t i = 0; i < sizeof symbols / sizeof *symbols; i++) {
        void *found = dlsym(handle, symbols[i].name);
        if (!found)
            return -ELIBACC;
        memcpy(symbols[i].place, &found, sizeof found);
    }
    return 0;
}

static int open_library(struct library *library, char *why, size_t room)
{
    void *handle = dlopen("libseccomp.so.2", RTLD_NOW | RTLD_LOCAL);
    if (!handle) {
        (void)snprintf(why, room, "%s", dlerror());
        return -ENOENT;
    }
    int error = find_all(handle, library);
    if (error)
        (void)snprintf(why, room, "libseccomp.so.2 is older than 2.3");
    return error;
}

/* --- what a worker calls ---------------------------------------------------------------------------------------------- */

static const char *const allowed[] = {
    /* its sockets, pipes and the poller */
    "accept",
    "accept4",
    "bind",
    "close",
    "connect",
    "epoll_create1",
    "epoll_ctl",
    "epoll_pwait",
    "epoll_pwait2",
    "epoll_wait",
    "fcntl",
    "getpeername",
    "getsockname",
    "getsockopt",
    "listen",
    "pipe2",
    "poll",
    "ppoll",
    "read",
    "readv",
    "recvfrom",
    "recvmmsg",
    "recvmsg",
    "sendmmsg",
    "sendmsg",
    "sendto",
    "setsockopt",
    "shutdown",
    "splice",
    "write",
    "writev",
    /* time, memory, signals, and its own end */
    "brk",
    "clock_gettime",
    "clock_nanosleep",
    "exit",
    "exit_group",
    "futex",
    "getrandom",
    "gettimeofday",
    "madvise",
    "mmap",
    "mprotect",
    "mremap",
    "munmap",
    "nanosleep",
    "restart_syscall",
    "rseq",
    "rt_sigaction",
    "rt_sigprocmask",
    "rt_sigreturn",
    "rt_sigtimedwait",
    "sched_yield",
    "set_robust_list",
    "sigaltstack",
    "time",
    /* who it is */
    "getegid",
    "geteuid",
    "getgid",
    "getpid",
    "getppid",
    "gettid",
    "getuid",
    "sched_getaffinity",
    "sysinfo",
    "uname",
    /* the adoption socket: its name comes and goes (adoption_socket.c) */
    "fchmod",
    "unlink",
    "unlinkat",
    /* files, to read: libssl comes with the first certificate, and Python reads at its end; opening them is told apart below */
    "access",
    "faccessat",
    "faccessat2",
    "fstat",
    "fstat64",
    "fstatfs",
    "getcwd",
    "getdents64",
    "lseek",
    "lstat",
    "newfstatat",
    "pread64",
    "readlink",
    "readlinkat",
    "stat",
    "statx",
};

static const char *const deadly[] = {
    "execve",
    "execveat",
    "ptrace",
    "process_vm_readv",
    "process_vm_writev",
    "pidfd_getfd",
    "init_module",
    "finit_module",
    "delete_module",
    "kexec_load",
    "kexec_file_load",
    "reboot",
    "mount",
    "umount2",
    "pivot_root",
    "chroot",
    "setns",
    "unshare",
    "setuid",
    "setgid",
    "setresuid",
    "setresgid",
    "setreuid",
    "setregid",
    "setgroups",
    "keyctl",
    "add_key",
    "request_key",
    "userfaultfd",
    "perf_event_open",
    "iopl",
    "ioperm",
    "swapon",
    "swapoff",
    "acct",
};

static int add(const struct library *library, void *filter, uint32_t action, const char *name, unsigned count,
               const struct comparison *only)
{
    int call = library->syscall_resolve_name(name);
    return call < 0 ? 0 : library->rule_add_array(filter, action, call, count, only); /* below 0: not of this machine */
}

static int add_all(const struct library *library, void *filter, uint32_t action, const char *const *names, size_t count)
{
    int error = 0;
    for (size_t i = 0; i < count && !error; i++)
        error = add(library, filter, action, names[i], 0, NULL);
    return error;
}

/* Files only to read, sockets only of these families, signals only for itself (abort). */
static int add_told_apart(const struct library *library, void *filter)
{
    static const uint64_t families[] = {AF_INET, AF_INET6, AF_UNIX};
    const struct comparison read_only = {OPENAT_FLAGS, COMPARE_MASKED_EQ, O_ACCMODE | O_CREAT | O_TRUNC, O_RDONLY};
    const struct comparison myself = {PROCESS, COMPARE_EQ, (uint64_t)getpid(), 0};
    int error = add(library, filter, ACTION_ALLOW, "openat", 1, &read_only);
    if (!error)
        error = add(library, filter, ACTION_ALLOW, "tgkill", 1, &myself);
    for (size_t i = 0; i < sizeof families / sizeof *families && !error; i++) {
        const struct comparison family = {SOCKET_FAMILY, COMPARE_EQ, families[i], 0};
        error = add(library, filter, ACTION_ALLOW, "socket", 1, &family);
    }
    return error;
}

/* Maps are written, and send queues asked for; no program is loaded any more. */
static int add_offload(const struct library *library, void *filter)
{
    const struct comparison put = {BPF_COMMAND, COMPARE_EQ, BPF_MAP_UPDATE_ELEM, 0};
    const struct comparison remove = {BPF_COMMAND, COMPARE_EQ, BPF_MAP_DELETE_ELEM, 0};
    const struct comparison run = {BPF_COMMAND, COMPARE_EQ, BPF_PROG_TEST_RUN, 0};
    const struct comparison queued = {IOCTL_REQUEST, COMPARE_EQ, SIOCOUTQ, 0};
    int error = add(library, filter, ACTION_ALLOW, "bpf", 1, &put);
    if (!error)
        error = add(library, filter, ACTION_ALLOW, "bpf", 1, &remove);
    if (!error)
        error = add(library, filter, ACTION_ALLOW, "bpf", 1, &run);
    return error ? error : add(library, filter, ACTION_ALLOW, "ioctl", 1, &queued);
}

static int fill(const struct library *library, void *filter, int offloads, int rings)
{
    int error = add_all(library, filter, ACTION_ALLOW, allowed, sizeof allowed / sizeof *allowed);
    if (!error)
        error = add_all(library, filter, ACTION_KILL_PROCESS, deadly, sizeof deadly / sizeof *deadly);
    if (!error)
        error = add_told_apart(library, filter);
    if (!error && offloads)
        error = add_offload(library, filter);
    if (!error && rings) /* set up before, and held to its few operations by the kernel (ring.h) */
        error = library->rule_add_array(filter, ACTION_ALLOW, LB_SYS_RING_ENTER, 0, NULL);
    if (!error)
        error = library->attr_set(filter, ATTRIBUTE_SYNC_THREADS, 1);
    return error;
}

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
enum { SANITIZED = 1 };
#else
enum { SANITIZED = 0 };
#endif

int lb_seccomp_load(int offloads, int rings, char *why, size_t room)
{
    struct library library;
    int error = SANITIZED ? -ENOTSUP : open_library(&library, why, room);
    if (SANITIZED)
        (void)snprintf(why, room, "a sanitized engine needs more than a worker may call");
    if (error)
        return error;
    void *filter = library.init(ACTION_ERRNO(EPERM));
    if (!filter)
        return -ENOMEM;
    error = fill(&library, filter, offloads, rings);
    if (!error)
        error = library.load(filter);
    library.release(filter);
    if (error)
        (void)snprintf(why, room, "the kernel does not take the filter: %s", strerror(-error));
    return error;
}

int lb_seccomp_version(char *text, size_t room)
{
    struct library library;
    int error = open_library(&library, text, room);
    if (error)
        return error;
    const struct version *version = library.version();
    (void)snprintf(text, room, "%u.%u.%u", version->major, version->minor, version->micro);
    return 0;
}

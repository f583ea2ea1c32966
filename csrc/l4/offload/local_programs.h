/* The programs for sessions whose backend is a process of this host. See local.h for what becomes of the bytes.
 *
 * A lane is shared with the other programs (programs.h), but some of its fields mean something else here:
 *   from the client    due: the backend's copied_seq once it has read all that user space passed on; mark: its first value
 *   from the backend   base + forwarded + its write_seq: the client's write_seq once all that it sent to user space is passed on */
#ifndef LB_OFFLOAD_LOCAL_PROGRAMS_H
#define LB_OFFLOAD_LOCAL_PROGRAMS_H

#include <linux/bpf.h>
#include <stddef.h>
#include <stdint.h>

struct lb_local_maps {
    int slots; /* as in struct lb_offload_maps */
    int lanes;
    int notes;
    int clients;  /* SOCKHASH by cookie: a slot has another tenant some day, a cookie never */
    int backends; /* SOCKMAP by slot: what backends have accepted */
    int answers;  /* SK_STORAGE, of those: struct lb_local_answer */
};

/* Where what a backend sends goes. It has an address in the kernel, so user space can neither write it, nor read it in a filtered
 * worker: else who takes a worker over could have the program look at any memory. */
struct lb_local_answer {
    uint64_t client; /* address of the client's socket */
    uint64_t cookie; /* of that socket */
    uint32_t lane;
    uint32_t pad;
};

/* What the program that finds is asked. */
struct lb_local_question {
    uint64_t cookie; /* of the client's socket */
    uint32_t slot;
    uint32_t client_bytes;         /* of the tuple: that of IPv4 or of IPv6 */
    uint32_t backend_bytes;        /* likewise, of the other two */
    struct bpf_sock_tuple client;  /* the client's socket, as its packets come in */
    struct bpf_sock_tuple ours;    /* our end of the connection to the backend, likewise */
    struct bpf_sock_tuple backend; /* the other end, which the backend has accepted */
};

_Static_assert(sizeof(struct lb_local_question) == 128, "it lies on a program's stack, in words of eight bytes");

/* What it says. */
enum lb_local_found {
    LB_LOCAL_FAULT = 0,     /* the kernel lacks something */
    LB_LOCAL_ATTACHED = 1,  /* the backend's socket is in `backends`, and the lanes are begun */
    LB_LOCAL_ELSEWHERE = 2, /* no socket of this host, or network namespace */
    LB_LOCAL_BLOCKING = 3,  /* its reader may sleep in recv(2), which such a socket would end with EAGAIN at times */
    LB_LOCAL_BUSY = 4,      /* bytes are under way to it */
};

/* What the program that looks says of a backend's socket, bits. */
enum lb_local_look {
    LB_LOCAL_IS_THERE = 1,
    LB_LOCAL_WAITS = 2,  /* bytes that were forwarded to it are still in the hands of a kernel thread */
    LB_LOCAL_UNREAD = 4, /* such bytes lie in its queue */
};

/* Descriptors, or -errno; why: in words, when the kernel refuses. */
__attribute__((warn_unused_result)) int lb_local_load_verdict(const struct lb_local_maps *maps, char *why, size_t room);
__attribute__((warn_unused_result)) int lb_local_load_answer(const struct lb_local_maps *maps, char *why, size_t room);
__attribute__((warn_unused_result)) int lb_local_load_find(const struct lb_local_maps *maps, char *why, size_t room);
__attribute__((warn_unused_result)) int lb_local_load_look(const struct lb_local_maps *maps, char *why, size_t room);

#endif

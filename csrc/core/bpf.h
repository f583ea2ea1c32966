/* bpf(2): programs and maps. No policy; no library, compiler or file is needed. Set-up returns a descriptor or 0, or -errno. */
#ifndef LB_BPF_H
#define LB_BPF_H

#include <linux/bpf.h>
#include <stddef.h>
#include <stdint.h>

struct lb_bpf_program {
    const char *name;            /* at most 15 characters */
    uint32_t type;               /* enum bpf_prog_type */
    uint32_t attach;             /* enum bpf_attach_type */
    const struct bpf_insn *code; /* bpf_code.h says how it is written */
    uint32_t count;
};

struct lb_bpf_map {
    const char *name;
    uint32_t type; /* enum bpf_map_type */
    uint32_t key_bytes;
    uint32_t value_bytes;
    uint32_t entries;
    uint32_t flags;
};

/* A descriptor; why: what the verifier said last, in one line, when it refuses. */
__attribute__((warn_unused_result)) int lb_bpf_load(const struct lb_bpf_program *program, char *why, size_t room);
__attribute__((warn_unused_result)) int lb_bpf_map_create(const struct lb_bpf_map *map);

/* From now on only programs write to it. */
__attribute__((warn_unused_result)) int lb_bpf_freeze(int map);

/* Let a program see to a map's sockets (BPF_SK_SKB_..., BPF_SK_MSG_...), or to a cgroup's. */
__attribute__((warn_unused_result)) int lb_bpf_attach(int program, int target, uint32_t attach);

__attribute__((warn_unused_result)) int lb_bpf_put(int map, const void *key, const void *value);
int lb_bpf_remove(int map, const void *key);

/* Run a program of type SCHED_CLS on a packet of at least 14 bytes: what it returns, or -errno. */
__attribute__((warn_unused_result)) int lb_bpf_run(int program, const void *packet, uint32_t bytes);

#endif

/* What the programs of local_programs.h have in common, as pieces of their code. */
#ifndef LB_OFFLOAD_LOCAL_CODE_H
#define LB_OFFLOAD_LOCAL_CODE_H

#include "../../core/bpf.h"
#include "../../core/bpf_code.h"
#include "local_programs.h"

#define ANSWER(FIELD) (int)offsetof(struct lb_local_answer, FIELD)

enum { PSOCK_FLAGS = 7 }; /* in sk_user_data, beside the pointer */

/* Read from the kernel's memory, where r3 points to, to that place of the stack. */
#define PEEK(PLACE, BYTES, OTHERWISE) \
    BPF_MOV64_REG(BPF_REG_1, BPF_REG_10), BPF_ALU64_IMM(BPF_ADD, BPF_REG_1, PLACE), BPF_MOV64_IMM(BPF_REG_2, BYTES), \
        BPF_CALL_FUNC(BPF_FUNC_probe_read_kernel), BPF_JMP_IMM(BPF_JNE, BPF_REG_0, 0, OTHERWISE)

#define RELEASE(REG) BPF_MOV64_REG(BPF_REG_1, REG), BPF_CALL_FUNC(BPF_FUNC_sk_release)

/* r0 is a socket that is to be let go of: r8. r0: the same as one of TCP. */
#define AS_TCP(OTHERWISE) \
    BPF_MOV64_REG(BPF_REG_8, BPF_REG_0), BPF_MOV64_REG(BPF_REG_1, BPF_REG_0), BPF_CALL_FUNC(BPF_FUNC_skc_to_tcp_sock), \
        BPF_JMP_IMM(BPF_JEQ, BPF_REG_0, 0, OTHERWISE)

/* A word of the socket in r0, kept on the stack. */
#define KEEP_TCP(PLACE, FIELD) BPF_LDX_TCP(BPF_REG_1, BPF_REG_0, FIELD), BPF_STX_MEM(BPF_W, BPF_REG_10, BPF_REG_1, PLACE)

/* A descriptor, or -errno. */
static inline int load_code(const char *name, uint32_t type, uint32_t attach, const struct bpf_insn *code, size_t bytes,
                            char *why, size_t room)
{
    const struct lb_bpf_program program = {name, type, attach, code, (uint32_t)(bytes / sizeof *code)};
    return lb_bpf_load(&program, why, room);
}

#endif

#include "programs.h"

#include "../../core/bpf.h"
#include "verdict.h"

enum { SPARE = 4096 }; /* bytes of a send buffer that are left free */

/* On the stack. */
enum { COOKIE = -8, INDEX = -12, PEER = -24, WRITE_SEQ = -28, NOTE = -40, ROOM = -48 };

enum label { TO_USER = 1, NOT_OURS, NOTHING, KNOWN, CUT, FRESH, DUE_KNOWN, RELEASE, BROKEN, TELL };

/* For each skb that a socket of ours has received, in order, under its lock. r6: skb, r7: lane, r8: slot, later what is in hand;
 * r9: bytes that are new. */
int lb_offload_load_verdict(const struct lb_offload_maps *maps, char *why, size_t room)
{
    const struct bpf_insn code[] = {
        /* whose is it? */
        BPF_MOV64_REG(BPF_REG_6, BPF_REG_1),
        BPF_CALL_FUNC(BPF_FUNC_get_socket_cookie),
        BPF_STX_MEM(BPF_DW, BPF_REG_10, BPF_REG_0, COOKIE),
        LOOK_UP(maps->slots, COOKIE),
        BPF_JMP_IMM(BPF_JEQ, BPF_REG_0, 0, NOT_OURS),
        BPF_LDX_MEM(BPF_DW, BPF_REG_1, BPF_REG_0, SLOT(peer)),
        BPF_STX_MEM(BPF_DW, BPF_REG_10, BPF_REG_1, PEER),
        BPF_LDX_MEM(BPF_W, BPF_REG_1, BPF_REG_0, SLOT(generation)),
        BPF_STX_MEM(BPF_W, BPF_REG_10, BPF_REG_1, NOTE + NOTED(generation)),
        BPF_LDX_MEM(BPF_W, BPF_REG_1, BPF_REG_0, SLOT(lane)),
        BPF_STX_MEM(BPF_W, BPF_REG_10, BPF_REG_1, NOTE + NOTED(lane)),
        BPF_STX_MEM(BPF_W, BPF_REG_10, BPF_REG_1, INDEX),
        LOOK_UP(maps->lanes, INDEX),
        BPF_JMP_IMM(BPF_JEQ, BPF_REG_0, 0, NOT_OURS),
        BPF_MOV64_REG(BPF_REG_7, BPF_REG_0),
        BPF_LDX_MEM(BPF_W, BPF_REG_9, BPF_REG_6, SKB(len)),
        BPF_JMP_IMM(BPF_JEQ, BPF_REG_9, 0, NOTHING), /* a FIN alone: user space sees it by the poller */

        /* the first one: all that the socket's reader has not got is new */
        BPF_LDX_MEM(BPF_W, BPF_REG_1, BPF_REG_7, LANE(known)),
        BPF_JMP_IMM(BPF_JNE, BPF_REG_1, 0, KNOWN),
        BPF_LDX_MEM(BPF_DW, BPF_REG_1, BPF_REG_6, SKB(sk)),
        BPF_JMP_IMM(BPF_JEQ, BPF_REG_1, 0, BROKEN),
        BPF_CALL_FUNC(BPF_FUNC_skc_to_tcp_sock),
        BPF_JMP_IMM(BPF_JEQ, BPF_REG_0, 0, BROKEN),
        BPF_LDX_TCP(BPF_REG_1, BPF_REG_0, LB_TCP_COPIED_SEQ),
        BPF_STX_MEM(BPF_W, BPF_REG_7, BPF_REG_1, LANE(next)),
        BPF_ST_MEM(BPF_W, BPF_REG_7, LANE(known), 1),

        /* a retransmission may begin with bytes that were here before: they are cut off; a gap there cannot be */
        BPF_AT(KNOWN),
        BPF_LDX_MEM(BPF_W, BPF_REG_8, BPF_REG_7, LANE(next)),
        BPF_LDX_MEM(BPF_W, BPF_REG_1, BPF_REG_6, SKB_SEQ),
        BPF_ALU32_REG(BPF_SUB, BPF_REG_8, BPF_REG_1),
        BPF_JMP_IMM(BPF_JEQ, BPF_REG_8, 0, FRESH),
        CUT_OLD,

        /* may it be forwarded? */
        BPF_LDX_MEM(BPF_W, BPF_REG_1, BPF_REG_7, LANE(open)),
        BPF_JMP_IMM(BPF_JEQ, BPF_REG_1, 0, TO_USER),
        BPF_LDX_MEM(BPF_DW, BPF_REG_1, BPF_REG_7, LANE(taken)),
        BPF_LDX_MEM(BPF_DW, BPF_REG_2, BPF_REG_7, LANE(passed)),
        BPF_JMP_REG(BPF_JNE, BPF_REG_1, BPF_REG_2, TO_USER),

        /* how far is the peer? */
        LOOK_UP(maps->sockets, PEER),
        BPF_JMP_IMM(BPF_JEQ, BPF_REG_0, 0, TO_USER),
        BPF_MOV64_REG(BPF_REG_8, BPF_REG_0),
        BPF_LDX_MEM(BPF_W, BPF_REG_1, BPF_REG_8, offsetof(struct bpf_sock, state)),
        BPF_JMP_IMM(BPF_JEQ, BPF_REG_1, BPF_TCP_CLOSE, RELEASE), /* whose bytes would vanish: a write will say so */
        BPF_MOV64_REG(BPF_REG_1, BPF_REG_8),
        BPF_CALL_FUNC(BPF_FUNC_skc_to_tcp_sock),
        BPF_JMP_IMM(BPF_JEQ, BPF_REG_0, 0, RELEASE),
        BPF_LDX_TCP(BPF_REG_1, BPF_REG_0, LB_TCP_WRITE_SEQ),
        BPF_STX_MEM(BPF_W, BPF_REG_10, BPF_REG_1, WRITE_SEQ),
        BPF_LDX_TCP(BPF_REG_1, BPF_REG_0, LB_SOCK_WMEM_QUEUED),
        BPF_LDX_TCP(BPF_REG_2, BPF_REG_0, LB_SOCK_SNDBUF),
        BPF_ALU64_REG(BPF_SUB, BPF_REG_2, BPF_REG_1),
        BPF_STX_MEM(BPF_DW, BPF_REG_10, BPF_REG_2, ROOM),
        BPF_MOV64_REG(BPF_REG_1, BPF_REG_8),
        BPF_CALL_FUNC(BPF_FUNC_sk_release),

        /* since user space wrote last, only we have written: `due` runs ahead of write_seq by what a kernel thread has still to do */
        BPF_LDX_MEM(BPF_DW, BPF_REG_1, BPF_REG_7, LANE(taken)),
        BPF_LDX_MEM(BPF_DW, BPF_REG_2, BPF_REG_7, LANE(due_taken)),
        BPF_LDX_MEM(BPF_W, BPF_REG_8, BPF_REG_7, LANE(due)),
        BPF_LDX_MEM(BPF_W, BPF_REG_3, BPF_REG_10, WRITE_SEQ),
        BPF_JMP_REG(BPF_JEQ, BPF_REG_1, BPF_REG_2, DUE_KNOWN),
        BPF_STX_MEM(BPF_DW, BPF_REG_7, BPF_REG_1, LANE(due_taken)),
        BPF_MOV64_REG(BPF_REG_8, BPF_REG_3),
        BPF_STX_MEM(BPF_W, BPF_REG_7, BPF_REG_8, LANE(due)),
        BPF_AT(DUE_KNOWN),
        BPF_ALU64_REG(BPF_ADD, BPF_REG_8, BPF_REG_9),

        /* it must fit into the peer's send buffer together with that, with what an skb costs beside its bytes: what does not fit would
         * wait in a queue without a bound, and what the peer's own socket has received would wait behind it */
        BPF_MOV32_REG(BPF_REG_1, BPF_REG_8),
        BPF_ALU32_REG(BPF_SUB, BPF_REG_1, BPF_REG_3),
        BPF_ALU64_IMM(BPF_LSH, BPF_REG_1, 1),
        BPF_ALU64_IMM(BPF_ADD, BPF_REG_1, SPARE),
        BPF_LDX_MEM(BPF_DW, BPF_REG_2, BPF_REG_10, ROOM),
        BPF_JMP_REG(BPF_JSGT, BPF_REG_1, BPF_REG_2, TO_USER),

        /* forward it */
        BPF_STX_MEM(BPF_W, BPF_REG_7, BPF_REG_8, LANE(due)),
        COUNT_FORWARDED,
        BPF_MOV64_REG(BPF_REG_1, BPF_REG_6),
        BPF_LD_MAP(BPF_REG_2, maps->sockets),
        BPF_MOV64_REG(BPF_REG_3, BPF_REG_10),
        BPF_ALU64_IMM(BPF_ADD, BPF_REG_3, PEER),
        BPF_MOV64_IMM(BPF_REG_4, 0), /* to be sent, not to be received */
        BPF_CALL_FUNC(BPF_FUNC_sk_redirect_hash),
        BPF_JMP_IMM(BPF_JEQ, BPF_REG_0, DROP, BROKEN),
        BPF_EXIT_INSN(),

        /* to user space, which is told if it may believe that nothing is there; it stores `taken`, then looks at `passed` */
        BPF_AT(RELEASE),
        BPF_MOV64_REG(BPF_REG_1, BPF_REG_8),
        BPF_CALL_FUNC(BPF_FUNC_sk_release),
        BPF_AT(TO_USER),
        HAND_UP,

        BPF_AT(BROKEN),
        BPF_ST_MEM(BPF_W, BPF_REG_7, LANE(broken), 1),
        BPF_ST_MEM(BPF_W, BPF_REG_7, LANE(open), 0),
        TELL_BROKEN,
    };
    const struct lb_bpf_program program = {
        .name = "lb_forward",
        .type = BPF_PROG_TYPE_SK_SKB,
        .attach = BPF_SK_SKB_STREAM_VERDICT,
        .code = code,
        .count = sizeof code / sizeof *code,
    };
    return lb_bpf_load(&program, why, room);
}

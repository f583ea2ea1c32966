/* The programs that forward: they run with each skb of a client's and each send of a backend's. */
#include "local_code.h"
#include "verdict.h"

#define MSG(FIELD) (int)offsetof(struct sk_msg_md, FIELD)

enum { MOST_WAITING = 16 }; /* skbs in the hands of a kernel thread, 64 KiB each at most */
enum { SPARE = 16384 };     /* bytes of a send buffer that are left free */
enum { ESTABLISHED = BPF_TCP_ESTABLISHED, CLOSE_WAIT = BPF_TCP_CLOSE_WAIT };

/* For each skb that a client's socket has received, in order, under its lock: into the receive queue of the backend's socket, when the
 * backend has read all that went by user space before, and has room. r6: skb, r7: lane, r9: bytes that are new. */
int lb_local_load_verdict(const struct lb_local_maps *maps, char *why, size_t room)
{
    enum {
        COOKIE = -8,
        INDEX = -12,
        SLOT_INDEX = -16,
        NOTE = -24,
        COPIED = -28,
        RMEM = -32,
        RCVBUF = -36,
        PSOCK = -48,
        WAITING = -56
    };
    enum { TO_USER = 1, NOT_OURS, NOTHING, ALREADY, CUT, FRESH, NOT_TCP, BROKEN, TELL };
    const struct bpf_insn code[] = {
        /* whose is it? */
        BPF_MOV64_REG(BPF_REG_6, BPF_REG_1),
        BPF_CALL_FUNC(BPF_FUNC_get_socket_cookie),
        BPF_STX_MEM(BPF_DW, BPF_REG_10, BPF_REG_0, COOKIE),
        LOOK_UP(maps->slots, COOKIE),
        BPF_JMP_IMM(BPF_JEQ, BPF_REG_0, 0, NOT_OURS),
        BPF_LDX_MEM(BPF_W, BPF_REG_1, BPF_REG_0, SLOT(generation)),
        BPF_STX_MEM(BPF_W, BPF_REG_10, BPF_REG_1, NOTE + NOTED(generation)),
        BPF_LDX_MEM(BPF_W, BPF_REG_1, BPF_REG_0, SLOT(lane)),
        BPF_STX_MEM(BPF_W, BPF_REG_10, BPF_REG_1, NOTE + NOTED(lane)),
        BPF_STX_MEM(BPF_W, BPF_REG_10, BPF_REG_1, INDEX),
        BPF_ALU64_IMM(BPF_RSH, BPF_REG_1, 1),
        BPF_STX_MEM(BPF_W, BPF_REG_10, BPF_REG_1, SLOT_INDEX),
        LOOK_UP(maps->lanes, INDEX),
        BPF_JMP_IMM(BPF_JEQ, BPF_REG_0, 0, NOT_OURS),
        BPF_MOV64_REG(BPF_REG_7, BPF_REG_0),
        BPF_LDX_MEM(BPF_W, BPF_REG_9, BPF_REG_6, SKB(len)),
        BPF_JMP_IMM(BPF_JEQ, BPF_REG_9, 0, NOTHING), /* a FIN alone: user space sees it by the poller */
        BPF_LDX_MEM(BPF_W, BPF_REG_1, BPF_REG_7, LANE(open)),
        BPF_JMP_IMM(BPF_JEQ, BPF_REG_1, 0, NOT_OURS),

        /* bytes before it that this program did not see were for user space */
        BPF_LDX_MEM(BPF_W, BPF_REG_1, BPF_REG_6, SKB_SEQ),
        BPF_LDX_MEM(BPF_W, BPF_REG_2, BPF_REG_7, LANE(next)),
        BPF_MOV64_REG(BPF_REG_8, BPF_REG_1),
        BPF_ALU32_REG(BPF_SUB, BPF_REG_8, BPF_REG_2),
        BPF_JMP_IMM(BPF_JEQ, BPF_REG_8, 0, FRESH),
        BPF_JMP_IMM(BPF_JGT, BPF_REG_8, INT32_MAX, ALREADY),
        BPF_STX_MEM(BPF_W, BPF_REG_7, BPF_REG_1, LANE(next)),
        BPF_LDX_MEM(BPF_W, BPF_REG_1, BPF_REG_7, LANE(due)),
        BPF_ALU64_REG(BPF_ADD, BPF_REG_1, BPF_REG_8),
        BPF_STX_MEM(BPF_W, BPF_REG_7, BPF_REG_1, LANE(due)),
        ADD_TO(passed, BPF_REG_8),
        BPF_GOTO(FRESH),

        /* a retransmission may begin with bytes that were here before: they are cut off */
        BPF_AT(ALREADY),
        BPF_ALU64_REG(BPF_SUB, BPF_REG_2, BPF_REG_1),
        BPF_MOV32_REG(BPF_REG_8, BPF_REG_2),
        CUT_OLD,

        /* how far is the backend, and what has it room for? */
        LOOK_UP(maps->backends, SLOT_INDEX),
        BPF_JMP_IMM(BPF_JEQ, BPF_REG_0, 0, TO_USER),
        AS_TCP(NOT_TCP),
        KEEP_TCP(COPIED, LB_TCP_COPIED_SEQ),
        KEEP_TCP(RMEM, LB_SOCK_RMEM_ALLOC),
        KEEP_TCP(RCVBUF, LB_SOCK_RCVBUF),
        BPF_LDX_FIELD(BPF_DW, BPF_REG_1, BPF_REG_0, LB_SOCK_USER_DATA),
        BPF_STX_MEM(BPF_DW, BPF_REG_10, BPF_REG_1, PSOCK),
        RELEASE(BPF_REG_8),

        /* what it has read since it was found was read by the calls that know of both its queues: nobody sleeps in an older one */
        BPF_LDX_MEM(BPF_W, BPF_REG_1, BPF_REG_10, COPIED),
        BPF_LDX_MEM(BPF_W, BPF_REG_2, BPF_REG_7, LANE(due)),
        BPF_JMP_REG(BPF_JNE, BPF_REG_1, BPF_REG_2, TO_USER),
        BPF_LDX_MEM(BPF_W, BPF_REG_1, BPF_REG_7, LANE(mark)),
        BPF_JMP_REG(BPF_JEQ, BPF_REG_1, BPF_REG_2, TO_USER),
        BPF_LDX_MEM(BPF_W, BPF_REG_1, BPF_REG_10, RMEM),
        BPF_ALU64_REG(BPF_ADD, BPF_REG_1, BPF_REG_9),
        BPF_LDX_MEM(BPF_W, BPF_REG_2, BPF_REG_10, RCVBUF),
        BPF_JMP_REG(BPF_JGT, BPF_REG_1, BPF_REG_2, TO_USER),
        BPF_LDX_MEM(BPF_DW, BPF_REG_1, BPF_REG_10, PSOCK),
        BPF_ALU64_IMM(BPF_AND, BPF_REG_1, ~PSOCK_FLAGS),
        BPF_JMP_IMM(BPF_JEQ, BPF_REG_1, 0, TO_USER),
        BPF_MOV_FIELD(BPF_REG_3, LB_PSOCK_WAITING),
        BPF_ALU64_REG(BPF_ADD, BPF_REG_3, BPF_REG_1),
        PEEK(WAITING, 4, TO_USER),
        BPF_LDX_MEM(BPF_W, BPF_REG_1, BPF_REG_10, WAITING),
        BPF_JMP_IMM(BPF_JGT, BPF_REG_1, MOST_WAITING, TO_USER),

        COUNT_FORWARDED,
        BPF_MOV64_REG(BPF_REG_1, BPF_REG_6),
        BPF_LD_MAP(BPF_REG_2, maps->backends),
        BPF_LDX_MEM(BPF_W, BPF_REG_3, BPF_REG_10, SLOT_INDEX),
        BPF_MOV64_IMM(BPF_REG_4, BPF_F_INGRESS),
        BPF_CALL_FUNC(BPF_FUNC_sk_redirect_map),
        BPF_JMP_IMM(BPF_JEQ, BPF_REG_0, DROP, BROKEN),
        BPF_EXIT_INSN(),

        /* to user space, which is told if it may believe that nothing is there; it stores `taken`, then looks at `passed` */
        BPF_AT(NOT_TCP),
        RELEASE(BPF_REG_8),
        BPF_AT(TO_USER),
        BPF_LDX_MEM(BPF_W, BPF_REG_1, BPF_REG_7, LANE(due)),
        BPF_ALU64_REG(BPF_ADD, BPF_REG_1, BPF_REG_9),
        BPF_STX_MEM(BPF_W, BPF_REG_7, BPF_REG_1, LANE(due)),
        HAND_UP,

        BPF_AT(BROKEN),
        BPF_ST_MEM(BPF_W, BPF_REG_7, LANE(broken), 1),
        TELL_BROKEN,
    };
    return load_code("lb_to_local", BPF_PROG_TYPE_SK_SKB, BPF_SK_SKB_STREAM_VERDICT, code, sizeof code, why, room);
}

/* For each send of a backend: out of the client's socket, when all that the backend sent by user space before has gone there, and it
 * fits. Programs of this type may look into no socket but their own, so the client's is read by its address. r6: message, r7: lane,
 * r9: bytes. */
int lb_local_load_answer(const struct lb_local_maps *maps, char *why, size_t room)
{
    enum { CLIENT = -8, COOKIE = -16, INDEX = -20, OURS = -24, WRITTEN = -28, QUEUED = -32, SNDBUF = -36, STATE = -40 };
    enum { TO_USER = 1, THERE };
#define PEEK_CLIENT(FIELD, BYTES, PLACE) \
    BPF_LDX_MEM(BPF_DW, BPF_REG_1, BPF_REG_10, CLIENT), BPF_MOV_FIELD(BPF_REG_3, FIELD), \
        BPF_ALU64_REG(BPF_ADD, BPF_REG_3, BPF_REG_1), PEEK(PLACE, BYTES, TO_USER)
    const struct bpf_insn code[] = {
        /* whose is it? */
        BPF_MOV64_REG(BPF_REG_6, BPF_REG_1),
        BPF_LDX_MEM(BPF_DW, BPF_REG_8, BPF_REG_6, MSG(sk)),
        BPF_JMP_IMM(BPF_JEQ, BPF_REG_8, 0, TO_USER),
        BPF_MOV64_REG(BPF_REG_1, BPF_REG_8),
        BPF_CALL_FUNC(BPF_FUNC_skc_to_tcp_sock),
        BPF_JMP_IMM(BPF_JEQ, BPF_REG_0, 0, TO_USER),
        KEEP_TCP(OURS, LB_TCP_WRITE_SEQ),
        BPF_LD_MAP(BPF_REG_1, maps->answers),
        BPF_MOV64_REG(BPF_REG_2, BPF_REG_8),
        BPF_MOV64_IMM(BPF_REG_3, 0),
        BPF_MOV64_IMM(BPF_REG_4, 0),
        BPF_CALL_FUNC(BPF_FUNC_sk_storage_get),
        BPF_JMP_IMM(BPF_JEQ, BPF_REG_0, 0, TO_USER),
        BPF_LDX_MEM(BPF_DW, BPF_REG_1, BPF_REG_0, ANSWER(client)),
        BPF_STX_MEM(BPF_DW, BPF_REG_10, BPF_REG_1, CLIENT),
        BPF_LDX_MEM(BPF_DW, BPF_REG_1, BPF_REG_0, ANSWER(cookie)),
        BPF_STX_MEM(BPF_DW, BPF_REG_10, BPF_REG_1, COOKIE),
        BPF_LDX_MEM(BPF_W, BPF_REG_1, BPF_REG_0, ANSWER(lane)),
        BPF_STX_MEM(BPF_W, BPF_REG_10, BPF_REG_1, INDEX),
        LOOK_UP(maps->lanes, INDEX),
        BPF_JMP_IMM(BPF_JEQ, BPF_REG_0, 0, TO_USER),
        BPF_MOV64_REG(BPF_REG_7, BPF_REG_0),
        BPF_LDX_MEM(BPF_W, BPF_REG_1, BPF_REG_7, LANE(open)),
        BPF_JMP_IMM(BPF_JEQ, BPF_REG_1, 0, TO_USER),
        BPF_LDX_MEM(BPF_W, BPF_REG_9, BPF_REG_6, MSG(size)),

        /* a client that is gone is in no map any more, and the send would fail with EACCES */
        PEEK_CLIENT(LB_SOCK_STATE, 1, STATE),
        BPF_LDX_MEM(BPF_B, BPF_REG_1, BPF_REG_10, STATE),
        BPF_JMP_IMM(BPF_JEQ, BPF_REG_1, ESTABLISHED, THERE),
        BPF_JMP_IMM(BPF_JNE, BPF_REG_1, CLOSE_WAIT, TO_USER),
        BPF_AT(THERE),

        /* has all gone that went by user space? */
        PEEK_CLIENT(LB_TCP_WRITE_SEQ, 4, WRITTEN),
        BPF_LDX_MEM(BPF_W, BPF_REG_1, BPF_REG_7, LANE(base)),
        BPF_LDX_MEM(BPF_DW, BPF_REG_2, BPF_REG_7, LANE(forwarded)),
        BPF_ALU64_REG(BPF_ADD, BPF_REG_1, BPF_REG_2),
        BPF_LDX_MEM(BPF_W, BPF_REG_2, BPF_REG_10, OURS),
        BPF_ALU64_REG(BPF_ADD, BPF_REG_1, BPF_REG_2),
        BPF_MOV32_REG(BPF_REG_1, BPF_REG_1),
        BPF_LDX_MEM(BPF_W, BPF_REG_2, BPF_REG_10, WRITTEN),
        BPF_JMP_REG(BPF_JNE, BPF_REG_1, BPF_REG_2, TO_USER),

        /* a send that finds no room would fail or sleep for a socket that the backend does not know */
        PEEK_CLIENT(LB_SOCK_WMEM_QUEUED, 4, QUEUED),
        PEEK_CLIENT(LB_SOCK_SNDBUF, 4, SNDBUF),
        BPF_MOV64_REG(BPF_REG_1, BPF_REG_9),
        BPF_ALU64_IMM(BPF_LSH, BPF_REG_1, 1),
        BPF_ALU64_IMM(BPF_ADD, BPF_REG_1, SPARE),
        BPF_LDX_MEM(BPF_W, BPF_REG_2, BPF_REG_10, QUEUED),
        BPF_ALU64_REG(BPF_ADD, BPF_REG_1, BPF_REG_2),
        BPF_LDX_MEM(BPF_W, BPF_REG_2, BPF_REG_10, SNDBUF),
        BPF_JMP_REG(BPF_JGT, BPF_REG_1, BPF_REG_2, TO_USER),

        COUNT_FORWARDED,
        BPF_MOV64_REG(BPF_REG_1, BPF_REG_6),
        BPF_LD_MAP(BPF_REG_2, maps->clients),
        BPF_MOV64_REG(BPF_REG_3, BPF_REG_10),
        BPF_ALU64_IMM(BPF_ADD, BPF_REG_3, COOKIE),
        BPF_MOV64_IMM(BPF_REG_4, 0), /* to be sent, not to be received */
        BPF_CALL_FUNC(BPF_FUNC_msg_redirect_hash),
        BPF_EXIT_INSN(),

        BPF_AT(TO_USER),
        BPF_MOV64_IMM(BPF_REG_0, PASS),
        BPF_EXIT_INSN(),
    };
#undef PEEK_CLIENT
    return load_code("lb_from_local", BPF_PROG_TYPE_SK_MSG, BPF_SK_MSG_VERDICT, code, sizeof code, why, room);
}

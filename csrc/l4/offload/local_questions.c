/* The programs that user space asks (BPF_PROG_TEST_RUN): which socket is the backend's, and how far is it? */
#include <fcntl.h>

#include "local_code.h"
#include "verdict.h"

#define ASKED(FIELD) (int)offsetof(struct lb_local_question, FIELD)

enum { ESTABLISHED = BPF_TCP_ESTABLISHED };

/* Asked by user space, which has passed on all that it has read: find the socket that a backend of this host has accepted, by the
 * addresses of its connection, see that it is that one, attach it, and begin the lanes. */
int lb_local_load_find(const struct lb_local_maps *maps, char *why, size_t room)
{
    enum {
        QUESTION = -(int)sizeof(struct lb_local_question),
        OUR_COPIED = QUESTION - 4,
        OUR_WRITTEN = QUESTION - 8,
        OUR_NEXT = QUESTION - 12,
        COPIED = QUESTION - 16,
        WRITTEN = QUESTION - 20,
        LANE_INDEX = QUESTION - 24,
        CLIENT = QUESTION - 32,
    };
    enum {
        OURS6 = 1,
        OURS_SOUGHT,
        CLIENT6,
        CLIENT_SOUGHT,
        BACKEND6,
        BACKEND_SOUGHT,
        ELSEWHERE,
        ELSEWHERE_HELD,
        BUSY_HELD,
        BLOCKING_HELD,
        FAULT,
        FAULT_HELD
    };
#define FIND(TUPLE, BYTES) \
    BPF_MOV64_REG(BPF_REG_1, BPF_REG_6), BPF_MOV64_REG(BPF_REG_2, BPF_REG_10), \
        BPF_ALU64_IMM(BPF_ADD, BPF_REG_2, QUESTION + ASKED(TUPLE)), BPF_MOV64_IMM(BPF_REG_3, BYTES), \
        BPF_MOV64_IMM(BPF_REG_4, (int)BPF_F_CURRENT_NETNS), BPF_MOV64_IMM(BPF_REG_5, 0), BPF_CALL_FUNC(BPF_FUNC_sk_lookup_tcp)
#define FIND_EITHER(TUPLE, SIZE, OF_IPV6, DONE) \
    BPF_LDX_MEM(BPF_W, BPF_REG_1, BPF_REG_10, QUESTION + ASKED(SIZE)), \
        BPF_JMP_IMM(BPF_JEQ, BPF_REG_1, sizeof(((struct bpf_sock_tuple *)0)->ipv6), OF_IPV6), \
        FIND(TUPLE, sizeof(((struct bpf_sock_tuple *)0)->ipv4)), BPF_GOTO(DONE), BPF_AT(OF_IPV6), \
        FIND(TUPLE, sizeof(((struct bpf_sock_tuple *)0)->ipv6)), BPF_AT(DONE)
#define SAY(WORD) BPF_MOV64_IMM(BPF_REG_0, WORD), BPF_EXIT_INSN()
    const struct bpf_insn code[] = {
        BPF_MOV64_REG(BPF_REG_6, BPF_REG_1),
        BPF_MOV64_IMM(BPF_REG_2, 0),
        BPF_MOV64_REG(BPF_REG_3, BPF_REG_10),
        BPF_ALU64_IMM(BPF_ADD, BPF_REG_3, QUESTION),
        BPF_MOV64_IMM(BPF_REG_4, sizeof(struct lb_local_question)),
        BPF_CALL_FUNC(BPF_FUNC_skb_load_bytes),
        BPF_JMP_IMM(BPF_JNE, BPF_REG_0, 0, FAULT),

        /* our end of the connection to the backend */
        FIND_EITHER(ours, backend_bytes, OURS6, OURS_SOUGHT),
        BPF_JMP_IMM(BPF_JEQ, BPF_REG_0, 0, ELSEWHERE),
        AS_TCP(ELSEWHERE_HELD),
        KEEP_TCP(OUR_COPIED, LB_TCP_COPIED_SEQ),
        KEEP_TCP(OUR_WRITTEN, LB_TCP_WRITE_SEQ),
        KEEP_TCP(OUR_NEXT, LB_TCP_RCV_NXT),
        RELEASE(BPF_REG_8),

        /* the client's socket */
        FIND_EITHER(client, client_bytes, CLIENT6, CLIENT_SOUGHT),
        BPF_JMP_IMM(BPF_JEQ, BPF_REG_0, 0, ELSEWHERE),
        AS_TCP(ELSEWHERE_HELD),
        BPF_STX_MEM(BPF_DW, BPF_REG_10, BPF_REG_0, CLIENT),
        KEEP_TCP(COPIED, LB_TCP_COPIED_SEQ),
        KEEP_TCP(WRITTEN, LB_TCP_WRITE_SEQ),
        RELEASE(BPF_REG_8),

        /* the backend's: established, the other end of ours (it has received all that we wrote, and we nothing that it did not
         * write), and its owner never sleeps in it */
        FIND_EITHER(backend, backend_bytes, BACKEND6, BACKEND_SOUGHT),
        BPF_JMP_IMM(BPF_JEQ, BPF_REG_0, 0, ELSEWHERE),
        BPF_MOV64_REG(BPF_REG_8, BPF_REG_0),
        BPF_LDX_MEM(BPF_W, BPF_REG_1, BPF_REG_8, (int)offsetof(struct bpf_sock, state)),
        BPF_JMP_IMM(BPF_JNE, BPF_REG_1, ESTABLISHED, ELSEWHERE_HELD),
        BPF_MOV64_REG(BPF_REG_1, BPF_REG_8),
        BPF_CALL_FUNC(BPF_FUNC_skc_to_tcp_sock),
        BPF_JMP_IMM(BPF_JEQ, BPF_REG_0, 0, ELSEWHERE_HELD),
        BPF_LDX_TCP(BPF_REG_1, BPF_REG_0, LB_TCP_RCV_NXT),
        BPF_LDX_MEM(BPF_W, BPF_REG_2, BPF_REG_10, OUR_WRITTEN),
        BPF_JMP_REG(BPF_JNE, BPF_REG_1, BPF_REG_2, BUSY_HELD),
        BPF_LDX_TCP(BPF_REG_1, BPF_REG_0, LB_TCP_SND_UNA),
        BPF_LDX_TCP(BPF_REG_2, BPF_REG_0, LB_TCP_WRITE_SEQ),
        BPF_LDX_MEM(BPF_W, BPF_REG_3, BPF_REG_10, OUR_NEXT),
        BPF_ALU32_REG(BPF_SUB, BPF_REG_2, BPF_REG_1),
        BPF_ALU32_REG(BPF_SUB, BPF_REG_3, BPF_REG_1),
        BPF_JMP_REG(BPF_JGT, BPF_REG_3, BPF_REG_2, BUSY_HELD),
        BPF_LDX_FIELD(BPF_DW, BPF_REG_1, BPF_REG_0, LB_SOCK_SOCKET),
        BPF_JMP_IMM(BPF_JEQ, BPF_REG_1, 0, ELSEWHERE_HELD),
        BPF_LDX_FIELD(BPF_DW, BPF_REG_1, BPF_REG_1, LB_SOCKET_FILE),
        BPF_JMP_IMM(BPF_JEQ, BPF_REG_1, 0, ELSEWHERE_HELD),
        BPF_LDX_FIELD(BPF_W, BPF_REG_1, BPF_REG_1, LB_FILE_FLAGS),
        BPF_ALU64_IMM(BPF_AND, BPF_REG_1, O_NONBLOCK),
        BPF_JMP_IMM(BPF_JEQ, BPF_REG_1, 0, BLOCKING_HELD),

        /* the lanes */
        BPF_LDX_MEM(BPF_W, BPF_REG_9, BPF_REG_10, QUESTION + ASKED(slot)),
        BPF_ALU64_IMM(BPF_LSH, BPF_REG_9, 1),
        BPF_STX_MEM(BPF_W, BPF_REG_10, BPF_REG_9, LANE_INDEX),
        LOOK_UP(maps->lanes, LANE_INDEX),
        BPF_JMP_IMM(BPF_JEQ, BPF_REG_0, 0, FAULT_HELD),
        BPF_LDX_MEM(BPF_W, BPF_REG_1, BPF_REG_10, COPIED),
        BPF_STX_MEM(BPF_W, BPF_REG_0, BPF_REG_1, LANE(next)),
        BPF_LDX_MEM(BPF_W, BPF_REG_1, BPF_REG_10, OUR_WRITTEN),
        BPF_STX_MEM(BPF_W, BPF_REG_0, BPF_REG_1, LANE(due)),
        BPF_STX_MEM(BPF_W, BPF_REG_0, BPF_REG_1, LANE(mark)),
        BPF_ALU64_IMM(BPF_ADD, BPF_REG_9, 1),
        BPF_STX_MEM(BPF_W, BPF_REG_10, BPF_REG_9, LANE_INDEX),
        LOOK_UP(maps->lanes, LANE_INDEX),
        BPF_JMP_IMM(BPF_JEQ, BPF_REG_0, 0, FAULT_HELD),
        BPF_LDX_MEM(BPF_W, BPF_REG_1, BPF_REG_10, WRITTEN),
        BPF_LDX_MEM(BPF_W, BPF_REG_2, BPF_REG_10, OUR_COPIED),
        BPF_ALU32_REG(BPF_SUB, BPF_REG_1, BPF_REG_2),
        BPF_STX_MEM(BPF_W, BPF_REG_0, BPF_REG_1, LANE(base)),

        /* what is kept of it says where answers go; then it gets its slot */
        BPF_LD_MAP(BPF_REG_1, maps->answers),
        BPF_MOV64_REG(BPF_REG_2, BPF_REG_8),
        BPF_MOV64_IMM(BPF_REG_3, 0),
        BPF_MOV64_IMM(BPF_REG_4, BPF_SK_STORAGE_GET_F_CREATE),
        BPF_CALL_FUNC(BPF_FUNC_sk_storage_get),
        BPF_JMP_IMM(BPF_JEQ, BPF_REG_0, 0, FAULT_HELD),
        BPF_LDX_MEM(BPF_DW, BPF_REG_1, BPF_REG_10, CLIENT),
        BPF_STX_MEM(BPF_DW, BPF_REG_0, BPF_REG_1, ANSWER(client)),
        BPF_LDX_MEM(BPF_DW, BPF_REG_1, BPF_REG_10, QUESTION + ASKED(cookie)),
        BPF_STX_MEM(BPF_DW, BPF_REG_0, BPF_REG_1, ANSWER(cookie)),
        BPF_LDX_MEM(BPF_W, BPF_REG_1, BPF_REG_10, LANE_INDEX),
        BPF_STX_MEM(BPF_W, BPF_REG_0, BPF_REG_1, ANSWER(lane)),
        BPF_LD_MAP(BPF_REG_1, maps->backends),
        BPF_MOV64_REG(BPF_REG_2, BPF_REG_10),
        BPF_ALU64_IMM(BPF_ADD, BPF_REG_2, QUESTION + ASKED(slot)),
        BPF_MOV64_REG(BPF_REG_3, BPF_REG_8),
        BPF_MOV64_IMM(BPF_REG_4, BPF_ANY),
        BPF_CALL_FUNC(BPF_FUNC_map_update_elem),
        BPF_JMP_IMM(BPF_JNE, BPF_REG_0, 0, FAULT_HELD),
        RELEASE(BPF_REG_8),
        SAY(LB_LOCAL_ATTACHED),

        BPF_AT(ELSEWHERE_HELD),
        RELEASE(BPF_REG_8),
        BPF_AT(ELSEWHERE),
        SAY(LB_LOCAL_ELSEWHERE),
        BPF_AT(BUSY_HELD),
        RELEASE(BPF_REG_8),
        SAY(LB_LOCAL_BUSY),
        BPF_AT(BLOCKING_HELD),
        RELEASE(BPF_REG_8),
        SAY(LB_LOCAL_BLOCKING),
        BPF_AT(FAULT_HELD),
        RELEASE(BPF_REG_8),
        BPF_AT(FAULT),
        SAY(LB_LOCAL_FAULT),
    };
#undef FIND
#undef FIND_EITHER
#undef SAY
    return load_code("lb_find_local", BPF_PROG_TYPE_SCHED_CLS, 0, code, sizeof code, why, room);
}

/* Asked by user space of a slot: where are the bytes that were forwarded to its backend? r7: the psock, r9: the answer. */
int lb_local_load_look(const struct lb_local_maps *maps, char *why, size_t room)
{
    enum { WHICH = -8, WAITING = -16, FIRST = -24 };
    enum { GONE = 1, NOT_TCP, NONE_WAITS, ALL_READ };
    const struct bpf_insn code[] = {
        BPF_MOV64_IMM(BPF_REG_2, 0),
        BPF_MOV64_REG(BPF_REG_3, BPF_REG_10),
        BPF_ALU64_IMM(BPF_ADD, BPF_REG_3, WHICH),
        BPF_MOV64_IMM(BPF_REG_4, 4),
        BPF_CALL_FUNC(BPF_FUNC_skb_load_bytes),
        BPF_JMP_IMM(BPF_JNE, BPF_REG_0, 0, GONE),
        LOOK_UP(maps->backends, WHICH),
        BPF_JMP_IMM(BPF_JEQ, BPF_REG_0, 0, GONE),
        AS_TCP(NOT_TCP),
        BPF_LDX_FIELD(BPF_DW, BPF_REG_7, BPF_REG_0, LB_SOCK_USER_DATA),
        RELEASE(BPF_REG_8),
        BPF_ALU64_IMM(BPF_AND, BPF_REG_7, ~PSOCK_FLAGS),
        BPF_JMP_IMM(BPF_JEQ, BPF_REG_7, 0, GONE),
        BPF_MOV64_IMM(BPF_REG_9, LB_LOCAL_IS_THERE),

        BPF_MOV_FIELD(BPF_REG_3, LB_PSOCK_WAITING),
        BPF_ALU64_REG(BPF_ADD, BPF_REG_3, BPF_REG_7),
        PEEK(WAITING, 4, GONE),
        BPF_LDX_MEM(BPF_W, BPF_REG_1, BPF_REG_10, WAITING),
        BPF_JMP_IMM(BPF_JEQ, BPF_REG_1, 0, NONE_WAITS),
        BPF_ALU64_IMM(BPF_OR, BPF_REG_9, LB_LOCAL_WAITS),
        BPF_AT(NONE_WAITS),

        BPF_MOV_FIELD(BPF_REG_8, LB_PSOCK_QUEUE), /* an empty list's first is itself */
        BPF_ALU64_REG(BPF_ADD, BPF_REG_8, BPF_REG_7),
        BPF_MOV64_REG(BPF_REG_3, BPF_REG_8),
        PEEK(FIRST, 8, GONE),
        BPF_LDX_MEM(BPF_DW, BPF_REG_1, BPF_REG_10, FIRST),
        BPF_JMP_REG(BPF_JEQ, BPF_REG_1, BPF_REG_8, ALL_READ),
        BPF_ALU64_IMM(BPF_OR, BPF_REG_9, LB_LOCAL_UNREAD),
        BPF_AT(ALL_READ),
        BPF_MOV64_REG(BPF_REG_0, BPF_REG_9),
        BPF_EXIT_INSN(),

        BPF_AT(NOT_TCP),
        RELEASE(BPF_REG_8),
        BPF_AT(GONE),
        BPF_MOV64_IMM(BPF_REG_0, 0),
        BPF_EXIT_INSN(),
    };
    return load_code("lb_look_local", BPF_PROG_TYPE_SCHED_CLS, 0, code, sizeof code, why, room);
}

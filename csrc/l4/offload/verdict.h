/* What the verdict programs have in common, as pieces of their code. r6: skb, r7: lane, r9: bytes that are new. The names of labels, and
 * NOTE, the place on the stack of what user space is told, are those of the program that uses them. */
#ifndef LB_VERDICT_H
#define LB_VERDICT_H

#include "../../core/bpf_code.h"
#include "programs.h"

#define LANE(FIELD) (int)offsetof(struct lb_slot_lane, FIELD)
#define SLOT(FIELD) (int)offsetof(struct lb_slot, FIELD)
#define NOTED(FIELD) (int)offsetof(struct lb_slot_note, FIELD)
#define SKB(FIELD) (int)offsetof(struct __sk_buff, FIELD)

/* TCP's control block of an skb begins with its sequence number, and lies where a program finds cb[]. */
#define SKB_SEQ SKB(cb[0])

enum { PASS = 1, DROP = 0 }; /* enum sk_action */
/* Bytes: adjust_room takes less than 4096 at once; more than an skb holds is no retransmission. */
enum { PART_BITS = 11, PART = 1 << PART_BITS, MOST_OLD = 1 << 17 };

/* r0: what the map has by the key at that place of the stack. */
#define LOOK_UP(MAP, PLACE) \
    BPF_LD_MAP(BPF_REG_1, MAP), BPF_MOV64_REG(BPF_REG_2, BPF_REG_10), BPF_ALU64_IMM(BPF_ADD, BPF_REG_2, PLACE), \
        BPF_CALL_FUNC(BPF_FUNC_map_lookup_elem)

#define ADD_TO(FIELD, REG) \
    BPF_LDX_MEM(BPF_DW, BPF_REG_1, BPF_REG_7, LANE(FIELD)), BPF_ALU64_REG(BPF_ADD, BPF_REG_1, REG), \
        BPF_STX_MEM(BPF_DW, BPF_REG_7, BPF_REG_1, LANE(FIELD))

/* r9 bytes are about to be forwarded. */
#define COUNT_FORWARDED \
    BPF_CALL_FUNC(BPF_FUNC_ktime_get_coarse_ns), BPF_STX_MEM(BPF_DW, BPF_REG_7, BPF_REG_0, LANE(moved_ns)), \
        BPF_LDX_MEM(BPF_DW, BPF_REG_1, BPF_REG_7, LANE(messages)), BPF_ALU64_IMM(BPF_ADD, BPF_REG_1, 1), \
        BPF_STX_MEM(BPF_DW, BPF_REG_7, BPF_REG_1, LANE(messages)), ADD_TO(forwarded, BPF_REG_9)

/* r8 of the skb's r9 bytes are old: they are cut off, first what is over, then whole parts. Then r9 more are known. */
#define CUT_OLD \
    BPF_JMP_REG(BPF_JGE, BPF_REG_8, BPF_REG_9, BROKEN), BPF_JMP_IMM(BPF_JGT, BPF_REG_8, MOST_OLD, BROKEN), \
        BPF_ALU64_REG(BPF_SUB, BPF_REG_9, BPF_REG_8), BPF_MOV64_REG(BPF_REG_2, BPF_REG_8), \
        BPF_ALU64_IMM(BPF_AND, BPF_REG_2, PART - 1), BPF_ALU64_IMM(BPF_RSH, BPF_REG_8, PART_BITS), BPF_AT(CUT), \
        BPF_ALU64_IMM(BPF_NEG, BPF_REG_2, 0), BPF_MOV64_REG(BPF_REG_1, BPF_REG_6), BPF_MOV64_IMM(BPF_REG_3, 0), \
        BPF_MOV64_IMM(BPF_REG_4, 0), BPF_CALL_FUNC(BPF_FUNC_skb_adjust_room), BPF_JMP_IMM(BPF_JNE, BPF_REG_0, 0, BROKEN), \
        BPF_JMP_IMM(BPF_JEQ, BPF_REG_8, 0, FRESH), BPF_ALU64_IMM(BPF_SUB, BPF_REG_8, 1), BPF_MOV64_IMM(BPF_REG_2, PART), \
        BPF_GOTO(CUT), BPF_AT(FRESH), BPF_LDX_MEM(BPF_W, BPF_REG_1, BPF_REG_7, LANE(next)), \
        BPF_ALU64_REG(BPF_ADD, BPF_REG_1, BPF_REG_9), BPF_STX_MEM(BPF_W, BPF_REG_7, BPF_REG_1, LANE(next))

/* To user space, which is told if it may believe that nothing is there; it stores `taken`, then looks at `passed`. */
#define HAND_UP \
    BPF_MOV64_REG(BPF_REG_8, BPF_REG_9), BPF_FETCH_ADD(BPF_DW, BPF_REG_7, BPF_REG_8, LANE(passed)), \
        BPF_LDX_MEM(BPF_DW, BPF_REG_1, BPF_REG_7, LANE(taken)), BPF_MOV64_IMM(BPF_REG_9, PASS), \
        BPF_JMP_REG(BPF_JEQ, BPF_REG_1, BPF_REG_8, TELL), BPF_AT(NOT_OURS), BPF_MOV64_IMM(BPF_REG_0, PASS), BPF_EXIT_INSN(), \
        BPF_AT(NOTHING), BPF_MOV64_IMM(BPF_REG_0, DROP), BPF_EXIT_INSN()

/* The skb goes nowhere, and user space is told; by TELL it is told of one that it gets. */
#define TELL_BROKEN \
    BPF_MOV64_IMM(BPF_REG_9, DROP), BPF_AT(TELL), BPF_LD_MAP(BPF_REG_1, maps->notes), BPF_MOV64_REG(BPF_REG_2, BPF_REG_10), \
        BPF_ALU64_IMM(BPF_ADD, BPF_REG_2, NOTE), BPF_MOV64_IMM(BPF_REG_3, sizeof(struct lb_slot_note)), \
        BPF_MOV64_IMM(BPF_REG_4, 0), BPF_CALL_FUNC(BPF_FUNC_ringbuf_output), BPF_MOV64_REG(BPF_REG_0, BPF_REG_9), \
        BPF_EXIT_INSN()

#endif

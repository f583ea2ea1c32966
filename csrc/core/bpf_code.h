/* The code of BPF programs: arrays of instructions, written by hand.
 *
 * The macros are those of the kernel's own sources (linux/filter.h). Two things are added, which lb_bpf_load (bpf.h) resolves: jumps
 * name a label (`BPF_AT`), and a load may name a field of one of the kernel's structs (`BPF_LDX_FIELD`); where that lies in this
 * kernel, the kernel says by its BTF (CO-RE). */
#ifndef LB_BPF_CODE_H
#define LB_BPF_CODE_H

#include <linux/bpf.h>

#define BPF_INSN(CODE, DST, SRC, OFF, IMM) \
    ((struct bpf_insn){.code = (CODE), .dst_reg = (DST), .src_reg = (SRC), .off = (OFF), .imm = (IMM)})

#define BPF_MOV64_REG(DST, SRC) BPF_INSN(BPF_ALU64 | BPF_MOV | BPF_X, DST, SRC, 0, 0)
#define BPF_MOV64_IMM(DST, IMM) BPF_INSN(BPF_ALU64 | BPF_MOV | BPF_K, DST, 0, 0, IMM)
#define BPF_MOV32_REG(DST, SRC) BPF_INSN(BPF_ALU | BPF_MOV | BPF_X, DST, SRC, 0, 0)
#define BPF_ALU64_REG(OP, DST, SRC) BPF_INSN(BPF_ALU64 | (OP) | BPF_X, DST, SRC, 0, 0)
#define BPF_ALU64_IMM(OP, DST, IMM) BPF_INSN(BPF_ALU64 | (OP) | BPF_K, DST, 0, 0, IMM)
#define BPF_ALU32_REG(OP, DST, SRC) BPF_INSN(BPF_ALU | (OP) | BPF_X, DST, SRC, 0, 0)
#define BPF_LDX_MEM(SIZE, DST, SRC, OFF) BPF_INSN(BPF_LDX | BPF_MEM | (SIZE), DST, SRC, OFF, 0)
#define BPF_STX_MEM(SIZE, DST, SRC, OFF) BPF_INSN(BPF_STX | BPF_MEM | (SIZE), DST, SRC, OFF, 0)
#define BPF_ST_MEM(SIZE, DST, OFF, IMM) BPF_INSN(BPF_ST | BPF_MEM | (SIZE), DST, 0, OFF, IMM)
/* The memory grows by SRC, which becomes what was there; a full barrier. */
#define BPF_FETCH_ADD(SIZE, DST, SRC, OFF) BPF_INSN(BPF_STX | BPF_ATOMIC | (SIZE), DST, SRC, OFF, BPF_ADD | BPF_FETCH)
/* Two instructions: an address that stands for a map. */
#define BPF_LD_MAP(DST, FD) BPF_INSN(BPF_LD | BPF_DW | BPF_IMM, DST, BPF_PSEUDO_MAP_FD, 0, FD), BPF_INSN(0, 0, 0, 0, 0)
#define BPF_CALL_FUNC(FUNC) BPF_INSN(BPF_JMP | BPF_CALL, 0, 0, 0, FUNC)
#define BPF_EXIT_INSN() BPF_INSN(BPF_JMP | BPF_EXIT, 0, 0, 0, 0)

/* A place that jumps name: a number from 1 to LB_BPF_LABELS - 1. */
#define BPF_AT(LABEL) BPF_INSN(LB_BPF_LABEL, 0, 0, LABEL, 0)
#define BPF_GOTO(LABEL) BPF_INSN(BPF_JMP | BPF_JA, 0, 0, LABEL, 0)
#define BPF_JMP_IMM(OP, DST, IMM, LABEL) BPF_INSN(BPF_JMP | (OP) | BPF_K, DST, 0, LABEL, IMM)
#define BPF_JMP_REG(OP, DST, SRC, LABEL) BPF_INSN(BPF_JMP | (OP) | BPF_X, DST, SRC, LABEL, 0)

/* A field of the struct that SRC points to. A tcp_sock begins with a sock. */
#define BPF_LDX_FIELD(SIZE, DST, SRC, FIELD) BPF_INSN(BPF_LDX | BPF_MEM | (SIZE), DST, SRC, 0, 1 + (FIELD))
#define BPF_LDX_TCP(DST, SRC, FIELD) BPF_LDX_FIELD(BPF_W, DST, SRC, FIELD)
/* How far a field lies from the beginning of its struct. */
#define BPF_MOV_FIELD(DST, FIELD) BPF_INSN(BPF_ALU64 | BPF_MOV | BPF_K, DST, 0, LB_BPF_FIELD, FIELD)

enum {
    LB_BPF_LABEL = 0xff,   /* a code that no instruction has */
    LB_BPF_FIELD = 0x7fff, /* an offset that no such instruction has */
    LB_BPF_LABELS = 32,
    LB_BPF_MOST = 256, /* instructions of a program */
};

/* Fields of the kernel's structs, 32 bits wide where nothing else is said. */
enum lb_bpf_field {
    LB_TCP_COPIED_SEQ,
    LB_TCP_RCV_NXT,
    LB_TCP_WRITE_SEQ,
    LB_TCP_SND_UNA,
    LB_SOCK_RMEM_ALLOC,
    LB_SOCK_RCVBUF,
    LB_SOCK_SNDBUF,
    LB_SOCK_WMEM_QUEUED,
    LB_SOCK_STATE,     /* a byte */
    LB_SOCK_USER_DATA, /* a pointer, to the psock of a socket that sits in a map; its lowest three bits are flags */
    LB_SOCK_SOCKET,    /* a pointer */
    LB_SOCKET_FILE,    /* a pointer */
    LB_FILE_FLAGS,
    LB_PSOCK_WAITING, /* skbs that a kernel thread has still to put into ingress_msg */
    LB_PSOCK_QUEUE,   /* ingress_msg, a list_head: what a reader gets before anything else */
    LB_BPF_FIELDS
};

#endif

#include "bpf.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <linux/btf.h>

static int call(enum bpf_cmd command, union bpf_attr *attributes)
{
    long result;
    do
        result = syscall(SYS_bpf, command, attributes, sizeof *attributes);
    while (result < 0 && errno == EAGAIN && command == BPF_PROG_LOAD); /* the verifier was disturbed by a signal */
    return result < 0 ? -errno : (int)result;
}

static uint64_t address_of(const void *thing)
{
    return (uint64_t)(uintptr_t)thing;
}

static void copy_name(char *to, const char *name)
{
    (void)snprintf(to, BPF_OBJ_NAME_LEN, "%s", name);
}

/* --- what a program must say of the kernel's types ------------------------------------------------------------------------ */

/* The types that a program names: its own idea of two structs, and that it is a function. */
enum { TYPE_INT = 1, TYPE_TCP_SOCK = 2, TYPE_SOCK = 3, TYPE_PROTO = 4, TYPE_FUNC = 5 };

#define WORDS \
    "\0int\0tcp_sock\0sock\0main"                          /* 1, 5, 14, 19 */ \
    "\0copied_seq\0write_seq\0sk_wmem_queued\0sk_sndbuf"     /* 24, 35, 45, 60 */ \
    "\0" "0:0\0" "0:1"                                       /* 70, 74: the way to a struct's first field, and to its second */

/* Where they begin. */
enum {
    WORD_INT = 1, WORD_TCP_SOCK = 5, WORD_SOCK = 14, WORD_MAIN = 19,
    WORD_COPIED_SEQ = 24, WORD_WRITE_SEQ = 35, WORD_WMEM_QUEUED = 45, WORD_SNDBUF = 60,
    WORD_FIRST = 70, WORD_SECOND = 74,
};

static const struct types {
    struct btf_header head;
    struct btf_type number;
    uint32_t number_is;
    struct btf_type tcp_sock;
    struct btf_member of_tcp_sock[2];
    struct btf_type sock;
    struct btf_member of_sock[2];
    struct btf_type proto;
    struct btf_type function;
    char words[sizeof WORDS];
} types = {
    .head = {.magic = BTF_MAGIC, .version = BTF_VERSION, .hdr_len = sizeof(struct btf_header),
             .type_len = offsetof(struct types, words) - sizeof(struct btf_header),
             .str_off = offsetof(struct types, words) - sizeof(struct btf_header), .str_len = sizeof WORDS},
    .number = {.name_off = WORD_INT, .info = BTF_KIND_INT << 24, .size = 4},
    .number_is = BTF_INT_SIGNED << 24 | 32,
    .tcp_sock = {.name_off = WORD_TCP_SOCK, .info = BTF_KIND_STRUCT << 24 | 2, .size = 8},
    .of_tcp_sock = {{WORD_COPIED_SEQ, TYPE_INT, 0}, {WORD_WRITE_SEQ, TYPE_INT, 32}},
    .sock = {.name_off = WORD_SOCK, .info = BTF_KIND_STRUCT << 24 | 2, .size = 8},
    .of_sock = {{WORD_WMEM_QUEUED, TYPE_INT, 0}, {WORD_SNDBUF, TYPE_INT, 32}},
    .proto = {.info = BTF_KIND_FUNC_PROTO << 24, .type = TYPE_INT},
    .function = {.name_off = WORD_MAIN, .info = BTF_KIND_FUNC << 24, .type = TYPE_PROTO},
    .words = WORDS,
};

/* Each field: its struct, and which of that struct's it is. */
static const struct {
    uint8_t type;
    uint8_t second;
} fields[] = {
    [LB_TCP_COPIED_SEQ] = {TYPE_TCP_SOCK, 0},
    [LB_TCP_WRITE_SEQ] = {TYPE_TCP_SOCK, 1},
    [LB_SOCK_WMEM_QUEUED] = {TYPE_SOCK, 0},
    [LB_SOCK_SNDBUF] = {TYPE_SOCK, 1},
};

static int load_types(void)
{
    union bpf_attr attributes = {.btf = address_of(&types), .btf_size = offsetof(struct types, words) + sizeof WORDS};
    return call(BPF_BTF_LOAD, &attributes);
}

/* --- programs --------------------------------------------------------------------------------------------------------------- */

struct assembly {
    struct bpf_insn code[LB_BPF_MOST];
    uint32_t count;
    struct bpf_core_relo field[LB_BPF_MOST]; /* loads whose offset the kernel fills in */
    uint32_t fields;
};

static int jumps(const struct bpf_insn *insn)
{
    unsigned class = BPF_CLASS(insn->code), what = BPF_OP(insn->code);
    return insn->code != LB_BPF_LABEL && (class == BPF_JMP || class == BPF_JMP32) && what != BPF_CALL && what != BPF_EXIT;
}

static void note_field(struct assembly *assembly, struct bpf_insn *insn)
{
    if (BPF_CLASS(insn->code) != BPF_LDX || !insn->imm)
        return;
    uint32_t index = (uint32_t)insn->imm - 1, second = fields[index].second;
    assembly->field[assembly->fields++] = (struct bpf_core_relo){
        .insn_off = assembly->count * (uint32_t)sizeof *insn,
        .type_id = fields[index].type,
        .access_str_off = second ? WORD_SECOND : WORD_FIRST,
        .kind = BPF_CORE_FIELD_BYTE_OFFSET,
    };
    insn->imm = 0;
    insn->off = second ? 4 : 0; /* as in our own idea of it; the kernel makes sure of that */
}

/* Labels go, and jumps become distances. */
static int assemble(struct assembly *assembly, const struct lb_bpf_program *program)
{
    uint32_t place[LB_BPF_LABELS] = {0};
    for (uint32_t i = 0; i < program->count; i++) {
        struct bpf_insn insn = program->code[i];
        if (insn.code == LB_BPF_LABEL) {
            place[insn.off] = assembly->count;
            continue;
        }
        if (assembly->count == LB_BPF_MOST)
            return -E2BIG;
        note_field(assembly, &insn);
        assembly->code[assembly->count++] = insn;
    }
    for (uint32_t i = 0; i < assembly->count; i++)
        if (jumps(&assembly->code[i]))
            assembly->code[i].off = (int16_t)((int)place[assembly->code[i].off] - (int)i - 1);
    return 0;
}

/* The verifier's complaint is the line before its statistics. */
static void last_words(char *log, char *why, size_t room)
{
    char *end = strstr(log, "\nprocessed ");
    if (end)
        *end = 0;
    char *line = strrchr(log, '\n');
    if (*log)
        (void)snprintf(why, room, "%s", line ? line + 1 : log);
}

enum { LOG_BYTES = 1 << 16 };

static int load(const struct lb_bpf_program *program, const struct assembly *assembly, int type_fd, char *log)
{
    const struct bpf_func_info whole = {.insn_off = 0, .type_id = TYPE_FUNC};
    union bpf_attr attributes = {
        .prog_type = program->type,
        .expected_attach_type = program->attach,
        .insns = address_of(assembly->code),
        .insn_cnt = assembly->count,
        .license = address_of("Dual MIT/GPL"), /* which helpers ask for; it is said of the program in the kernel only */
        .log_level = log ? 1 : 0,
        .log_buf = address_of(log),
        .log_size = log ? LOG_BYTES : 0,
        .prog_btf_fd = (uint32_t)type_fd,
        .func_info = address_of(&whole),
        .func_info_rec_size = sizeof whole,
        .func_info_cnt = 1,
        .core_relos = address_of(assembly->field),
        .core_relo_rec_size = sizeof *assembly->field,
        .core_relo_cnt = assembly->fields,
    };
    copy_name(attributes.prog_name, program->name);
    return call(BPF_PROG_LOAD, &attributes);
}

int lb_bpf_load(const struct lb_bpf_program *program, char *why, size_t room)
{
    struct assembly *assembly = calloc(1, sizeof *assembly);
    char *log = calloc(1, LOG_BYTES);
    int error = assembly && log ? assemble(assembly, program) : -ENOMEM;
    int type_fd = error ? error : load_types();
    int fd = type_fd < 0 ? type_fd : load(program, assembly, type_fd, NULL);
    if (fd < 0) {
        (void)snprintf(why, room, "%s", strerror(-fd));
        if (type_fd >= 0 && load(program, assembly, type_fd, log) < 0) /* once more, for the log: it is dear */
            last_words(log, why, room);
    }
    if (type_fd >= 0)
        close(type_fd);
    free(log);
    free(assembly);
    return fd;
}

int lb_bpf_attach(int program, int target, uint32_t attach)
{
    union bpf_attr attributes = {.target_fd = (uint32_t)target, .attach_bpf_fd = (uint32_t)program, .attach_type = attach};
    return call(BPF_PROG_ATTACH, &attributes);
}

/* --- maps ------------------------------------------------------------------------------------------------------------------- */

int lb_bpf_map_create(const struct lb_bpf_map *map)
{
    union bpf_attr attributes = {
        .map_type = map->type,
        .key_size = map->key_bytes,
        .value_size = map->value_bytes,
        .max_entries = map->entries,
        .map_flags = map->flags,
    };
    copy_name(attributes.map_name, map->name);
    return call(BPF_MAP_CREATE, &attributes);
}

int lb_bpf_put(int map, const void *key, const void *value)
{
    union bpf_attr attributes = {.map_fd = (uint32_t)map, .key = address_of(key), .value = address_of(value), .flags = BPF_ANY};
    return call(BPF_MAP_UPDATE_ELEM, &attributes);
}

int lb_bpf_get(int map, const void *key, void *value)
{
    union bpf_attr attributes = {.map_fd = (uint32_t)map, .key = address_of(key), .value = address_of(value)};
    return call(BPF_MAP_LOOKUP_ELEM, &attributes);
}

int lb_bpf_remove(int map, const void *key)
{
    union bpf_attr attributes = {.map_fd = (uint32_t)map, .key = address_of(key)};
    return call(BPF_MAP_DELETE_ELEM, &attributes);
}

#include "bpf.h"
#include "bpf_code.h"

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

/* The types that a program names: our own idea of each struct, and that the program is a function. They are numbered from 1, in the
 * order in which `describe` puts them. */
enum {
    TYPE_INT = 1,
    TYPE_POINTER,
    TYPE_TCP_SOCK,
    TYPE_ATOMIC,
    TYPE_BACKLOG,
    TYPE_BYTE,
    TYPE_COMMON,
    TYPE_SOCK,
    TYPE_SOCKET,
    TYPE_FILE,
    TYPE_SKB_HEAD,
    TYPE_PSOCK,
    TYPE_PROTO,
    TYPE_FUNC,
    TYPE_STORED, /* what a map keeps of a socket */
};

/* Where each field lies in our own idea of its struct; way: members by their number, from the struct itself. */
static const struct {
    uint8_t type;
    uint8_t offset;
    const char *way;
} fields[LB_BPF_FIELDS] = {
    [LB_TCP_COPIED_SEQ] = {TYPE_TCP_SOCK, 0, "0:0"},   [LB_TCP_RCV_NXT] = {TYPE_TCP_SOCK, 4, "0:1"},
    [LB_TCP_WRITE_SEQ] = {TYPE_TCP_SOCK, 8, "0:2"},    [LB_TCP_SND_UNA] = {TYPE_TCP_SOCK, 12, "0:3"},
    [LB_SOCK_USER_DATA] = {TYPE_SOCK, 0, "0:0"},       [LB_SOCK_SOCKET] = {TYPE_SOCK, 8, "0:1"},
    [LB_SOCK_RMEM_ALLOC] = {TYPE_SOCK, 16, "0:2:0:0"}, [LB_SOCK_RCVBUF] = {TYPE_SOCK, 20, "0:3"},
    [LB_SOCK_SNDBUF] = {TYPE_SOCK, 24, "0:4"},         [LB_SOCK_WMEM_QUEUED] = {TYPE_SOCK, 28, "0:5"},
    [LB_SOCK_STATE] = {TYPE_SOCK, 32, "0:6:0"},        [LB_SOCKET_FILE] = {TYPE_SOCKET, 0, "0:0"},
    [LB_FILE_FLAGS] = {TYPE_FILE, 0, "0:0"},           [LB_PSOCK_WAITING] = {TYPE_PSOCK, 8, "0:0:1"},
    [LB_PSOCK_QUEUE] = {TYPE_PSOCK, 16, "0:1"},
};

struct types {
    uint32_t at[160]; /* one after another, as BTF has them */
    uint32_t used;
    char words[512];
    uint32_t words_used;
    uint32_t way[LB_BPF_FIELDS]; /* words */
};

static uint32_t put_word(struct types *types, const char *text)
{
    uint32_t at = types->words_used;
    size_t bytes = strlen(text) + 1;
    memcpy(types->words + at, text, bytes);
    types->words_used += (uint32_t)bytes;
    return at;
}

static void put(struct types *types, uint32_t number)
{
    types->at[types->used++] = number;
}

/* word: 0, or the first of `words`, is none. size: of a struct; else the number of the type that it speaks of. */
static void put_type(struct types *types, uint32_t word, uint32_t kind, uint32_t members, uint32_t size)
{
    put(types, word);
    put(types, kind << 24 | members);
    put(types, size);
}

static void put_struct(struct types *types, const char *name, uint32_t members, uint32_t bytes)
{
    put_type(types, name ? put_word(types, name) : 0, BTF_KIND_STRUCT, members, bytes);
}

static void put_member(struct types *types, const char *name, uint32_t type, uint32_t offset)
{
    put(types, put_word(types, name));
    put(types, type);
    put(types, offset * 8);
}

static void describe_sock(struct types *types)
{
    put_struct(types, NULL, 1, 4);
    put_member(types, "counter", TYPE_INT, 0);
    put_struct(types, NULL, 1, 4);
    put_member(types, "rmem_alloc", TYPE_ATOMIC, 0);
    put_type(types, put_word(types, "char"), BTF_KIND_INT, 0, 1);
    put(types, BTF_INT_CHAR << 24 | 8);
    put_struct(types, "sock_common", 1, 1);
    put_member(types, "skc_state", TYPE_BYTE, 0);
    put_struct(types, "sock", 7, 40);
    put_member(types, "sk_user_data", TYPE_POINTER, 0);
    put_member(types, "sk_socket", TYPE_POINTER, 8);
    put_member(types, "sk_backlog", TYPE_BACKLOG, 16);
    put_member(types, "sk_rcvbuf", TYPE_INT, 20);
    put_member(types, "sk_sndbuf", TYPE_INT, 24);
    put_member(types, "sk_wmem_queued", TYPE_INT, 28);
    put_member(types, "__sk_common", TYPE_COMMON, 32);
    put_struct(types, "socket", 1, 8);
    put_member(types, "file", TYPE_POINTER, 0);
    put_struct(types, "file", 1, 4);
    put_member(types, "f_flags", TYPE_INT, 0);
}

static void describe(struct types *types)
{
    (void)put_word(types, "");
    put_type(types, put_word(types, "int"), BTF_KIND_INT, 0, 4);
    put(types, BTF_INT_SIGNED << 24 | 32);
    put_type(types, 0, BTF_KIND_PTR, 0, 0);
    put_struct(types, "tcp_sock", 4, 16);
    put_member(types, "copied_seq", TYPE_INT, 0);
    put_member(types, "rcv_nxt", TYPE_INT, 4);
    put_member(types, "write_seq", TYPE_INT, 8);
    put_member(types, "snd_una", TYPE_INT, 12);
    describe_sock(types);
    put_struct(types, "sk_buff_head", 2, 16);
    put_member(types, "next", TYPE_POINTER, 0);
    put_member(types, "qlen", TYPE_INT, 8);
    put_struct(types, "sk_psock", 2, 32);
    put_member(types, "ingress_skb", TYPE_SKB_HEAD, 0);
    put_member(types, "ingress_msg", TYPE_SKB_HEAD, 16); /* a list_head: how far it is, is all that is asked for */
    put_type(types, 0, BTF_KIND_FUNC_PROTO, 0, TYPE_INT);
    put_type(types, put_word(types, "main"), BTF_KIND_FUNC, 0, TYPE_PROTO);
    for (uint32_t i = 0; i < LB_BPF_FIELDS; i++)
        types->way[i] = put_word(types, fields[i].way);
}

/* stored: bytes of TYPE_STORED; 0: there is none. */
static int load_types(struct types *types, uint32_t stored)
{
    struct {
        struct btf_header head;
        char bytes[sizeof types->at + sizeof types->words];
    } whole = {.head = {.magic = BTF_MAGIC, .version = BTF_VERSION, .hdr_len = sizeof whole.head}};
    describe(types);
    if (stored)
        put_struct(types, "stored", 0, stored);
    whole.head.type_len = whole.head.str_off = types->used * 4;
    whole.head.str_len = types->words_used;
    memcpy(whole.bytes, types->at, whole.head.type_len);
    memcpy(whole.bytes + whole.head.str_off, types->words, whole.head.str_len);
    union bpf_attr attributes = {.btf = address_of(&whole),
                                 .btf_size = (uint32_t)sizeof whole.head + whole.head.str_off + whole.head.str_len};
    return call(BPF_BTF_LOAD, &attributes);
}

/* --- programs --------------------------------------------------------------------------------------------------------------- */

struct assembly {
    struct bpf_insn code[LB_BPF_MOST];
    uint32_t count;
    struct bpf_core_relo field[LB_BPF_MOST]; /* loads whose offset the kernel fills in */
    uint32_t fields;
    struct types types;
};

static int jumps(const struct bpf_insn *insn)
{
    unsigned class = BPF_CLASS(insn->code), what = BPF_OP(insn->code);
    return insn->code != LB_BPF_LABEL && (class == BPF_JMP || class == BPF_JMP32) && what != BPF_CALL && what != BPF_EXIT;
}

static void note_field(struct assembly *assembly, struct bpf_insn *insn)
{
    int loads = BPF_CLASS(insn->code) == BPF_LDX && insn->imm;
    int moves = insn->code == (BPF_ALU64 | BPF_MOV | BPF_K) && insn->off == LB_BPF_FIELD;
    if (!loads && !moves)
        return;
    uint32_t index = (uint32_t)insn->imm - (loads ? 1 : 0);
    assembly->field[assembly->fields++] = (struct bpf_core_relo){
        .insn_off = assembly->count * (uint32_t)sizeof *insn,
        .type_id = fields[index].type,
        .access_str_off = assembly->types.way[index],
        .kind = BPF_CORE_FIELD_BYTE_OFFSET,
    };
    insn->imm = loads ? 0 : fields[index].offset; /* as in our own idea of it; the kernel makes sure of that */
    insn->off = loads ? fields[index].offset : 0;
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
    int type_fd = assembly && log ? load_types(&assembly->types, 0) : -ENOMEM;
    int error = type_fd < 0 ? type_fd : assemble(assembly, program);
    int fd = error ? error : load(program, assembly, type_fd, NULL);
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

/* What is kept of sockets has types. */
static int load_map_types(const struct lb_bpf_map *map)
{
    struct types *types = calloc(1, sizeof *types);
    int fd = types ? load_types(types, map->value_bytes) : -ENOMEM;
    free(types);
    return fd;
}

int lb_bpf_map_create(const struct lb_bpf_map *map)
{
    int typed = map->type == BPF_MAP_TYPE_SK_STORAGE, type_fd = typed ? load_map_types(map) : 0;
    if (type_fd < 0)
        return type_fd;
    union bpf_attr attributes = {
        .map_type = map->type,
        .key_size = map->key_bytes,
        .value_size = map->value_bytes,
        .max_entries = map->entries,
        .map_flags = map->flags,
        .btf_fd = (uint32_t)type_fd,
        .btf_key_type_id = typed ? TYPE_INT : 0,
        .btf_value_type_id = typed ? TYPE_STORED : 0,
    };
    copy_name(attributes.map_name, map->name);
    int fd = call(BPF_MAP_CREATE, &attributes);
    if (typed)
        close(type_fd);
    return fd;
}

int lb_bpf_freeze(int map)
{
    union bpf_attr attributes = {.map_fd = (uint32_t)map};
    return call(BPF_MAP_FREEZE, &attributes);
}

int lb_bpf_put(int map, const void *key, const void *value)
{
    union bpf_attr attributes = {.map_fd = (uint32_t)map, .key = address_of(key), .value = address_of(value), .flags = BPF_ANY};
    return call(BPF_MAP_UPDATE_ELEM, &attributes);
}

int lb_bpf_remove(int map, const void *key)
{
    union bpf_attr attributes = {.map_fd = (uint32_t)map, .key = address_of(key)};
    return call(BPF_MAP_DELETE_ELEM, &attributes);
}

int lb_bpf_run(int program, const void *packet, uint32_t bytes)
{
    union bpf_attr attributes = {
        .test = {.prog_fd = (uint32_t)program, .data_in = address_of(packet), .data_size_in = bytes, .repeat = 1}};
    int error = call(BPF_PROG_TEST_RUN, &attributes);
    return error ? error : (int)attributes.test.retval;
}

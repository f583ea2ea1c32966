#include "local.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "../../core/bpf.h"
#include "../../core/net.h"

static int create_maps(struct lb_local_maps *maps, uint32_t slots)
{
    const struct {
        int *fd;
        struct lb_bpf_map map;
    } wanted[] = {
        {&maps->clients, {"lb_clients", BPF_MAP_TYPE_SOCKHASH, sizeof(uint64_t), sizeof(uint64_t), slots, 0}},
        {&maps->backends, {"lb_backends", BPF_MAP_TYPE_SOCKMAP, sizeof(uint32_t), sizeof(uint64_t), slots, 0}},
        {&maps->answers,
         {"lb_answers", BPF_MAP_TYPE_SK_STORAGE, sizeof(int), sizeof(struct lb_local_answer), 0, BPF_F_NO_PREALLOC}},
    };
    for (size_t i = 0; i < sizeof wanted / sizeof *wanted; i++)
        if ((*wanted[i].fd = lb_bpf_map_create(&wanted[i].map)) < 0)
            return *wanted[i].fd;
    return lb_bpf_freeze(maps->answers);
}

static int load_all(struct lb_local *local, char *why, size_t room)
{
    const struct {
        int *fd;
        int (*load)(const struct lb_local_maps *maps, char *why, size_t room);
    } wanted[] = {
        {&local->verdict, lb_local_load_verdict},
        {&local->answer, lb_local_load_answer},
        {&local->find, lb_local_load_find},
        {&local->look, lb_local_load_look},
    };
    for (size_t i = 0; i < sizeof wanted / sizeof *wanted; i++)
        if ((*wanted[i].fd = wanted[i].load(&local->maps, why, room)) < 0)
            return *wanted[i].fd;
    return 0;
}

static int attach(const struct lb_local *local)
{
    int error = lb_bpf_attach(local->verdict, local->maps.clients, BPF_SK_SKB_STREAM_VERDICT);
    return error ? error : lb_bpf_attach(local->answer, local->maps.backends, BPF_SK_MSG_VERDICT);
}

int lb_local_open(struct lb_local *local, const struct lb_offload_maps *shared, uint32_t slots, char *why, size_t room)
{
    *local = (struct lb_local){.maps = {.slots = shared->slots,
                                        .lanes = shared->lanes,
                                        .notes = shared->notes,
                                        .clients = -1,
                                        .backends = -1,
                                        .answers = -1},
                               .verdict = -1,
                               .answer = -1,
                               .find = -1,
                               .look = -1};
    int error = create_maps(&local->maps, slots);
    if (error)
        (void)snprintf(why, room, "no maps: %s", strerror(-error));
    else
        error = load_all(local, why, room);
    if (!error && (error = attach(local)) < 0)
        (void)snprintf(why, room, "%s", strerror(-error));
    if (error)
        lb_local_close(local);
    return error;
}

void lb_local_close(struct lb_local *local)
{
    const int mine[] = {local->verdict,      local->answer,        local->find,        local->look,
                        local->maps.clients, local->maps.backends, local->maps.answers};
    for (size_t i = 0; i < sizeof mine / sizeof *mine; i++)
        if (mine[i] >= 0)
            close(mine[i]);
}

/* --- asking ----------------------------------------------------------------------------------------------------------------- */

static uint32_t in_ipv4(const union lb_address *address)
{
    uint8_t ip[16];
    uint32_t last;
    lb_net_as_v6(address, ip);
    memcpy(&last, ip + 12, sizeof last);
    return last;
}

/* A socket's addresses, as in packets that it receives, or that it sends: bytes of the tuple, or -errno. */
static int ask_tuple(int fd, int receives, struct bpf_sock_tuple *tuple)
{
    union lb_address from, to;
    socklen_t from_size = sizeof from, to_size = sizeof to;
    int error = receives ? getpeername(fd, &from.any, &from_size) || getsockname(fd, &to.any, &to_size)
                         : getsockname(fd, &from.any, &from_size) || getpeername(fd, &to.any, &to_size);
    if (error)
        return -errno;
    if (from.any.sa_family == AF_INET || IN6_IS_ADDR_V4MAPPED(&from.v6.sin6_addr)) {
        tuple->ipv4.saddr = in_ipv4(&from);
        tuple->ipv4.daddr = in_ipv4(&to);
        tuple->ipv4.sport = htons(lb_net_port(&from));
        tuple->ipv4.dport = htons(lb_net_port(&to));
        return sizeof tuple->ipv4;
    }
    memcpy(tuple->ipv6.saddr, &from.v6.sin6_addr, sizeof tuple->ipv6.saddr);
    memcpy(tuple->ipv6.daddr, &to.v6.sin6_addr, sizeof tuple->ipv6.daddr);
    tuple->ipv6.sport = from.v6.sin6_port;
    tuple->ipv6.dport = to.v6.sin6_port;
    return sizeof tuple->ipv6;
}

int lb_local_find(const struct lb_local *local, uint32_t slot, int client, int backend)
{
    struct lb_local_question question = {.slot = slot};
    int client_bytes = ask_tuple(client, 1, &question.client);
    int ours_bytes = ask_tuple(backend, 1, &question.ours);
    int backend_bytes = ask_tuple(backend, 0, &question.backend);
    socklen_t size = sizeof question.cookie;
    if (client_bytes < 0 || ours_bytes < 0 || backend_bytes < 0 ||
        getsockopt(client, SOL_SOCKET, SO_COOKIE, &question.cookie, &size) < 0)
        return LB_LOCAL_ELSEWHERE;
    question.client_bytes = (uint32_t)client_bytes;
    question.backend_bytes = (uint32_t)backend_bytes;
    return lb_bpf_run(local->find, &question, sizeof question);
}

int lb_local_look(const struct lb_local *local, uint32_t slot)
{
    const uint32_t packet[4] = {slot}; /* the shortest that there may be has 14 bytes */
    int said = lb_bpf_run(local->look, packet, sizeof packet);
    return said < 0 ? 0 : said;
}

void lb_local_forget(const struct lb_local *local, uint32_t slot)
{
    (void)lb_bpf_remove(local->maps.backends, &slot);
}

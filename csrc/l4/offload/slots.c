#include "slots.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "../../core/bpf.h"

enum { NOTE_BYTES = 64 }; /* of the ring, a slot: two notes of each direction, with their heads */

/* --- opening and closing -------------------------------------------------------------------------------------------------- */

/* Before 6.6 a kernel thread took an skb off its list while it was still at it, which then could not be seen, and races of sockets with
 * their maps were mended, for which a trial is too short. */
enum { MAJOR = 6, MINOR = 6 };

static int is_old_kernel(char *why, size_t room)
{
    struct utsname name;
    int major = 0, minor = 0;
    if (uname(&name) == 0 && sscanf(name.release, "%d.%d", &major, &minor) == 2 &&
        (major > MAJOR || (major == MAJOR && minor >= MINOR)))
        return 0;
    (void)snprintf(why, room, "it takes Linux %d.%d or newer", MAJOR, MINOR);
    return 1;
}

static size_t ring_size(uint32_t slots)
{
    size_t bytes = (size_t)sysconf(_SC_PAGESIZE);
    while (bytes < (size_t)slots * NOTE_BYTES)
        bytes *= 2;
    return bytes;
}

static size_t lanes_size(const struct lb_offload *offload)
{
    size_t bytes = (size_t)offload->slots * 2 * sizeof(struct lb_slot_lane);
    return (bytes + offload->page - 1) / offload->page * offload->page;
}

static int create_maps(struct lb_offload *offload)
{
    uint32_t sockets = 2 * offload->slots;
    const struct {
        int *fd;
        struct lb_bpf_map map;
    } wanted[] = {
        {&offload->maps.sockets, {"lb_sockets", BPF_MAP_TYPE_SOCKHASH, sizeof(uint64_t), sizeof(int), sockets, 0}},
        {&offload->maps.slots, {"lb_slots", BPF_MAP_TYPE_HASH, sizeof(uint64_t), sizeof(struct lb_slot), sockets, 0}},
        {&offload->maps.lanes,
         {"lb_lanes", BPF_MAP_TYPE_ARRAY, sizeof(uint32_t), sizeof(struct lb_slot_lane), sockets, BPF_F_MMAPABLE}},
        {&offload->maps.notes, {"lb_notes", BPF_MAP_TYPE_RINGBUF, 0, 0, (uint32_t)offload->ring_bytes, 0}},
    };
    for (size_t i = 0; i < sizeof wanted / sizeof *wanted; i++)
        if ((*wanted[i].fd = lb_bpf_map_create(&wanted[i].map)) < 0)
            return *wanted[i].fd;
    return 0;
}

static void *map_memory(int fd, size_t bytes, int rights, off_t offset)
{
    void *memory = mmap(NULL, bytes, rights, MAP_SHARED, fd, offset);
    return memory == MAP_FAILED ? NULL : memory;
}

static int map_all(struct lb_offload *offload)
{
    offload->lanes = map_memory(offload->maps.lanes, lanes_size(offload), PROT_READ | PROT_WRITE, 0);
    offload->ring_read = map_memory(offload->maps.notes, offload->page, PROT_READ | PROT_WRITE, 0);
    offload->ring_end = map_memory(offload->maps.notes, offload->page + 2 * offload->ring_bytes, PROT_READ, (off_t)offload->page);
    return offload->lanes && offload->ring_read && offload->ring_end ? 0 : -errno;
}

static void close_if_open(int fd)
{
    if (fd >= 0)
        close(fd);
}

static void unmap(void *memory, size_t bytes)
{
    if (memory)
        munmap(memory, bytes);
}

void lb_offload_close(struct lb_offload *offload)
{
    if (!offload)
        return;
    unmap(offload->lanes, lanes_size(offload));
    unmap(offload->ring_read, offload->page);
    unmap(offload->ring_end, offload->page + 2 * offload->ring_bytes);
    if (offload->which & LB_OFFLOAD_LOCAL)
        lb_local_close(&offload->local);
    close_if_open(offload->program);
    close_if_open(offload->maps.notes);
    close_if_open(offload->maps.lanes);
    close_if_open(offload->maps.slots);
    close_if_open(offload->maps.sockets);
    free(offload->at);
    free(offload);
}

static int fill(struct lb_offload *offload, uint32_t which, char *why, size_t room)
{
    if (is_old_kernel(why, room))
        return -ENOSYS;
    int error = create_maps(offload);
    if (error) {
        (void)snprintf(why, room, "no maps: %s", strerror(-error));
        return error;
    }
    if ((offload->program = lb_offload_load_verdict(&offload->maps, why, room)) < 0)
        return offload->program;
    if (which & LB_OFFLOAD_LOCAL) {
        error = lb_local_open(&offload->local, &offload->maps, offload->slots, why, room);
        if (error)
            return error;
    }
    offload->which = which;
    error = lb_bpf_attach(offload->program, offload->maps.sockets, BPF_SK_SKB_STREAM_VERDICT);
    if (!error)
        error = map_all(offload);
    if (!error && !(offload->at = calloc(offload->slots, sizeof *offload->at)))
        error = -ENOMEM;
    if (error)
        (void)snprintf(why, room, "%s", strerror(-error));
    return error;
}

int lb_offload_open(struct lb_offload **offload, uint32_t slots, uint32_t which, char *why, size_t room)
{
    struct lb_offload *made = calloc(1, sizeof *made);
    if (!made)
        return -ENOMEM;
    made->slots = slots < LB_OFFLOAD_SLOTS ? slots : LB_OFFLOAD_SLOTS;
    made->page = (size_t)sysconf(_SC_PAGESIZE);
    made->ring_bytes = ring_size(made->slots);
    made->maps = (struct lb_offload_maps){-1, -1, -1, -1};
    made->program = -1;
    made->free_first = made->free_last = made->waiting = LB_NO_SLOT;
    int error = fill(made, which, why, room);
    if (error) {
        lb_offload_close(made);
        made = NULL;
    }
    *offload = made;
    return error;
}

uint32_t lb_offload_forwards(const struct lb_offload *offload)
{
    return offload->which;
}

int lb_offload_descriptor(const struct lb_offload *offload)
{
    return offload->maps.notes;
}

/* --- slots ---------------------------------------------------------------------------------------------------------------- */

uint32_t lb_slot_take(struct lb_offload *offload)
{
    uint32_t index = offload->free_first;
    if (offload->touched < offload->slots) {
        index = offload->touched++;
    } else if (index != LB_NO_SLOT) {
        offload->free_first = offload->at[index].next;
        if (offload->free_first == LB_NO_SLOT)
            offload->free_last = LB_NO_SLOT;
    }
    if (index != LB_NO_SLOT)
        offload->used++;
    return index;
}

void lb_slot_give(struct lb_offload *offload, uint32_t index)
{
    offload->at[index].taken = 0;
    offload->at[index].next = LB_NO_SLOT;
    if (offload->free_last == LB_NO_SLOT)
        offload->free_first = index;
    else
        offload->at[offload->free_last].next = index;
    offload->free_last = index;
    offload->used--;
}

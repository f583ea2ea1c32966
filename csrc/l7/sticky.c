#include "sticky.h"

#include <string.h>

#include "../core/siphash.h"
#include "../table/policy.h"
#include "syntax.h"

static uint64_t name_of(const struct lb_shm *shm, uint32_t pool, uint32_t backend)
{
    const struct lb_backend_row *row = &shm->backends[backend];
    return lb_siphash(shm->pools[pool].sticky_key, row->address, strnlen((const char *)row->address, sizeof row->address));
}

static uint64_t signature_of(const struct lb_shm *shm, uint32_t pool, uint64_t name)
{
    uint64_t signed_part[2] = {name, UINT64_C(0x737469636b79)}; /* apart from the hash of an address: another length */
    return lb_siphash(shm->pools[pool].sticky_key, signed_part, sizeof signed_part);
}

static char *put_hex(char *to, uint64_t value, int digits)
{
    for (int shift = 4 * (digits - 1); shift >= 0; shift -= 4)
        *to++ = "0123456789abcdef"[value >> shift & 15];
    return to;
}

static int get_hex(const char *from, int digits, uint64_t *value)
{
    *value = 0;
    for (int i = 0; i < digits; i++) {
        int digit = lb_hex(from[i]);
        if (digit < 0)
            return 0;
        *value = *value << 4 | (uint64_t)digit;
    }
    return 1;
}

void lb_sticky_write(const struct lb_shm *shm, uint32_t pool, uint32_t backend, char value[LB_STICKY_BYTES])
{
    uint64_t name = name_of(shm, pool, backend);
    char *to = put_hex(value, backend, 8);
    *to++ = '.';
    to = put_hex(to, name, 16);
    *to++ = '.';
    put_hex(to, signature_of(shm, pool, name), 16);
}

static int is_named(const struct lb_shm *shm, uint32_t pool, uint32_t backend, uint64_t name)
{
    const struct lb_backend_row *row = &shm->backends[backend];
    return row->pool == pool && row->state != LB_FREE && row->state != LB_GONE && name_of(shm, pool, backend) == name;
}

uint32_t lb_sticky_read(const struct lb_shm *shm, uint32_t pool, const char *value, uint32_t length)
{
    uint64_t hint, name, signature;
    if (length != LB_STICKY_BYTES || value[8] != '.' || value[25] != '.' || !get_hex(value, 8, &hint) ||
        !get_hex(value + 9, 16, &name) || !get_hex(value + 26, 16, &signature) ||
        (signature ^ signature_of(shm, pool, name)) != 0)
        return LB_NONE;
    uint32_t used = shm->head->rows_used;
    if (hint < used && is_named(shm, pool, (uint32_t)hint, name))
        return (uint32_t)hint;
    for (uint32_t i = 0; i < used; i++) /* after a restart of the balancer */
        if (is_named(shm, pool, i, name))
            return i;
    return LB_NONE;
}

#include "guard_rows.h"

#include "request_log.h"
#include "twin.h"

static int text_ok(const struct lb_routes_head *head, uint32_t at, uint32_t length)
{
    return at <= head->text_bytes && length <= head->text_bytes - at;
}

/* Each behind its length. */
static int names_ok(const char *name, uint32_t length)
{
    const char *end = name + length;
    while (name < end)
        name += 1 + (uint8_t)*name;
    return name == end;
}

static int decides_ok(const struct lb_routes_head *head, const char *text, const struct lb_guard_row *guard)
{
    return text_ok(head, guard->target, guard->target_length) && text_ok(head, guard->granted, guard->granted_length) &&
           text_ok(head, guard->cache_by, guard->cache_by_length) && guard->granted_length <= LB_GRANTED_NAMES &&
           names_ok(text + guard->granted, guard->granted_length) && names_ok(text + guard->cache_by, guard->cache_by_length);
}

int lb_guard_row_ok(const struct lb_routes_head *head, const char *text, const struct lb_guard_row *guard)
{
    uint32_t networks = head->networks;
    return guard->network <= networks && guard->allowed_count <= networks - guard->network &&
           guard->denied_count <= networks - guard->network - guard->allowed_count &&
           text_ok(head, guard->key_headers, guard->key_headers_length) &&
           text_ok(head, guard->identity, guard->identity_length) && guard->identity_length < LB_USER_BYTES &&
           decides_ok(head, text, guard);
}

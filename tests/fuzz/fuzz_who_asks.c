/* libFuzzer's target for who asks: the client's address out of X-Forwarded-For, and credentials. The first byte says what the rest is the
 * value of. */
#include <stdlib.h>
#include <string.h>

#include "l7/client_address.h"
#include "l7/credentials.h"
#include "l7/route_index.h"

enum { MOST = 4096 };

static const char names[] = "authorizationx-api-key";

static struct lb_l7 l7;
static struct lb_worker_context ctx;
static struct lb_listener_row listener = {.network_count = 1, .networks = {{.ip = {[10] = 0xff, 0xff, 10}, .bits = 104}}};
static struct lb_http_client client = {.trusted = 1, .ip = {[10] = 0xff, 0xff, 10}};
static struct lb_exchange exchange = {.client = &client};
static struct lb_message asked;
static struct lb_routes_head head;
static struct entry entries[2];
static struct lb_routes routes = {.head = &head, .text = "authorization x-api-key", .digests = {entries, 1}};
static const struct lb_guard_row guard = {.keys = 1, .logins = 2, .key_headers_length = 23};

static void demand(int condition)
{
    if (!condition)
        abort();
}

/* The same address is told twice; what is told with a proxy of ours behind it is the same, too. */
static void read_addresses(char *bytes, uint32_t count)
{
    static const char proxy[] = "10.0.0.1";
    uint8_t ip[16], again[16];
    ctx.shm.listeners = &listener;
    l7.ctx = &ctx;
    l7.message.head.field_count = 1;
    l7.message.head.fields[0] = (struct lb_field){.value = {0, count}, .known = LB_X_FORWARDED_FOR};
    l7.message.seen = (__typeof__(l7.message.seen))1 << LB_X_FORWARDED_FOR;
    int found = lb_http_client_address(&l7, &exchange, bytes, ip);
    char *more = malloc(count + sizeof proxy);
    demand(more != NULL);
    memcpy(more, bytes, count);
    memcpy(more + count, proxy, sizeof proxy);
    l7.message.head.field_count = 2;
    l7.message.head.fields[1] = (struct lb_field){.value = {count, sizeof proxy - 1}, .known = LB_X_FORWARDED_FOR};
    int found_again = lb_http_client_address(&l7, &exchange, more, again);
    demand(found_again <= found && (!found_again || memcmp(ip, again, 16) == 0)); /* one hop more may be one too many */
    free(more);
}

/* Nobody's are known: none may be found. */
static void read_credentials(char *bytes, uint32_t count, int is_key)
{
    uint32_t length = is_key ? 9 : 13;
    char *line = malloc(length + count + 1);
    demand(line != NULL);
    memcpy(line, is_key ? names + 13 : names, length);
    memcpy(line + length, bytes, count);
    line = realloc(line, length + count);
    demand(line != NULL);
    asked.head.field_count = 1;
    asked.head.fields[0] = (struct lb_field){.name = {0, length}, .value = {length, count}};
    demand(lb_credentials_find(&routes, &guard, &asked, line).row == NULL);
    free(line);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 2 || size > MOST)
        return 0;
    uint32_t count = (uint32_t)size - 1;
    char *bytes = malloc(count); /* of its own length, so that AddressSanitizer sees each read too far */
    demand(bytes != NULL);
    memcpy(bytes, data + 1, count);
    switch (data[0] % 3) {
    case 0:
        read_addresses(bytes, count);
        break;
    case 1:
        read_credentials(bytes, count, 0);
        break;
    default:
        read_credentials(bytes, count, 1);
        break;
    }
    free(bytes);
    return 0;
}

/* Who asks: the client's address out of X-Forwarded-For, and credentials out of Authorization and the headers of API keys; each cut at every
 * place, with nothing behind it. */
#include <arpa/inet.h>
#include <string.h>

#include "check.h"
#include "core/ip.h"
#include "core/sha256.h"
#include "edge.h"
#include "l7/authorization.h"
#include "l7/client_address.h"
#include "l7/credentials.h"
#include "l7/route_index.h"

enum { BEHIND_IPV4 = 12 };

static struct lb_l7 l7;
static struct lb_worker_context ctx;
static struct lb_listener_row listener;
static struct lb_http_client client = {.trusted = 1};
static struct lb_exchange exchange = {.client = &client};

/* Proxies are those of 10.0.0.0/8; the last of them sends. */
static void open_client(void)
{
    ctx.shm.listeners = &listener;
    l7.ctx = &ctx;
    listener.network_count = 1;
    memset(listener.networks[0].ip, 0, 16);
    listener.networks[0].ip[10] = listener.networks[0].ip[11] = 0xff;
    listener.networks[0].ip[12] = 10;
    listener.networks[0].bits = 104;
    memset(client.ip, 0, 16);
    client.ip[10] = client.ip[11] = 0xff;
    client.ip[12] = 10;
    client.ip[15] = 9;
}

static void bring(struct lb_message *message, uint16_t known, uint32_t at, size_t length)
{
    struct lb_field *field = &message->head.fields[message->head.field_count++];
    *field = (struct lb_field){.value = {at, (uint32_t)length}, .known = known};
    message->seen |= (__typeof__(message->seen))1 << known;
}

/* The address that this value tells, as the value of one field that ends where memory does: 1, 0: none can be told. */
static int told(const char *value, size_t length, uint8_t ip[16])
{
    struct edge edge;
    char *bytes = (char *)copied_to_the_edge(&edge, value, length);
    memset(&l7.message.head, 0, sizeof l7.message.head);
    l7.message.seen = 0;
    bring(&l7.message, LB_X_FORWARDED_FOR, 0, length);
    int found = lb_http_client_address(&l7, &exchange, bytes, ip);
    leave_the_edge(&edge);
    return found;
}

static int tells(const char *value, const char *address)
{
    uint8_t ip[16], wanted[16];
    struct in_addr v4;
    if (!told(value, strlen(value), ip))
        return !address;
    if (!address)
        return 0;
    if (inet_pton(AF_INET6, address, wanted) != 1) {
        CHECK(inet_pton(AF_INET, address, &v4) == 1);
        lb_ip_from_v4(wanted, &v4);
    }
    return memcmp(ip, wanted, 16) == 0;
}

static void last_address_of_no_proxy_asks(void)
{
    CHECK(tells("192.0.2.7", "192.0.2.7"));
    CHECK(tells("198.51.100.1, 192.0.2.7", "192.0.2.7"));
    CHECK(tells("198.51.100.1 ,\t192.0.2.7\t, 10.1.2.3", "192.0.2.7"));
    CHECK(tells("10.0.0.1, 10.0.0.2", "10.0.0.1"));
    CHECK(tells("192.0.2.7:4711,10.0.0.1", "192.0.2.7"));
    CHECK(tells("[2001:db8::1]:443, 10.0.0.1", "2001:db8::1"));
    CHECK(tells("[2001:db8::1]", "2001:db8::1"));
    CHECK(tells("2001:db8::1", "2001:db8::1"));
    CHECK(tells("::ffff:10.0.0.1", "10.0.0.1"));
}

static void what_is_no_address_tells_nobody(void)
{
    static const char *const bad[] = {
        "",          ",",  "unknown", "192.0.2.7,",         "192.0.2",       "_x", "[::1", "[::1]x", "192.0.2.7, x, 10.0.0.1",
        "1.2.3.4.5", "[]", "[]:1",    "10.0.0.1,,10.0.0.2", "\"192.0.2.7\"", ":80"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        CHECK(tells(bad[i], NULL));
    char longer[64];
    memset(longer, '1', sizeof longer);
    uint8_t ip[16];
    CHECK(!told(longer, sizeof longer, ip));
    CHECK(!told("192.0.2.7\0", 10, ip) || memcmp(ip + BEHIND_IPV4, "\300\0\2\7", 4) == 0);
}

static void several_fields_are_one_list(void)
{
    static const char bytes[] = "192.0.2.710.0.0.1";
    uint8_t ip[16];
    memset(&l7.message.head, 0, sizeof l7.message.head);
    l7.message.seen = 0;
    bring(&l7.message, LB_X_FORWARDED_FOR, 0, 9);
    bring(&l7.message, LB_X_FORWARDED_FOR, 9, 8);
    CHECK(lb_http_client_address(&l7, &exchange, bytes, ip));
    CHECK(memcmp(ip + BEHIND_IPV4, "\300\0\2\7", 4) == 0);
}

/* Addresses of one request that are looked at: a list without end costs no more, and tells nobody. */
static void long_lists_tell_nobody(void)
{
    char list[10 * 100];
    for (size_t i = 0; i < sizeof list; i += 10)
        memcpy(list + i, "10.0.0.1, ", 10);
    uint8_t ip[16];
    CHECK(!told(list, sizeof list - 2, ip));
    CHECK(told(list, 10 * 64 - 2, ip));
}

static void lists_cut_anywhere(void)
{
    static const char list[] = "198.51.100.1 , [2001:db8::1]:443,\t10.1.2.3:80, 10.0.0.1";
    uint8_t ip[16];
    for (size_t from = 0; from < sizeof list; from++)
        for (size_t to = from; to < sizeof list; to++)
            if (told(list + from, to - from, ip))
                CHECK(to > from);
}

/* --- credentials ---------------------------------------------------------------------------------------------------- */

static struct lb_routes_head head;
static struct lb_credential_row rows[2];
static struct entry entries[8];
static struct lb_routes routes;
static struct lb_guard_row guard = {.keys = 1, .logins = 2, .key_headers_length = 23};

static void digest_of(uint32_t set, const uint8_t *secret, uint8_t *digest)
{
    const uint8_t number[4] = {(uint8_t)set};
    struct lb_sha256 sha;
    lb_sha256_open(&sha);
    lb_sha256_add(&sha, head.salt, sizeof head.salt);
    lb_sha256_add(&sha, number, sizeof number);
    lb_sha256_add(&sha, secret, LB_SHA256_BYTES);
    lb_sha256_close(&sha, digest);
}

static void secret_of(const void *first, size_t count, const void *rest, size_t more, uint8_t *secret)
{
    struct lb_sha256 sha;
    lb_sha256_open(&sha);
    lb_sha256_add(&sha, first, count);
    lb_sha256_add(&sha, rest, more);
    lb_sha256_close(&sha, secret);
}

static void put(uint32_t at, const uint8_t *digest)
{
    memcpy(rows[at].digest, digest, LB_SHA256_BYTES);
    *index_find(&routes.digests, digest_hash(digest)) = (struct entry){digest_hash(digest), at};
}

/* A key "sk-1", and a user "me" with the password "p:w". */
static void open_credentials(void)
{
    uint8_t secret[LB_SHA256_BYTES], digest[LB_SHA256_BYTES];
    routes = (struct lb_routes){.head = &head, .credentials = rows, .text = "authorization x-api-key"};
    routes.digests = (struct index){entries, sizeof entries / sizeof *entries - 1};
    secret_of("sk-1", 4, "", 0, secret);
    digest_of(1, secret, digest);
    put(0, digest);
    secret_of("p:w", 3, "", 0, secret);
    secret_of("me\0", 3, secret, sizeof secret, secret);
    digest_of(2, secret, digest);
    put(1, digest);
}

/* Whose these are: 0, 1, or -1: nobody's. The value ends where memory does. */
static int whose(const char *name, const char *value, size_t length, int twice)
{
    static struct lb_message message;
    struct edge edge;
    size_t named = strlen(name);
    char *bytes = (char *)at_the_edge(&edge, named + length);
    memcpy(bytes, name, named);
    memcpy(bytes + named, value, length);
    memset(&message, 0, sizeof message);
    for (int i = 0; i <= twice; i++)
        message.head.fields[message.head.field_count++] =
            (struct lb_field){.name = {0, (uint32_t)named}, .value = {(uint32_t)named, (uint32_t)length}};
    struct lb_credential found = lb_credentials_find(&routes, &guard, &message, bytes);
    leave_the_edge(&edge);
    return found.row ? (int)(found.row - rows) : -1;
}

static int is(const char *name, const char *value)
{
    return whose(name, value, strlen(value), 0);
}

static void credentials_are_known_by_what_they_say(void)
{
    CHECK(is("Authorization", "Bearer sk-1") == 0);
    CHECK(is("authorization", "bEARER   sk-1") == 0);
    CHECK(is("X-Api-Key", "sk-1") == 0);
    CHECK(is("Authorization", "Basic bWU6cDp3") == 1);
    CHECK(is("Authorization", "basic  bWU6cDp3") == 1);
}

static void others_are_nobodys(void)
{
    static const char *const bad[] = {"",
                                      "Bearer",
                                      "Bearer ",
                                      "Bearersk-1",
                                      "sk-1",
                                      "Bearer sk-1x",
                                      "Basic",
                                      "Basic ",
                                      "Basic bWU",
                                      "Basic bWU6cDp3!",
                                      "Basic bWVwdw==",
                                      "Bearer\tsk-1",
                                      "Basic Og==",
                                      "Digest sk-1",
                                      "Basic bWU6cDp3bWU6cDp3"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        CHECK(is("Authorization", bad[i]) == -1);
    CHECK(is("X-Api-Key", "Bearer sk-1") == -1);
    CHECK(is("X-Api-Key", "bWU6cDp3") == -1);
    CHECK(is("X-Api-Ke", "sk-1") == -1);
    CHECK(whose("X-Api-Key", "sk-1", 4, 1) == -1); /* of several, none counts */
    CHECK(whose("Authorization", "Bearer sk-1", 11, 1) == -1);
}

static void credentials_cut_anywhere(void)
{
    static const char *const whole[] = {"Bearer sk-1", "Basic bWU6cDp3", "  Bearer  sk-1  "};
    for (size_t i = 0; i < sizeof whole / sizeof *whole; i++)
        for (size_t from = 0; from <= strlen(whole[i]); from++)
            for (size_t to = from; to <= strlen(whole[i]); to++) {
                int found = whose("Authorization", whole[i] + from, to - from, 0);
                CHECK(found == -1 || (to - from >= 11 && (whole[i][from] == 'B')));
            }
}

/* Beyond the bound of a key, and of a login: nothing is copied, nobody is found. */
static void long_ones_are_nobodys(void)
{
    static char longer[4096] = "Basic ";
    memset(longer + 6, 'A', sizeof longer - 6);
    for (size_t length = 500; length < 800; length++)
        CHECK(whose("Authorization", longer, length, 0) == -1);
    CHECK(whose("Authorization", longer, sizeof longer, 0) == -1);
    memcpy(longer, "Bearer", 6);
    longer[6] = ' ';
    for (size_t length = 500; length < 800; length++)
        CHECK(whose("Authorization", longer, length, 0) == -1);
}

int main(void)
{
    open_client();
    open_credentials();
    RUN(last_address_of_no_proxy_asks);
    RUN(what_is_no_address_tells_nobody);
    RUN(several_fields_are_one_list);
    RUN(long_lists_tell_nobody);
    RUN(lists_cut_anywhere);
    RUN(credentials_are_known_by_what_they_say);
    RUN(others_are_nobodys);
    RUN(credentials_cut_anywhere);
    RUN(long_ones_are_nobodys);
    return 0;
}

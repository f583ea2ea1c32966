/* TLS: names, bundles, tickets, and two ends that talk over sockets of which every piece comes late or not at all. */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "check.h"
#include "core/slab.h"
#include "tls/names.h"
#include "tls/resumption.h"
#include "tls/handshake.h"
#include "tls/stream.h"

/* Made for this test, good until 2126: Test.example, *.wild.example. */
static const char chain[] = "-----BEGIN CERTIFICATE-----\n"
                            "MIIBpzCCAUygAwIBAgIUQGsi/qtF9izP52fE0rKaKYdeI7AwCgYIKoZIzj0EAwIw\n"
                            "DzENMAsGA1UEAwwEdGVzdDAgFw0yNjExMjUxNDE3NTRaGA8yMTI2MTEwMTE0MTc1\n"
                            "NFowDzENMAsGA1UEAwwEdGVzdDBZMBMGByqGSM49AgEGCCqGSM49AwEHA0IABOIO\n"
                            "d0RAOqkwJdoUnFj2JKbEq/MbV2KmuCqVJXtReW7fPlmPySyl1ilpS+WG3fNe5L24\n"
                            "uzdM7LwXakuxteKuCpijgYMwgYAwHQYDVR0OBBYEFDtBwT6mNDWhAh0uSAaOxMds\n"
                            "4ELpMB8GA1UdIwQYMBaAFDtBwT6mNDWhAh0uSAaOxMds4ELpMA8GA1UdEwEB/wQF\n"
                            "MAMBAf8wLQYDVR0RBCYwJIIMVGVzdC5leGFtcGxlgg4qLndpbGQuZXhhbXBsZYcE\n"
                            "fwAAATAKBggqhkjOPQQDAgNJADBGAiEA3ARF9HBwBYLzj7eNJKumfUMQkL/+GTlt\n"
                            "zdajJfWmjM4CIQDzaKRIlDeL4yGBkbk7jw03PTLm7yKqrpDNRvVT4t0LQw==\n"
                            "-----END CERTIFICATE-----\n";
static const char key[] = "-----BEGIN PRIVATE KEY-----\n"
                          "MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgkOUxIm5O6b7RZYmp\n"
                          "RBNAtaxp45NkdnPAGII4M2Q+AlqhRANCAATiDndEQDqpMCXaFJxY9iSmxKvzG1di\n"
                          "prgqlSV7UXlu3z5Zj8kspdYpaUvlht3zXuS9uLs3TOy8F2pLsbXirgqY\n"
                          "-----END PRIVATE KEY-----\n";

/* --- names ---------------------------------------------------------------------------------------------------------- */

/* Owners of exact names as digits, a star, owners of wildcards. */
static const char *owners(const struct lb_tls_names *names, const char *name)
{
    static char text[32];
    struct lb_tls_match exact, wild;
    int at = 0;
    lb_tls_names_match(names, name, &exact, &wild);
    for (uint32_t i = 0; i < exact.count; i++)
        text[at++] = (char)('0' + names->at[exact.first + i].owner);
    text[at++] = '*';
    for (uint32_t i = 0; i < wild.count; i++)
        text[at++] = (char)('0' + names->at[wild.first + i].owner);
    text[at] = 0;
    return text;
}

static void names_are_found_exactly_and_by_wildcard(void)
{
    struct lb_tls_names names = {0};
    CHECK(strcmp(owners(&names, "a.test"), "*") == 0);
    CHECK(lb_tls_names_add(&names, "a.test", 4) == 0 && lb_tls_names_add(&names, "*.test", 2) == 0);
    CHECK(lb_tls_names_add(&names, "*.deep.a.test", 3) == 0 && lb_tls_names_add(&names, "a.test", 1) == 0);
    CHECK(lb_tls_names_add(&names, "*.test", 5) == 0);
    lb_tls_names_sort(&names);
    CHECK(strcmp(owners(&names, "a.test"), "14*25") == 0);
    CHECK(strcmp(owners(&names, "A.TEST."), "14*25") == 0);
    CHECK(strcmp(owners(&names, "b.test"), "*25") == 0);
    CHECK(strcmp(owners(&names, "c.b.test"), "*") == 0); /* a star is one label */
    CHECK(strcmp(owners(&names, "x.deep.a.test"), "*3") == 0);
    static const char *const nobody[] = {"test", ".test", "*.test", "", ".", "zzz.zzz"};
    for (unsigned i = 0; i < sizeof nobody / sizeof *nobody; i++)
        CHECK(strcmp(owners(&names, nobody[i]), "*") == 0);
    lb_tls_names_free(&names);
}

/* --- bundles -------------------------------------------------------------------------------------------------------- */

struct made {
    union {
        struct lb_tls_bundle head;
        char bytes[8192];
    };
    uint32_t end;
};

static struct lb_tls_text put(struct made *made, const char *bytes, size_t count)
{
    struct lb_tls_text text = {made->end, (uint32_t)count};
    memcpy(made->bytes + made->end, bytes, count);
    made->bytes[made->end + count] = 0;
    made->end += (uint32_t)count + 1;
    return text;
}

static void make(struct made *made, enum lb_tls_kind kind, uint32_t verify)
{
    memset(made, 0, sizeof *made);
    made->head = (struct lb_tls_bundle){.layout = LB_TLS_LAYOUT, .kind = kind, .verify = verify, .min_version = 0x0303};
    made->head.certificates_at = sizeof made->head;
    made->end = sizeof made->head + sizeof(struct lb_tls_certificate);
    made->head.library = put(made, "libssl.so.3", 11);
    if (kind == LB_TLS_LISTENER) {
        struct lb_tls_certificate one = {.chain = put(made, chain, strlen(chain)), .key = put(made, key, strlen(key))};
        made->head.certificates = 1;
        memcpy(made->bytes + made->head.certificates_at, &one, sizeof one);
        made->head.alpn = put(made, "\x02h2\x08http/1.1", 12);
    } else {
        made->head.trusted = put(made, chain, strlen(chain));
        made->head.name = put(made, "test.example", 12);
    }
    made->head.bytes = made->end;
}

static struct lb_tls_context *opened(const struct made *made)
{
    char why[200] = "";
    struct lb_tls_context *context;
    int error = lb_tls_context_open(&context, made->bytes, made->end, why, sizeof why);
    if (error)
        fprintf(stderr, "%s\n", why);
    CHECK(error == 0);
    return context;
}

static void a_certificate_says_who_it_is(void)
{
    struct made made;
    make(&made, LB_TLS_LISTENER, LB_TLS_VERIFY_OFF);
    struct lb_tls_context *context = opened(&made);
    CHECK(context->own_count == 1 && context->own[0].names_bytes == 13 + 15);
    CHECK(strcmp(context->own[0].names, "test.example") == 0 && strcmp(context->own[0].names + 13, "*.wild.example") == 0);
    CHECK(context->own[0].expires_s > 4900000000);
    CHECK(strcmp(owners(&context->names, "a.wild.example"), "*0") == 0);
    lb_tls_context_release(context);
}

static void a_damaged_bundle_is_refused(void)
{
    struct made made, damaged;
    struct lb_tls_context *context;
    char why[200];
    make(&made, LB_TLS_LISTENER, LB_TLS_VERIFY_OFF);
    for (uint32_t count = 0; count < made.end; count++)
        CHECK(lb_tls_context_open(&context, made.bytes, count, why, sizeof why) == -EINVAL);
    for (uint32_t at = 0; at < sizeof made.head + sizeof(struct lb_tls_certificate); at++) /* lengths and offsets gone wild */
        for (int bit = 0; bit < 8; bit++) {
            struct lb_bundle bundle;
            damaged = made;
            damaged.bytes[at] = (char)(damaged.bytes[at] ^ 1 << bit);
            (void)!lb_bundle_read(&bundle, damaged.bytes, damaged.end);
        }
}

static void a_strange_key_is_refused_by_name(void)
{
    struct made made;
    struct lb_tls_context *context;
    char why[200], *byte;
    make(&made, LB_TLS_LISTENER, LB_TLS_VERIFY_OFF);
    byte = strstr(made.bytes + sizeof made.head + 64, "BEGIN PRIVATE KEY");
    CHECK(!byte); /* texts are NUL-ended: look for it at its place */
    struct lb_tls_certificate *one = (struct lb_tls_certificate *)(void *)(made.bytes + made.head.certificates_at);
    made.bytes[one->key.at] = 'x';
    CHECK(lb_tls_context_open(&context, made.bytes, made.end, why, sizeof why) == -EINVAL);
    CHECK(strncmp(why, "certificate 1: its key cannot be read", 37) == 0);
    one->chain.length = 0;
    made.bytes[one->key.at] = '-';
    CHECK(lb_tls_context_open(&context, made.bytes, made.end, why, sizeof why) == -EINVAL);
    CHECK(strcmp(why, "certificate 1: no certificate is there") == 0);
}

/* --- two ends ------------------------------------------------------------------------------------------------------- */

/* client <-> [0] | [1] <-> (the wire, by hand) <-> [2] | [3] <-> server */
struct wire {
    struct lb_slab slab;
    struct lb_tls_shared shared;
    struct lb_tls_resumption places[2];
    struct lb_tls_context *server_rules, *client_rules;
    struct lb_tls *server, *client;
    int fd[4];
};

static void open_rules(struct wire *wire, uint32_t verify)
{
    struct made made;
    memset(wire, 0, sizeof *wire);
    CHECK(lb_slab_open(&wire->slab, sizeof(struct lb_tls), 4) == 0);
    wire->shared =
        (struct lb_tls_shared){.slab = &wire->slab, .resumption = wire->places, .backends = 2, .gather = malloc(LB_TLS_RECORD)};
    make(&made, LB_TLS_LISTENER, LB_TLS_VERIFY_OFF);
    wire->server_rules = opened(&made);
    make(&made, LB_TLS_POOL, verify);
    wire->client_rules = opened(&made);
    lb_tickets_make_up(&wire->shared.keys);
}

static void connect_ends(struct wire *wire, const char *name)
{
    CHECK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, wire->fd) == 0);
    CHECK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, wire->fd + 2) == 0);
    CHECK((wire->client = lb_tls_connect(&wire->shared, wire->client_rules, wire->fd[0], name, 1, 7)));
    CHECK((wire->server = lb_tls_accept(&wire->shared, wire->server_rules, wire->fd[3])));
}

static void close_ends(struct wire *wire)
{
    lb_tls_free(wire->client);
    lb_tls_free(wire->server);
    for (int i = 0; i < 4; i++)
        close(wire->fd[i]);
}

static void close_rules(struct wire *wire)
{
    lb_resumption_drop(&wire->places[1]);
    lb_tls_context_release(wire->server_rules);
    lb_tls_context_release(wire->client_rules);
    free(wire->shared.gather);
    CHECK(wire->slab.used == 0);
    lb_slab_close(&wire->slab);
}

/* Carry at most so many bytes each way, and tell the ends; how many went. */
static size_t carry(struct wire *wire, size_t most)
{
    static char bytes[65536];
    size_t moved = 0;
    for (int way = 0; way < 2; way++) {
        ssize_t got = recv(wire->fd[way ? 2 : 1], bytes, most < sizeof bytes ? most : sizeof bytes, 0);
        if (got <= 0)
            continue;
        CHECK(send(wire->fd[way ? 1 : 2], bytes, (size_t)got, 0) == got);
        moved += (size_t)got;
        (void)lb_tls_note(way ? wire->client : wire->server, 1, 1, 0);
        wire->shared.turn++;
    }
    return moved;
}

static void shake(struct wire *wire, size_t piece)
{
    enum lb_tls_step client = LB_TLS_WAIT, server = LB_TLS_WAIT;
    for (int i = 0; i < 200000 && (client == LB_TLS_WAIT || server == LB_TLS_WAIT); i++) {
        if (client == LB_TLS_WAIT)
            client = lb_tls_shake(wire->client);
        if (server == LB_TLS_WAIT)
            server = lb_tls_shake(wire->server);
        (void)carry(wire, piece);
    }
    CHECK(client == LB_TLS_DONE && server == LB_TLS_DONE);
}

static void expect(struct wire *wire, struct lb_tls *from, struct lb_tls *to, const char *text, size_t piece)
{
    char got[256];
    size_t length = strlen(text), have = 0;
    int more;
    CHECK(lb_tls_send_parts(from, text, 3, text + 3, length - 3) == (ssize_t)length);
    while (have < length) {
        ssize_t count = lb_tls_recv(to, got + have, sizeof got - have, &more);
        CHECK(count > 0 || (count < 0 && errno == EAGAIN));
        CHECK(!more);
        have += count > 0 ? (size_t)count : 0;
        (void)carry(wire, piece);
    }
    CHECK(have == length && memcmp(got, text, length) == 0);
}

static void every_piece_may_come_alone(void)
{
    struct wire wire;
    static const size_t pieces[] = {1, 2, 3, 5, 17, 100, 1000, 65536};
    open_rules(&wire, LB_TLS_VERIFY_REQUIRED);
    for (size_t i = 0; i < sizeof pieces / sizeof *pieces; i++) {
        lb_resumption_drop(&wire.places[1]);
        connect_ends(&wire, NULL);
        shake(&wire, pieces[i]);
        CHECK(!lb_tls_resumed(wire.client) && !lb_tls_resumed(wire.server));
        CHECK(strcmp(lb_tls_version(wire.server), "TLSv1.3") == 0 && strcmp(lb_tls_name(wire.server), "test.example") == 0);
        expect(&wire, wire.client, wire.server, "to the server", pieces[i]);
        expect(&wire, wire.server, wire.client, "and back again", pieces[i]);
        close_ends(&wire);
    }
    close_rules(&wire);
}

static void a_ticket_is_good_until_its_key_is_gone(void)
{
    struct wire wire;
    open_rules(&wire, LB_TLS_VERIFY_REQUIRED);
    for (int i = 0; i < 4; i++) {
        connect_ends(&wire, NULL);
        shake(&wire, 65536);
        CHECK(lb_tls_resumed(wire.server) == (i == 1 || i == 2));
        CHECK(lb_tls_resumed(wire.client) == (i == 1 || i == 2));
        expect(&wire, wire.server, wire.client, "tickets come before this", 65536);
        close_ends(&wire);
        struct lb_ticket_keys *keys = &wire.shared.keys;
        if (i == 1) { /* a new key, and the old one still known */
            struct lb_ticket_key old = keys->keys[0];
            lb_tickets_make_up(keys);
            keys->keys[1] = old;
            keys->count = 2;
        } else if (i == 2) {
            lb_tickets_make_up(keys);
        }
    }
    close_rules(&wire);
}

static void a_session_is_not_resumed_with_another_tenant(void)
{
    struct wire wire;
    open_rules(&wire, LB_TLS_VERIFY_REQUIRED);
    connect_ends(&wire, NULL);
    shake(&wire, 65536);
    expect(&wire, wire.server, wire.client, "tickets come before this", 65536);
    CHECK(wire.places[1].session && lb_resumption_find(&wire.places[1], wire.client_rules, 7));
    close_ends(&wire);
    CHECK(!lb_resumption_find(&wire.places[1], wire.client_rules, 8) && !wire.places[1].session);
    close_rules(&wire);
}

static void a_certificate_for_somebody_else_is_not_accepted(void)
{
    struct wire wire;
    open_rules(&wire, LB_TLS_VERIFY_REQUIRED);
    free(wire.client_rules->name);
    wire.client_rules->name = strdup("other.example");
    connect_ends(&wire, NULL);
    enum lb_tls_step client = LB_TLS_WAIT, server = LB_TLS_WAIT;
    for (int i = 0; i < 100; i++) {
        if (client == LB_TLS_WAIT)
            client = lb_tls_shake(wire.client);
        if (server == LB_TLS_WAIT)
            server = lb_tls_shake(wire.server);
        (void)carry(&wire, 65536);
    }
    CHECK(client == LB_TLS_FAILED && lb_tls_failure(wire.client) == EKEYREJECTED);
    CHECK(server == LB_TLS_FAILED && lb_tls_failure(wire.server) == EPROTO);
    close_ends(&wire);
    close_rules(&wire);
}

static void a_slow_reader_loses_nothing(void)
{
    enum { BYTES = 1 << 20 };
    struct wire wire;
    static char sent[BYTES], got[BYTES];
    size_t out = 0, in = 0;
    int refused = 0, more, small = 4096;
    for (size_t i = 0; i < BYTES; i++)
        sent[i] = (char)(i * 31 >> 3);
    open_rules(&wire, LB_TLS_VERIFY_OFF);
    connect_ends(&wire, NULL);
    CHECK(setsockopt(wire.fd[3], SOL_SOCKET, SO_SNDBUF, &small, sizeof small) == 0);
    shake(&wire, 65536);
    for (int turn = 0; in < BYTES; turn++) {
        CHECK(turn < 2000000);
        ssize_t count = out < BYTES ? lb_tls_send(wire.server, sent + out, BYTES - out < 50000 ? BYTES - out : 50000) : 0;
        CHECK(count >= 0 || errno == EAGAIN);
        refused += count < 0;
        out += count > 0 ? (size_t)count : 0;
        (void)carry(&wire, (size_t)(turn % 700) + 1);
        count = lb_tls_recv(wire.client, got + in, BYTES - in, &more);
        CHECK(count > 0 || (count < 0 && errno == EAGAIN));
        in += count > 0 ? (size_t)count : 0;
    }
    CHECK(refused > 10 && memcmp(sent, got, BYTES) == 0);
    close_ends(&wire);
    close_rules(&wire);
}

static void an_end_is_told_from_a_cut(void)
{
    struct wire wire;
    char got[64];
    int more;
    open_rules(&wire, LB_TLS_VERIFY_OFF);
    connect_ends(&wire, NULL);
    shake(&wire, 65536);
    CHECK(lb_tls_send(wire.server, "last words", 10) == 10 && lb_tls_finish(wire.server) == 0 && lb_tls_finish(wire.server) == 0);
    while (carry(&wire, 65536))
        ;
    CHECK(lb_tls_recv(wire.client, got, sizeof got, &more) == 10 && more); /* the end is next: read on */
    CHECK(lb_tls_recv(wire.client, got, sizeof got, &more) == 0 && !lb_tls_is_cut(wire.client));
    CHECK(lb_tls_send(wire.client, "half open", 9) == 9); /* TLS 1.3 ends one direction only (RFC 8446 6.1) */
    (void)carry(&wire, 65536);
    CHECK(lb_tls_recv(wire.server, got, sizeof got, &more) == 9);
    close_ends(&wire);

    connect_ends(&wire, NULL);
    shake(&wire, 65536);
    CHECK(lb_tls_send(wire.server, "cut", 3) == 3);
    while (carry(&wire, 65536))
        ;
    CHECK(shutdown(wire.fd[1], SHUT_WR) == 0 && shutdown(wire.fd[2], SHUT_WR) == 0);
    (void)lb_tls_note(wire.client, 1, 1, 1);
    (void)lb_tls_note(wire.server, 1, 1, 1);
    CHECK(!lb_tls_is_cut(wire.client));
    ssize_t count = lb_tls_recv(wire.client, got, sizeof got, &more);
    CHECK(count == 3 && more);
    CHECK(lb_tls_recv(wire.client, got, sizeof got, &more) == 0 && lb_tls_is_cut(wire.client));
    CHECK(lb_tls_recv(wire.server, got, sizeof got, &more) == 0 && lb_tls_is_cut(wire.server));
    close_ends(&wire);
    close_rules(&wire);
}

/* A write hears of a reset before the read does, which then finds nothing but an end. */
static void a_reset_that_a_write_has_heard_is_no_end(void)
{
    for (int said = 0; said < 2; said++) {
        struct wire wire;
        char got[16];
        int more;
        open_rules(&wire, LB_TLS_VERIFY_OFF);
        connect_ends(&wire, NULL);
        shake(&wire, 65536);
        CHECK(lb_tls_send(wire.server, "last", 4) == 4);
        if (said)
            CHECK(lb_tls_finish(wire.server) == 0);
        while (carry(&wire, 65536))
            ;
        CHECK(shutdown(wire.fd[1], SHUT_RDWR) == 0);
        CHECK(lb_tls_send(wire.client, "x", 1) == -1 && errno == EPIPE);
        (void)lb_tls_note(wire.client, 1, 1, 1);
        CHECK(lb_tls_recv(wire.client, got, sizeof got, &more) == 4 && more);
        ssize_t end = lb_tls_recv(wire.client, got, sizeof got, &more);
        CHECK(said ? end == 0 : end == -1 && errno == ECONNRESET);
        close_ends(&wire);
        close_rules(&wire);
    }
}

int main(void)
{
    char why[200];
    RUN(names_are_found_exactly_and_by_wildcard);
    if (lb_openssl_open("libssl.so.3", why, sizeof why) < 0) {
        printf("skipped the rest: %s\n", why);
        return 0;
    }
    RUN(a_certificate_says_who_it_is);
    RUN(a_damaged_bundle_is_refused);
    RUN(a_strange_key_is_refused_by_name);
    RUN(every_piece_may_come_alone);
    RUN(a_ticket_is_good_until_its_key_is_gone);
    RUN(a_session_is_not_resumed_with_another_tenant);
    RUN(a_certificate_for_somebody_else_is_not_accepted);
    RUN(a_slow_reader_loses_nothing);
    RUN(an_end_is_told_from_a_cut);
    RUN(a_reset_that_a_write_has_heard_is_no_end);
    return 0;
}

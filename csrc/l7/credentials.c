#include "credentials.h"

#include <string.h>

#include "../core/sha256.h"
#include "authorization.h"
#include "base64.h"
#include "route_index.h"
#include "syntax.h"

enum { LONGEST = 512, LONGEST_ENCODED = LONGEST / 3 * 4 + 4 }; /* bytes of a key, or of a name and its password */

static const char authorization[] = "authorization";

/* The only field of this name, in lower case; NULL where there is none, or where there are several. */
static const struct lb_field *only_field(const struct lb_message *message, const char *bytes, const char *name, uint32_t length)
{
    const struct lb_field *found = NULL;
    for (uint32_t i = 0; i < message->head.field_count; i++) {
        const struct lb_field *field = &message->head.fields[i];
        if (!lb_same_word(bytes + field->name.at, field->name.length, name, length))
            continue;
        if (found)
            return NULL;
        found = field;
    }
    return found;
}

/* secret: its own digest, as struct lb_credential_row says. */
static const struct lb_credential_row *find(const struct lb_routes *routes, uint32_t set, const uint8_t *secret)
{
    const uint8_t number[4] = {(uint8_t)set, (uint8_t)(set >> 8), (uint8_t)(set >> 16), (uint8_t)(set >> 24)};
    uint8_t digest[LB_SHA256_BYTES];
    struct lb_sha256 sha;
    lb_sha256_open(&sha);
    lb_sha256_add(&sha, routes->head->salt, sizeof routes->head->salt);
    lb_sha256_add(&sha, number, sizeof number);
    lb_sha256_add(&sha, secret, LB_SHA256_BYTES);
    lb_sha256_close(&sha, digest);
    const struct entry *entry = index_find(&routes->digests, digest_hash(digest));
    const struct lb_credential_row *row = entry->hash ? &routes->credentials[entry->value] : NULL;
    return row && lb_sha256_same(row->digest, digest) ? row : NULL;
}

/* --- keys ----------------------------------------------------------------------------------------------------------- */

static const struct lb_credential_row *key_in(const struct lb_routes *routes, uint32_t set, const char *bytes,
                                              const struct lb_field *field, int bearer)
{
    struct lb_span key = bearer ? lb_behind_scheme(bytes, field->value, "bearer", 6) : field->value;
    uint8_t secret[LB_SHA256_BYTES];
    struct lb_sha256 sha;
    if (!key.length || key.length > LONGEST)
        return NULL;
    lb_sha256_open(&sha);
    lb_sha256_add(&sha, bytes + key.at, key.length);
    lb_sha256_close(&sha, secret);
    return find(routes, set, secret);
}

/* In any of the headers that the guard names. */
static struct lb_credential find_key(const struct lb_routes *routes, const struct lb_guard_row *guard,
                                     const struct lb_message *message, const char *bytes)
{
    const char *name = routes->text + guard->key_headers, *end = name + guard->key_headers_length;
    while (name < end) {
        const char *space = memchr(name, ' ', (size_t)(end - name));
        uint32_t length = (uint32_t)((space ? space : end) - name);
        const struct lb_field *field = only_field(message, bytes, name, length);
        int bearer = lb_same(name, length, authorization, sizeof authorization - 1);
        const struct lb_credential_row *row = field ? key_in(routes, guard->keys, bytes, field, bearer) : NULL;
        if (row)
            return (struct lb_credential){row, name, length};
        name += length + 1;
    }
    return (struct lb_credential){NULL, NULL, 0};
}

/* --- names and passwords -------------------------------------------------------------------------------------------- */

/* RFC 7617 2: the name ends at the first colon. */
static const struct lb_credential_row *login_in(const struct lb_routes *routes, uint32_t set, const char *login, uint32_t count)
{
    const char *colon = memchr(login, ':', count);
    uint8_t secret[LB_SHA256_BYTES];
    struct lb_sha256 sha;
    if (!colon)
        return NULL;
    lb_sha256_open(&sha);
    lb_sha256_add(&sha, colon + 1, (size_t)(login + count - colon - 1));
    lb_sha256_close(&sha, secret);
    lb_sha256_open(&sha);
    lb_sha256_add(&sha, login, (size_t)(colon - login));
    lb_sha256_add(&sha, "", 1);
    lb_sha256_add(&sha, secret, sizeof secret);
    lb_sha256_close(&sha, secret);
    return find(routes, set, secret);
}

static struct lb_credential find_login(const struct lb_routes *routes, const struct lb_guard_row *guard,
                                       const struct lb_message *message, const char *bytes)
{
    struct lb_credential none = {NULL, NULL, 0};
    const struct lb_field *field = only_field(message, bytes, authorization, sizeof authorization - 1);
    struct lb_span encoded = field ? lb_behind_scheme(bytes, field->value, "basic", 5) : (struct lb_span){0, 0};
    struct lb_base64 base64 = {0};
    char login[LONGEST_ENCODED];
    if (!encoded.length || encoded.length > sizeof login)
        return none;
    memcpy(login, bytes + encoded.at, encoded.length);
    int64_t count = lb_base64_read(&base64, login, encoded.length);
    const struct lb_credential_row *row = count > 0 ? login_in(routes, guard->logins, login, (uint32_t)count) : NULL;
    return row ? (struct lb_credential){row, authorization, sizeof authorization - 1} : none;
}

struct lb_credential lb_credentials_find(const struct lb_routes *routes, const struct lb_guard_row *guard,
                                         const struct lb_message *message, const char *bytes)
{
    struct lb_credential found = {NULL, NULL, 0};
    if (guard->keys)
        found = find_key(routes, guard, message, bytes);
    if (!found.row && guard->logins)
        found = find_login(routes, guard, message, bytes);
    return found;
}

/* The routes as a worker compiles them: what route_index.c makes, and route.c searches. */
#ifndef LB_ROUTE_INDEX_H
#define LB_ROUTE_INDEX_H

#include <regex.h>
#include <string.h>

#include "../table/account.h"
#include "route.h"

enum { NONE = UINT32_MAX, ANY_HOST = 0, LONGEST_HOST = 255, LONGEST_PATH = 32768 };

/* Kinds of keys in the index; each hashes apart. */
enum key_kind {
    KEY_ANY_PATH,
    KEY_EXACT,
    KEY_PREFIX,
    KEY_EXACT_DECODED,
    KEY_PREFIX_DECODED,
    KEY_HOST,
    KEY_WILDCARD,
    KEY_SPLIT,
    KEY_MAPPED
};

struct entry {
    uint64_t hash;  /* 0: free */
    uint32_t value; /* first route of a chain, or a host's number */
};

/* Open addressing, a power of two, at most half full. */
struct index {
    struct entry *entries;
    uint64_t mask;
};

struct lb_routes {
    struct lb_routes *older; /* that somebody holds on to */
    uint32_t users;          /* who hold on to any of these */
    uint16_t era;            /* no other that is there has the same */
    char *copy;              /* of the published bytes; what follows points into it */
    const struct lb_routes_head *head;
    const struct lb_route_row *rows;
    const struct lb_condition_row *conditions;
    const struct lb_guard_row *guards;
    const struct lb_network *networks;
    const struct lb_credential_row *credentials;
    const struct lb_editor_row *editors;
    const struct lb_edit_row *edits;
    const struct lb_piece_row *pieces;
    const struct lb_mapped_host *mapped;
    const char *text;
    struct index hosts;
    struct index keys;
    int wildcards;                          /* a map has any */
    struct index maps;                      /* to a mapped host */
    struct index digests;                   /* of credentials */
    uint32_t *next;                         /* by route: the next of the same key */
    uint32_t *next_decoded;                 /* likewise, of the decoded path's key */
    char *decoded;                          /* the text once more: of paths, what they decode to */
    uint32_t *decoded_length;               /* of a route's path, by its row; then by condition */
    int escapes;                            /* a path has any: it decodes to another */
    int methods;                            /* a route names any */
    int queries;                            /* a route asks for parameters */
    uint32_t json_count;                    /* keys of bodies that routes name, */
    uint32_t json_at[LB_JSON_KEYS];         /* each in the text, */
    struct lb_json_path json[LB_JSON_KEYS]; /* and as they are looked for */
    int changes;                            /* heads are edited, or paths rewritten */
    uint32_t listeners;                     /* rows of listeners */
    uint32_t *editor_of;                    /* by listener, then by pool: its editor, from 1; 0: none */
    regex_t *expressions;                   /* by route, then by condition; compiled for those that have one */
    uint8_t *compiled;
    uint32_t guard_of[LB_MAX_LISTENERS]; /* by row: the number of its guard, from 1; 0: none */
    char path[LONGEST_PATH + 2];         /* a request's path, normal as it is written */
    char read[LONGEST_PATH + 2];         /* and in another reading */
};

static inline uint64_t hash_start(enum key_kind kind, uint32_t host)
{
    return UINT64_C(14695981039346656037) ^ ((uint64_t)host << 8 | (uint64_t)kind) * UINT64_C(0x9e3779b97f4a7c15);
}

static inline uint64_t hash_on(uint64_t hash, char c)
{
    return (hash ^ (uint8_t)c) * UINT64_C(1099511628211); /* FNV-1a */
}

static inline uint64_t hash_end(uint64_t hash)
{
    hash ^= hash >> 32;
    return hash ? hash : 1;
}

static inline uint64_t hash_of(enum key_kind kind, uint32_t host, const char *bytes, uint32_t length)
{
    uint64_t hash = hash_start(kind, host);
    for (uint32_t i = 0; i < length; i++)
        hash = hash_on(hash, bytes[i]);
    return hash_end(hash);
}

/* The entry of this hash, or the free one where it belongs. */
static inline struct entry *index_find(const struct index *index, uint64_t hash)
{
    uint64_t at = hash & index->mask;
    while (index->entries[at].hash && index->entries[at].hash != hash)
        at = (at + 1) & index->mask;
    return &index->entries[at];
}

/* Else its answer, if it has any, is its media type and its body. */
static inline int is_redirect(const struct lb_route_row *row)
{
    return row->status >= 300 && row->status < 400;
}

/* The number of a condition's key among them; json_count: it is none of them. */
static inline uint32_t lb_routes_json_key(const struct lb_routes *routes, const struct lb_condition_row *condition)
{
    uint32_t key = 0;
    while (key < routes->json_count && routes->json_at[key] != condition->name)
        key++;
    return key;
}

/* Of the digest of somebody's credentials, which nobody can choose: it is salted. */
static inline uint64_t digest_hash(const uint8_t *digest)
{
    uint64_t hash;
    memcpy(&hash, digest, sizeof hash);
    return hash ? hash : 1;
}

static inline enum key_kind path_key(const struct lb_route_row *row)
{
    switch ((enum lb_route_path)row->path_kind) {
    case LB_ROUTE_PATH_EXACT:
        return KEY_EXACT;
    case LB_ROUTE_PATH_PREFIX:
        return KEY_PREFIX;
    case LB_ROUTE_PATH_ANY:
    case LB_ROUTE_PATH_REGEX:
        return KEY_ANY_PATH;
    }
    return KEY_ANY_PATH;
}

static inline enum key_kind decoded_key(enum key_kind kind)
{
    return kind == KEY_EXACT ? KEY_EXACT_DECODED : kind == KEY_PREFIX ? KEY_PREFIX_DECODED : kind;
}

#endif

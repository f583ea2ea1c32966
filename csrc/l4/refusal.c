#include "refusal.h"

#include <stdio.h>
#include <string.h>

#include "../core/net.h"
#include "accepted.h"
#include "worker_context.h"

enum {
    TOLD_AT_ONCE = 10,
    TOKEN_MS = 1000,   /* one more may be told */
    METHOD_BYTES = 16, /* of a word that may be a method */
};

static int may_tell(struct lb_refusals *refusals, uint64_t now_ms)
{
    uint64_t grown = (now_ms - refusals->since_ms) / TOKEN_MS;
    if (!refusals->since_ms || grown + refusals->tokens >= TOLD_AT_ONCE) {
        refusals->tokens = TOLD_AT_ONCE;
        refusals->since_ms = now_ms;
    } else {
        refusals->tokens += (uint32_t)grown;
        refusals->since_ms += grown * TOKEN_MS;
    }
    return refusals->tokens > 0 && refusals->count < LB_REFUSALS;
}

void lb_refusal_note(struct lb_worker_context *ctx, const struct lb_accepted *client, const char *words)
{
    struct lb_refusals *refusals = &ctx->refusals;
    if (!may_tell(refusals, lb_now_ms(ctx))) {
        refusals->untold++;
        return;
    }
    refusals->tokens--;
    struct lb_refusal *refusal = &refusals->waiting[refusals->count++];
    *refusal = (struct lb_refusal){
        .note = {.kind = LB_NOTE_REFUSED, .id = client->listener, .value = refusals->untold},
        .port = lb_net_port(&client->ends.client),
    };
    lb_net_as_v6(&client->ends.client, refusal->ip);
    (void)snprintf(refusal->words, sizeof refusal->words, "%s", words);
    refusals->untold = 0;
}

/* Behind a word and a space: does a target of HTTP begin? Other protocols have lines of words, too. */
static enum lb_first_words target_of(const char *bytes, uint32_t count)
{
    uint32_t same = count < 4 ? count : 4;
    if (count && (bytes[0] == '/' || bytes[0] == '*'))
        return LB_WORDS_HTTP;
    if (memcmp(bytes, "http", same) != 0)
        return LB_WORDS_OTHER;
    return same == 4 ? LB_WORDS_HTTP : LB_WORDS_PART;
}

enum lb_first_words lb_first_words(const char *bytes, uint32_t count)
{
    uint32_t at = 0;
    if (!count || (bytes[0] & 0x80) || (bytes[0] >= 0x14 && bytes[0] <= 0x18)) /* types of records, or a hello of SSL 2 */
        return LB_WORDS_TLS;
    while (at < count && at < METHOD_BYTES && bytes[at] >= 'A' && bytes[at] <= 'Z')
        at++;
    if (at && at == count)
        return LB_WORDS_PART;
    return at && bytes[at] == ' ' ? target_of(bytes + at + 1, count - at - 1) : LB_WORDS_OTHER;
}

const char *lb_first_words_refused(enum lb_first_words words)
{
    return words == LB_WORDS_HTTP ? "it speaks plain HTTP where TLS is spoken" : "it does not speak TLS";
}

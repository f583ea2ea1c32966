#include "login.h"

static int is_blank(char c)
{
    return c == ' ' || c == '\t';
}

/* By their beginnings, as HAProxy does: NegoExtender and Nego2 are such schemes, too. */
static int is_of_connection(const char *word, uint32_t length)
{
    return length >= 4 && (lb_same_letters(word, "ntlm", 4) || lb_same_letters(word, "nego", 4));
}

/* The comma behind a list's element, or the list's end. A quote that never ends hides nothing. */
static uint32_t element_end(const char *bytes, uint32_t at, uint32_t stop)
{
    int quoted = 0;
    for (uint32_t i = at; i < stop; i++) {
        if (quoted && bytes[i] == '\\')
            i++;
        else if (bytes[i] == '"')
            quoted = !quoted;
        else if (bytes[i] == ',' && !quoted)
            return i;
    }
    const char *comma = quoted ? memchr(bytes + at, ',', stop - at) : NULL;
    return comma ? (uint32_t)(comma - bytes) : stop;
}

/* "realm = ...": of the challenge before it (RFC 9110 11.2). */
static int is_parameter(const char *bytes, uint32_t at, uint32_t stop)
{
    while (at < stop && is_blank(bytes[at]))
        at++;
    return at < stop && bytes[at] == '=';
}

/* Challenges and their parameters share one list (RFC 9110 11.6.1): an element that begins with a word alone names a scheme. */
static int names_scheme(const char *bytes, struct lb_span value)
{
    uint32_t at = value.at, stop = value.at + value.length;
    while (at < stop) {
        while (at < stop && (is_blank(bytes[at]) || bytes[at] == ','))
            at++;
        uint32_t word = at;
        while (at < stop && lb_is(bytes[at], LB_TCHAR))
            at++;
        if (is_of_connection(bytes + word, at - word) && !is_parameter(bytes, at, stop))
            return 1;
        at = element_end(bytes, at, stop);
    }
    return 0;
}

int lb_login_is_named(const struct lb_message *message, const char *bytes)
{
    if (!lb_message_has(message, LB_CHALLENGE) && !lb_message_has(message, LB_CREDENTIALS))
        return 0;
    for (uint32_t i = 0; i < message->head.field_count; i++) {
        const struct lb_field *field = &message->head.fields[i];
        if ((field->known == LB_CHALLENGE || field->known == LB_CREDENTIALS) && names_scheme(bytes, field->value))
            return 1;
    }
    return 0;
}

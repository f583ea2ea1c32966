#include "edited.h"

#include <string.h>

#include "../table/shm.h"
#include "syntax.h"

int lb_edited_names(const struct lb_edited_head *edited, const char *name, uint32_t length)
{
    for (const char *at = edited->names; at < edited->names_end; at += 1 + (uint8_t)*at)
        if ((uint8_t)*at == length && lb_same_name(name, at + 1, length))
            return 1;
    return 0;
}

char *lb_edited_put(char *to, const struct lb_edited_head *edited, const char *backend)
{
    const char *from = edited->lines;
    for (uint32_t i = 0; i < edited->backends; i++) {
        const char *mark = memchr(from, LB_EDITED_BACKEND, (size_t)(edited->lines_end - from));
        to = (char *)mempcpy(to, from, (size_t)(mark - from));
        to = stpcpy(to, backend);
        from = mark + 1;
    }
    return (char *)mempcpy(to, from, (size_t)(edited->lines_end - from));
}

/* Lines of a name that goes are taken out; the others move up. Where the empty line stands then. */
static char *drop_lines(const struct lb_edited_head *edited, char *fields, const char *end)
{
    char *to = fields;
    const char *at = fields;
    while (at < end) {
        const char *next = (const char *)memchr(at, '\n', (size_t)(end - at)) + 1;
        const char *colon = memchr(at, ':', (size_t)(next - at));
        if (!colon || !lb_edited_drops(edited, at, (uint32_t)(colon - at))) {
            memmove(to, at, (size_t)(next - at));
            to += next - at;
        }
        at = next;
    }
    return to;
}

size_t lb_edited_apply(const struct lb_edited_head *edited, char *bytes, size_t count, const char *backend)
{
    char lines[LB_EDITS_BYTES];
    char *fields = memchr(bytes, '\n', count), *last = memmem(bytes, count, "\r\n\r\n", 4);
    if (!fields || !last)
        return count;
    const char *rest = last + 2; /* the empty line and the body */
    size_t rest_count = count - (size_t)(rest - bytes), lines_count = (size_t)(lb_edited_put(lines, edited, backend) - lines);
    char *to = drop_lines(edited, fields + 1, rest);
    memmove(to + lines_count, rest, rest_count);
    memcpy(to, lines, lines_count);
    return (size_t)(to - bytes) + lines_count + rest_count;
}

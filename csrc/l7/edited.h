/* What is done to the heads of one exchange, as edits.c composed it when the request was routed: no reload changes it, and a request that is
 * sent again is changed in the same way. It lies in a head buffer; exchanges without edits have none. */
#ifndef LB_EDITED_H
#define LB_EDITED_H

#include <stddef.h>
#include <stdint.h>

/* Of the request's head, or of the response's. */
struct lb_edited_head {
    uint64_t lengths;  /* of the names that go: bit n is set where one is n bytes long, modulo 64 */
    const char *names; /* each behind its length in a byte: lower case, '-' for '_' */
    const char *names_end;
    const char *lines; /* what is added, each with its CRLF; LB_EDITED_BACKEND stands for the backend's address */
    const char *lines_end;
    uint32_t own;      /* enum lb_own_line, bits: the balancer does not write these */
    uint32_t backends; /* times that the backend's address stands in the lines */
};

struct lb_edited {
    struct lb_edited_head request;
    struct lb_edited_head response;
    uint64_t id[2];     /* of the request, where an edit names it; 0: none does */
    const char *path;   /* goes on in the place of the request's, with its query behind it; NULL: that one does */
    const char *prefix; /* what the path has lost */
    uint32_t path_length;
    uint32_t prefix_length;
};

#define LB_EDITED_BACKEND '\1' /* no value has a control character */

/* Does a line of this name go? name: in any case, as it came. */
int lb_edited_names(const struct lb_edited_head *edited, const char *name, uint32_t length);

static inline int lb_edited_drops(const struct lb_edited_head *edited, const char *name, uint32_t length)
{
    return edited->lengths >> (length & 63) & 1 && lb_edited_names(edited, name, length);
}

/* Is this line of the balancer's own left to an edit? edited: NULL: there are none. */
static inline int lb_edited_takes(const struct lb_edited_head *edited, uint32_t own)
{
    return edited && edited->own & own;
}

/* Its lines; where they end. They take at most LB_EDITS_BYTES. backend: its address; "-" where there is none. */
char *lb_edited_put(char *to, const struct lb_edited_head *edited, const char *backend);

/* Edit a head of HTTP/1.1 that is written already, with what follows it, in place: the length, at most LB_EDITS_BYTES more. */
size_t lb_edited_apply(const struct lb_edited_head *edited, char *bytes, size_t count, const char *backend);

#endif

#include "path.h"

#include <string.h>

#include "syntax.h"

int lb_path_is_plain(const char *path, uint32_t length)
{
    char before = 0;
    for (uint32_t i = 0; i < length; i++) {
        char c = path[i];
        if (c == '%' || c == '\\' || (before == '/' && (c == '.' || c == '/')))
            return 0;
        before = c;
    }
    return 1;
}

/* One character of the path, decoded as far as the reading allows: bytes written (1 or 3), 0 if it is refused. */
static uint32_t take(const char *path, uint32_t length, uint32_t *at, enum lb_path_reading reading, char out[3])
{
    static const char digits[] = "0123456789ABCDEF";
    char c = path[(*at)++];
    if (c == '%') {
        int high = *at + 1 < length ? lb_hex(path[*at]) : -1, low = high >= 0 ? lb_hex(path[*at + 1]) : -1;
        if (low < 0 || (high | low) == 0)
            return 0;
        *at += 2;
        c = (char)(high << 4 | low);
        int slash = reading == LB_PATH_SLASHED && (c == '/' || c == '\\');
        if (!slash && !lb_is(c, LB_UNRESERVED)) {
            out[0] = '%';
            out[1] = digits[high];
            out[2] = digits[low];
            return 3;
        }
    }
    out[0] = c == '\\' && reading == LB_PATH_SLASHED ? '/' : c;
    return 1;
}

/* The segment that ends here was "." or "..": where the output goes on (RFC 3986 5.2.4). start: after its slash. */
static uint32_t without_dots(const char *out, uint32_t start, uint32_t end)
{
    uint32_t length = end - start;
    if (length == 1 && out[start] == '.')
        return start;
    if (length != 2 || out[start] != '.' || out[start + 1] != '.')
        return end;
    if (start <= 1)
        return start;
    uint32_t at = start - 1;
    while (at > 0 && out[at - 1] != '/')
        at--;
    return at;
}

static uint32_t last_slash(const char *out, uint32_t end)
{
    while (end > 0 && out[end - 1] != '/')
        end--;
    return end;
}

int64_t lb_path_normal(const char *path, uint32_t length, enum lb_path_reading reading, char *out)
{
    uint32_t at = 0, end = 0;
    while (at < length) {
        char piece[3];
        uint32_t bytes = take(path, length, &at, reading, piece);
        if (!bytes)
            return -1;
        if (piece[0] != '/') {
            memcpy(out + end, piece, bytes);
            end += bytes;
            continue;
        }
        uint32_t start = last_slash(out, end), kept = end ? without_dots(out, start, end) : 0;
        int had_dots = kept != end;
        end = kept;
        if (!had_dots && !(reading == LB_PATH_SLASHED && end && out[end - 1] == '/'))
            out[end++] = '/';
    }
    end = end ? without_dots(out, last_slash(out, end), end) : 0;
    out[end] = 0;
    return end;
}

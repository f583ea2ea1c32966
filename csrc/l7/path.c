#include "path.h"

#include <string.h>

#include "syntax.h"

int lb_path_is_plain(const char *path, uint32_t length)
{
    char before = 0;
    for (uint32_t i = 0; i < length; i++) {
        char c = path[i];
        if (c == '%' || c == '\\' || c == ';' || (before == '/' && (c == '.' || c == '/')))
            return 0;
        before = c;
    }
    return 1;
}

enum lb_path_reading lb_path_readings(const char *path, uint32_t length)
{
    int readings = LB_PATH_SLASHED;
    for (uint32_t i = 0; i < length; i++) {
        if (path[i] == ';')
            readings |= LB_PATH_BARE;
        if (path[i] != '%')
            continue;
        readings |= LB_PATH_DECODED;
        if (length - i > 2 && path[i + 1] == '2' && path[i + 2] == '5')
            readings |= LB_PATH_TWICE;
        if (length - i > 2 && path[i + 1] == '3' && (path[i + 2] == 'b' || path[i + 2] == 'B'))
            readings |= LB_PATH_TWICE | LB_PATH_BARE;
    }
    if (readings & LB_PATH_BARE && readings & LB_PATH_DECODED) /* parameters may end where an escape is a slash */
        readings |= LB_PATH_TWICE;
    return (enum lb_path_reading)readings;
}

/* The character that the two digits at `at` stand for, or -1. */
static int escaped(const char *path, uint32_t length, uint32_t at)
{
    int high = at + 1 < length ? lb_hex(path[at]) : -1, low = high >= 0 ? lb_hex(path[at + 1]) : -1;
    return low < 0 ? -1 : high << 4 | low;
}

int64_t lb_path_decode(const char *path, uint32_t length, char *out)
{
    uint32_t end = 0;
    for (uint32_t at = 0; at < length; at++) {
        int c = (uint8_t)path[at];
        if (c == '%') {
            c = escaped(path, length, at + 1);
            if (c <= 0)
                return -1;
            at += 2;
        }
        out[end++] = (char)c;
    }
    return end;
}

/* A parameter of a segment: up to the next slash. */
static uint32_t skip_parameter(const char *path, uint32_t length, uint32_t at, enum lb_path_reading reading)
{
    while (at < length && path[at] != '/' && !(path[at] == '\\' && reading & LB_PATH_SLASHED))
        at++;
    return at;
}

static int put_escape(int c, char out[3])
{
    static const char digits[] = "0123456789ABCDEF";
    out[0] = '%';
    out[1] = digits[c >> 4];
    out[2] = digits[c & 15];
    return 3;
}

/* One character of the path, decoded as far as the reading allows: bytes written (0, 1 or 3), -1 if it is refused. */
static int take(const char *path, uint32_t length, uint32_t *at, enum lb_path_reading reading, char out[3])
{
    int c = (uint8_t)path[(*at)++];
    if (c == ';' && reading & LB_PATH_BARE) {
        *at = skip_parameter(path, length, *at, reading);
        return 0;
    }
    if (c == '%') {
        c = escaped(path, length, *at);
        if (c <= 0 && reading & LB_PATH_TWICE) { /* what was decoded once may be anything */
            out[0] = '%';
            return 1;
        }
        if (c <= 0)
            return -1;
        *at += 2;
        int slash = reading & LB_PATH_SLASHED && (c == '/' || c == '\\');
        if (!slash && !(reading & LB_PATH_DECODED) && !lb_is((char)c, LB_UNRESERVED))
            return put_escape(c, out);
    }
    out[0] = c == '\\' && reading & LB_PATH_SLASHED ? '/' : (char)c;
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
    if (reading & LB_PATH_TWICE) {
        int64_t decoded = lb_path_decode(path, length, out);
        if (decoded < 0)
            return -1;
        path = out; /* the normal form never outruns what it is made of */
        length = (uint32_t)decoded;
    }
    while (at < length) {
        char piece[3] = {0};
        int bytes = take(path, length, &at, reading, piece);
        if (bytes < 0)
            return -1;
        if (piece[0] != '/') {
            memcpy(out + end, piece, (size_t)bytes);
            end += (uint32_t)bytes;
            continue;
        }
        uint32_t start = last_slash(out, end), kept = end ? without_dots(out, start, end) : 0;
        int had_dots = kept != end;
        end = kept;
        if (!had_dots && !(reading & LB_PATH_SLASHED && end && out[end - 1] == '/'))
            out[end++] = '/';
    }
    end = end ? without_dots(out, last_slash(out, end), end) : 0;
    out[end] = 0;
    return end;
}

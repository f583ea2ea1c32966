#include "hpack_static.h"

#include <string.h>

/* RFC 7541, Appendix A. */
static const struct lb_hpack_static entries[LB_HPACK_STATIC] = {
    {":authority", "", 10, 0},
    {":method", "GET", 7, 3},
    {":method", "POST", 7, 4},
    {":path", "/", 5, 1},
    {":path", "/index.html", 5, 11},
    {":scheme", "http", 7, 4},
    {":scheme", "https", 7, 5},
    {":status", "200", 7, 3},
    {":status", "204", 7, 3},
    {":status", "206", 7, 3},
    {":status", "304", 7, 3},
    {":status", "400", 7, 3},
    {":status", "404", 7, 3},
    {":status", "500", 7, 3},
    {"accept-charset", "", 14, 0},
    {"accept-encoding", "gzip, deflate", 15, 13},
    {"accept-language", "", 15, 0},
    {"accept-ranges", "", 13, 0},
    {"accept", "", 6, 0},
    {"access-control-allow-origin", "", 27, 0},
    {"age", "", 3, 0},
    {"allow", "", 5, 0},
    {"authorization", "", 13, 0},
    {"cache-control", "", 13, 0},
    {"content-disposition", "", 19, 0},
    {"content-encoding", "", 16, 0},
    {"content-language", "", 16, 0},
    {"content-length", "", 14, 0},
    {"content-location", "", 16, 0},
    {"content-range", "", 13, 0},
    {"content-type", "", 12, 0},
    {"cookie", "", 6, 0},
    {"date", "", 4, 0},
    {"etag", "", 4, 0},
    {"expect", "", 6, 0},
    {"expires", "", 7, 0},
    {"from", "", 4, 0},
    {"host", "", 4, 0},
    {"if-match", "", 8, 0},
    {"if-modified-since", "", 17, 0},
    {"if-none-match", "", 13, 0},
    {"if-range", "", 8, 0},
    {"if-unmodified-since", "", 19, 0},
    {"last-modified", "", 13, 0},
    {"link", "", 4, 0},
    {"location", "", 8, 0},
    {"max-forwards", "", 12, 0},
    {"proxy-authenticate", "", 18, 0},
    {"proxy-authorization", "", 19, 0},
    {"range", "", 5, 0},
    {"referer", "", 7, 0},
    {"refresh", "", 7, 0},
    {"retry-after", "", 11, 0},
    {"server", "", 6, 0},
    {"set-cookie", "", 10, 0},
    {"strict-transport-security", "", 25, 0},
    {"transfer-encoding", "", 17, 0},
    {"user-agent", "", 10, 0},
    {"vary", "", 4, 0},
    {"via", "", 3, 0},
    {"www-authenticate", "", 16, 0},
};

/* The first entry of each name, by the name's length: few names share one. */
static const uint8_t names[LB_HPACK_STATIC_NAME + 1][7] = {
    [3] = {21, 60},
    [4] = {33, 34, 37, 38, 45, 59},
    [5] = {4, 22, 50},
    [6] = {19, 32, 35, 54},
    [7] = {2, 6, 8, 36, 51, 52},
    [8] = {39, 42, 46},
    [10] = {1, 55, 58},
    [11] = {53},
    [12] = {31, 47},
    [13] = {18, 23, 24, 30, 41, 44},
    [14] = {15, 28},
    [15] = {16, 17},
    [16] = {26, 27, 29, 61},
    [17] = {40, 57},
    [18] = {48},
    [19] = {25, 43, 49},
    [25] = {56},
    [27] = {20},
};

const struct lb_hpack_static *lb_hpack_static_at(uint32_t index)
{
    return &entries[index - 1];
}

static uint32_t find_name(const char *name, uint32_t length)
{
    if (length > LB_HPACK_STATIC_NAME)
        return 0;
    for (const uint8_t *index = names[length]; *index; index++)
        if (entries[*index - 1].name[length - 1] == name[length - 1] && memcmp(entries[*index - 1].name, name, length) == 0)
            return *index;
    return 0;
}

/* The last entry of a name that has several, by its first. All others have one, and but for the sixteenth no value. */
static const uint8_t last[] = {[2] = 3, [4] = 5, [6] = 7, [8] = 14, [16] = 16};

uint32_t lb_hpack_static_find(const char *name, uint32_t name_length, const char *value, uint32_t value_length, int *whole)
{
    uint32_t first = find_name(name, name_length);
    if (first >= sizeof last || !last[first]) {
        *whole = first && !value_length;
        return first;
    }
    *whole = 1;
    for (uint32_t index = first; index <= last[first]; index++) {
        const struct lb_hpack_static *entry = &entries[index - 1];
        if (entry->value_length == value_length && memcmp(entry->value, value, value_length) == 0)
            return index;
    }
    *whole = 0;
    return first;
}

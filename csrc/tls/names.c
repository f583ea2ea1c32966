#include "names.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum { LONGEST = 255 };

int lb_tls_names_add(struct lb_tls_names *names, const char *name, uint32_t owner)
{
    if (names->count == names->room) {
        uint32_t room = names->room ? 2 * names->room : 16;
        struct lb_tls_name *more = realloc(names->at, room * sizeof *more);
        if (!more)
            return -ENOMEM;
        names->at = more;
        names->room = room;
    }
    if (name[0] == '*' && name[1] == '.')
        name++;
    names->at[names->count++] = (struct lb_tls_name){name, owner};
    return 0;
}

static int compare(const void *a, const void *b)
{
    const struct lb_tls_name *left = a, *right = b;
    int order = strcmp(left->name, right->name);
    return order ? order : (left->owner > right->owner) - (left->owner < right->owner);
}

void lb_tls_names_sort(struct lb_tls_names *names)
{
    if (names->count)
        qsort(names->at, names->count, sizeof *names->at, compare);
}

void lb_tls_names_free(struct lb_tls_names *names)
{
    free(names->at);
    *names = (struct lb_tls_names){0};
}

/* All that are called so. */
static struct lb_tls_match look_up(const struct lb_tls_names *names, const char *name)
{
    uint32_t low = 0, high = names->count;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (strcmp(names->at[middle].name, name) < 0)
            low = middle + 1;
        else
            high = middle;
    }
    while (high < names->count && strcmp(names->at[high].name, name) == 0)
        high++;
    return (struct lb_tls_match){low, high - low};
}

void lb_tls_names_match(const struct lb_tls_names *names, const char *name, struct lb_tls_match *exact, struct lb_tls_match *wild)
{
    char lower[LONGEST + 1];
    size_t length = strnlen(name, LONGEST + 1);
    *exact = *wild = (struct lb_tls_match){0, 0};
    if (length > LONGEST)
        return;
    for (size_t i = 0; i <= length; i++)
        lower[i] = (char)(name[i] >= 'A' && name[i] <= 'Z' ? name[i] | 0x20 : name[i]);
    if (length && lower[length - 1] == '.')
        lower[length - 1] = 0;
    if (lower[0] == '.' || lower[0] == '*')
        return; /* would be taken for a wildcard's own text */
    *exact = look_up(names, lower);
    const char *dot = strchr(lower, '.');
    if (dot)
        *wild = look_up(names, dot);
}

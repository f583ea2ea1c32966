#include "caller.h"

static int is_named(const char *name, uint32_t length, const char *other, uint32_t other_length)
{
    if (!other_length || length != other_length)
        return 0;
    for (uint32_t i = 0; i < length; i++)
        if (lb_folded(name[i]) != lb_folded(other[i]))
            return 0;
    return 1;
}

void lb_caller_remove(const struct lb_caller *caller, struct lb_message *message, const char *bytes)
{
    for (uint32_t i = 0; i < message->head.field_count; i++) {
        struct lb_field *field = &message->head.fields[i];
        const char *name = bytes + field->name.at;
        if (is_named(name, field->name.length, caller->header, caller->header_length) ||
            is_named(name, field->name.length, caller->carrier, caller->carrier_length))
            field->known = LB_REMOVED;
    }
}

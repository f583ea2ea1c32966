#include "json_condition.h"

#include <string.h>

#include "../table/shm.h"
#include "runs.h"

enum { APPLICATION = 12, JSON = 4, GRPC = 4 };

/* "application/json", "application/vnd.api+json", whatever parameters follow; not gRPC's, whose messages have a frame. */
static int is_json_type(const char *type, uint32_t length)
{
    uint32_t end = 0;
    while (end < length && type[end] != ';' && type[end] != ' ' && type[end] != '\t')
        end++;
    if (end < APPLICATION + JSON || !lb_same_word(type, APPLICATION, "application/", APPLICATION) ||
        !lb_same_word(type + end - JSON, JSON, "json", JSON))
        return 0;
    return end == APPLICATION + JSON || (type[end - JSON - 1] == '+' && !lb_same_word(type + APPLICATION, GRPC, "grpc", GRPC));
}

int lb_json_is_body(const struct lb_message *message, const char *bytes)
{
    uint32_t types = 0;
    for (uint32_t i = 0; i < message->head.field_count; i++) {
        const struct lb_field *field = &message->head.fields[i];
        const char *name = bytes + field->name.at, *value = bytes + field->value.at;
        if (lb_same_word(name, field->name.length, "content-encoding", 16) &&
            !lb_same_word(value, field->value.length, "identity", 8))
            return 0;
        if (!lb_same_word(name, field->name.length, "content-type", 12))
            continue;
        if (!is_json_type(value, field->value.length))
            return 0;
        types++;
    }
    return types == 1 && message->framing != LB_BODY_NONE;
}

uint32_t lb_json_place(const char *values, uint32_t length, const char *text, uint32_t text_length)
{
    for (uint32_t at = 0, end, place = 0; at <= length; at = end + 1, place++) {
        const char *feed = memchr(values + at, '\n', length - at);
        end = feed ? (uint32_t)(feed - values) : length;
        if (lb_same(values + at, end - at, text, text_length))
            return place;
    }
    return UINT32_MAX;
}

uint8_t lb_json_why_not(const struct lb_json_said *said, uint32_t keys)
{
    uint16_t all = (uint16_t)((1 << keys) - 1);
    if (said->broken)
        return LB_JSON_BROKEN;
    if (said->twice)
        return LB_JSON_REPEATED;
    if (said->cut && said->seen != all)
        return LB_JSON_TOO_FAR;
    return said->seen ? LB_JSON_OTHER : LB_JSON_MISSING;
}

enum lb_holds lb_json_condition_holds(const struct lb_json_said *said, uint32_t key, int present, const char *values,
                                      uint32_t length)
{
    uint16_t bit = (uint16_t)(1 << key);
    if (said->broken || said->twice & bit)
        return LB_FAILS;
    if (!(said->seen & bit))
        return said->over ? LB_FAILS : LB_UNDECIDED;
    int holds =
        present || (said->words & bit && lb_json_place(values, length, said->text[key], said->lengths[key]) != UINT32_MAX);
    return holds ? LB_HOLDS : LB_FAILS;
}

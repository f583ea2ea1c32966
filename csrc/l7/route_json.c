#include "route_json.h"

#include "route_index.h"

static int asks_json(const struct lb_routes *routes, uint32_t route)
{
    const struct lb_route_row *row = &routes->rows[route];
    for (uint32_t i = 0; i < row->condition_count; i++)
        if (routes->conditions[row->condition + i].kind == LB_CONDITION_JSON)
            return 1;
    return 0;
}

uint8_t lb_routes_json_why(const struct lb_routes *routes, uint32_t route, const struct lb_json_said *said, int no_json)
{
    if (!said)
        return no_json ? LB_JSON_NO_BODY : LB_JSON_NOT_ASKED;
    return route != NONE && asks_json(routes, route) ? LB_JSON_MATCHED : lb_json_why_not(said, routes->json_count);
}

uint8_t lb_routes_model(const struct lb_routes *routes, uint32_t route, const struct lb_json_said *said)
{
    const struct lb_route_row *row = &routes->rows[route];
    for (uint32_t i = 0; i < row->condition_count; i++) {
        const struct lb_condition_row *condition = &routes->conditions[row->condition + i];
        if (!condition->models_length)
            continue;
        uint32_t key = lb_routes_json_key(routes, condition), place = UINT32_MAX;
        if (said->words >> key & 1)
            place = lb_json_place(routes->text + condition->value, condition->value_length, said->text[key], said->lengths[key]);
        uint8_t model = place < condition->models_length ? (uint8_t)routes->text[condition->models + place] : 0;
        return model <= LB_MODELS ? model : 0;
    }
    return 0;
}

const struct lb_json_path *lb_routes_json(const struct lb_routes *routes, uint32_t *count)
{
    *count = routes->json_count;
    return routes->json;
}

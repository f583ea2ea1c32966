#include "route_bytes.h"

uint64_t lb_routes_bytes(const struct lb_routes_head *head)
{
    uint64_t bytes = sizeof *head + (uint64_t)head->count * sizeof(struct lb_route_row);
    bytes += (uint64_t)head->conditions * sizeof(struct lb_condition_row) + (uint64_t)head->words * sizeof(struct lb_route_words);
    bytes += (uint64_t)head->editors * sizeof(struct lb_editor_row) + (uint64_t)head->edits * sizeof(struct lb_edit_row);
    bytes += (uint64_t)head->pieces * sizeof(struct lb_piece_row) + (uint64_t)head->mapped * sizeof(struct lb_mapped_host);
    bytes += (uint64_t)head->guards * sizeof(struct lb_guard_row) + (uint64_t)head->networks * sizeof(struct lb_network);
    return bytes + (uint64_t)head->credentials * sizeof(struct lb_credential_row) + head->text_bytes;
}

uint64_t lb_routes_room(const struct lb_routes_head *head)
{
    uint64_t bytes = lb_routes_bytes(head);
    return bytes < LB_ROUTES_BYTES ? bytes : LB_ROUTES_BYTES;
}

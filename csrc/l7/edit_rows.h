/* The rows of edits of heads, as a worker takes them over with the routes. */
#ifndef LB_EDIT_ROWS_H
#define LB_EDIT_ROWS_H

#include "../table/shm.h"

/* What stands behind the head of the routes. */
struct lb_edit_rows {
    const struct lb_routes_head *head;
    const struct lb_editor_row *editors;
    const struct lb_edit_row *edits;
    const struct lb_piece_row *pieces;
};

/* Do they all point into what is there? */
int lb_edit_rows_ok(const struct lb_edit_rows *rows);

/* Which editor is whose: by listener, then by pool, from 1; 0: none. NULL: no memory is left; the caller frees it. */
uint32_t *lb_edit_rows_assign(const struct lb_edit_rows *rows, const struct lb_shm *shm);

#endif

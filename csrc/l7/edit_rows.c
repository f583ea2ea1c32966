#include "edit_rows.h"

#include <stdlib.h>

/* Are so many from there among all that there are? */
static int run_ok(uint32_t first, uint32_t count, uint32_t all)
{
    return first <= all && count <= all - first;
}

static int run_of_edits_ok(const struct lb_routes_head *head, const struct lb_edit_run *run)
{
    return run_ok(run->edits, run->edit_count, head->edits) && run->conditional <= run->edit_count &&
           run_ok(run->pieces, run->piece_count, head->pieces) && run_ok(run->names, run->names_length, head->text_bytes);
}

int lb_edit_rows_ok(const struct lb_edit_rows *rows)
{
    const struct lb_routes_head *head = rows->head;
    for (uint32_t i = 0; i < head->editors; i++)
        if (!run_of_edits_ok(head, &rows->editors[i].run[LB_EDITS_REQUESTS]) ||
            !run_of_edits_ok(head, &rows->editors[i].run[LB_EDITS_RESPONSES]))
            return 0;
    for (uint32_t i = 0; i < head->edits; i++) {
        const struct lb_edit_row *edit = &rows->edits[i];
        if (!run_ok(edit->name, edit->name_length, head->text_bytes) || edit->name_length > UINT8_MAX ||
            !run_ok(edit->piece, edit->piece_count, head->pieces))
            return 0;
    }
    for (uint32_t i = 0; i < head->pieces; i++)
        if (!run_ok(rows->pieces[i].text, rows->pieces[i].text_length, head->text_bytes))
            return 0;
    return 1;
}

uint32_t *lb_edit_rows_assign(const struct lb_edit_rows *rows, const struct lb_shm *shm)
{
    uint32_t listeners = shm->head->max_listeners, pools = shm->head->max_pools;
    uint32_t *editor_of = calloc((size_t)listeners + pools, sizeof *editor_of);
    for (uint32_t i = 0; editor_of && i < rows->head->editors; i++) {
        const struct lb_editor_row *editor = &rows->editors[i];
        if (editor->kind == LB_EDITS_OF_LISTENER && editor->row < listeners)
            editor_of[editor->row] = i + 1;
        else if (editor->kind == LB_EDITS_OF_POOL && editor->row < pools)
            editor_of[listeners + editor->row] = i + 1;
    }
    return editor_of;
}

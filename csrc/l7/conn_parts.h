/* What the files of the connection pool say to each other: conn_pool.c limits and life, conn_list.c the lists that connections wait in,
 * unsolicited.c bytes that nothing was asked for. */
#ifndef LB_CONN_PARTS_H
#define LB_CONN_PARTS_H

#include "conn_pool.h"

/* --- conn_list.c --- */
/* Busy until now: among its stack's from now on, IDLE or PARTING. */
void lb_conn_link(struct lb_conn_pool *pool, struct lb_conn *conn, enum lb_conn_state state);
void lb_conn_unlink(struct lb_conn_pool *pool, struct lb_conn *conn);
void lb_conn_close(struct lb_conn_pool *pool, struct lb_conn *conn, int reset);

/* --- unsolicited.c --- */
enum lb_conn_waiting { LB_CONN_NOTHING, LB_CONN_THE_END, LB_CONN_BYTES };
/* What is there to be read from a connection that carries no exchange? */
enum lb_conn_waiting lb_conn_waiting(struct lb_conn_pool *pool, struct lb_conn *conn);

#endif

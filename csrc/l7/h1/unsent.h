/* Bodies that 417 kept back. */
#ifndef LB_UNSENT_H
#define LB_UNSENT_H

#include "h1.h"
#include "../l7.h"

/* A request waits for 100 before it sends its body: remember what it looks like. message: it is read from bytes. */
void lb_h1_note_expectation(struct lb_h1 *h1, const struct lb_message *message, const char *bytes);

/* 417 comes instead. May the request be repeated on its connection? */
int lb_http_may_repeat(const struct lb_exchange *exchange);

/* It may: remember how much of the body may come all the same. */
void lb_http_keep_unsent(struct lb_exchange *exchange);

/* 417 was passed on. What came next? */
enum lb_unsent {
    LB_UNSENT_OPEN,    /* too little to tell */
    LB_UNSENT_SETTLED, /* another request, or the whole body, which was thrown away */
    LB_UNSENT_BODY,    /* more of a body than is worth waiting for */
};
enum lb_unsent lb_h1_unsent(struct lb_l7 *l7, struct lb_h1 *h1);

#endif

/* Logins that hold for a connection, not for a request: NTLM (MS-NTHT) and Negotiate (RFC 4559, NTLM or Kerberos inside). A backend takes
 * all that comes on such a connection for the same user's, so it belongs to one client from the moment that the scheme is named. */
#ifndef LB_LOGIN_H
#define LB_LOGIN_H

#include "../message.h"

/* Does one of a message's challenges (WWW-Authenticate, Proxy-Authenticate) or credentials name such a scheme? */
int lb_login_is_named(const struct lb_message *message, const char *bytes);

#endif

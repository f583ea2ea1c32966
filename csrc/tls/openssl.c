#include "openssl.h"

#include <dlfcn.h>
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>

struct lb_openssl lb_ssl;

static pthread_mutex_t opening = PTHREAD_MUTEX_INITIALIZER;
static int is_open;

struct symbol {
    const char *name;
    void *place; /* of the pointer */
};

#define LB_OPENSSL_SYMBOL(result, name, arguments) {#name, &lb_ssl.name},
static const struct symbol symbols[] = {LB_OPENSSL(LB_OPENSSL_SYMBOL)};
#undef LB_OPENSSL_SYMBOL

/* A handle's symbols are looked for in what it needs, too: libcrypto comes with libssl. */
static int find_all(void *handle, char *why, size_t room)
{
    for (size_t i = 0; i < sizeof symbols / sizeof *symbols; i++) {
        void *found = dlsym(handle, symbols[i].name);
        if (!found) {
            (void)snprintf(why, room, "it has no %s: OpenSSL 3 is needed", symbols[i].name);
            return -ELIBACC;
        }
        memcpy(symbols[i].place, &found, sizeof found);
    }
    lb_ssl.ticket_cipher = lb_ssl.EVP_CIPHER_fetch(NULL, "AES-256-CBC", NULL);
    if (lb_ssl.ticket_cipher)
        return 0;
    (void)snprintf(why, room, "it offers no AES-256-CBC");
    return -ELIBACC;
}

static int open_once(const char *library, char *why, size_t room)
{
    if (is_open)
        return 0;
    void *handle = dlopen(library, RTLD_NOW | RTLD_LOCAL);
    if (!handle) {
        (void)snprintf(why, room, "%s", dlerror());
        return -ELIBACC;
    }
    int error = find_all(handle, why, room);
    if (error)
        dlclose(handle);
    else
        is_open = 1;
    return error;
}

int lb_openssl_open(const char *library, char *why, size_t room)
{
    pthread_mutex_lock(&opening);
    int error = open_once(library, why, room);
    pthread_mutex_unlock(&opening);
    return error;
}

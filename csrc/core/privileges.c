#include "privileges.h"

#include <errno.h>
#include <linux/capability.h>
#include <stdint.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

/* 64 bits of capabilities (capset(2)). */
struct rights {
    struct __user_cap_data_struct half[_LINUX_CAPABILITY_U32S_3];
};

static int set_rights(const struct rights *rights)
{
    struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
    return syscall(SYS_capset, &header, rights->half) < 0 ? -errno : 0;
}

static int has(unsigned long right)
{
    struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct rights rights = {0};
    return syscall(SYS_capget, &header, rights.half) == 0 && rights.half[right / 32].permitted & (uint32_t)(1U << right % 32);
}

/* EINVAL ends the row of those that this kernel knows. Who may not change the set has nothing to lose by it: no_new_privs holds. */
static void bound_to(unsigned long kept)
{
    for (unsigned long right = 0; right < 64; right++)
        if (right != kept && prctl(PR_CAPBSET_DROP, right, 0, 0, 0) < 0)
            break;
}

static int no_new_privileges(void)
{
    return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 ? -errno : 0;
}

int lb_privileges_shed(void)
{
    static const struct rights none;
    bound_to(UINT64_MAX);
    (void)prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0);
    int error = set_rights(&none);
    return error ? error : no_new_privileges();
}

int lb_privileges_become(uid_t user)
{
    struct rights rights = {0};
    uint32_t bit = has(CAP_NET_BIND_SERVICE) ? 1U << CAP_NET_BIND_SERVICE : 0;
    rights.half[0] = (struct __user_cap_data_struct){.effective = bit, .permitted = bit, .inheritable = bit};
    bound_to(CAP_NET_BIND_SERVICE);
    if (prctl(PR_SET_KEEPCAPS, 1, 0, 0, 0) < 0 || setresuid(user, user, user) < 0)
        return -errno;
    int error = set_rights(&rights);
    if (!error && bit && prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, CAP_NET_BIND_SERVICE, 0, 0) < 0)
        error = -errno;
    return error ? error : no_new_privileges();
}

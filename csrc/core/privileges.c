#include "privileges.h"

#include <errno.h>
#include <linux/capability.h>
#include <stdint.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { RIGHTS = 64 }; /* more than there are: EINVAL ends their row */

#define BIT(right) (UINT64_C(1) << (right))

/* CAP_PERFMON and CAP_BPF of Linux 5.8 by number: older headers know them not. */
static const uint64_t OFFLOADS = BIT(CAP_NET_ADMIN) | BIT(38) | BIT(39);

struct rights {
    uint64_t effective;
    uint64_t permitted;
    uint64_t inheritable;
};

static int set_rights(const struct rights *rights)
{
    struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct half[_LINUX_CAPABILITY_U32S_3];
    for (int i = 0; i < _LINUX_CAPABILITY_U32S_3; i++)
        half[i] = (struct __user_cap_data_struct){.effective = (uint32_t)(rights->effective >> 32 * i),
                                                  .permitted = (uint32_t)(rights->permitted >> 32 * i),
                                                  .inheritable = (uint32_t)(rights->inheritable >> 32 * i)};
    return syscall(SYS_capset, &header, half) < 0 ? -errno : 0;
}

static int get_rights(struct rights *rights)
{
    struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct half[_LINUX_CAPABILITY_U32S_3] = {{0}};
    *rights = (struct rights){0};
    if (syscall(SYS_capget, &header, half) < 0)
        return -errno;
    for (int i = 0; i < _LINUX_CAPABILITY_U32S_3; i++) {
        rights->effective |= (uint64_t)half[i].effective << 32 * i;
        rights->permitted |= (uint64_t)half[i].permitted << 32 * i;
        rights->inheritable |= (uint64_t)half[i].inheritable << 32 * i;
    }
    return 0;
}

/* EINVAL ends the row of those that this kernel knows. Who may not change the set has nothing to lose by it: no_new_privs holds. */
static void bound_to(uint64_t kept)
{
    for (unsigned long right = 0; right < RIGHTS; right++)
        if (!(kept & BIT(right)) && prctl(PR_CAPBSET_DROP, right, 0, 0, 0) < 0)
            break;
}

static int no_new_privileges(void)
{
    return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 ? -errno : 0;
}

int lb_privileges_shed(void)
{
    static const struct rights none;
    bound_to(0);
    (void)prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0);
    int error = set_rights(&none);
    return error ? error : no_new_privileges();
}

/* Over an exec, for who is not root. */
static int make_ambient(uint64_t rights)
{
    for (unsigned long right = 0; right < RIGHTS; right++)
        if (rights & BIT(right) && prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, right, 0, 0) < 0)
            return -errno;
    return 0;
}

int lb_privileges_become(uid_t user, int offloads)
{
    struct rights rights;
    int error = get_rights(&rights);
    if (error)
        return error;
    uint64_t kept = rights.permitted & (BIT(CAP_NET_BIND_SERVICE) | (offloads ? OFFLOADS : 0));
    rights = (struct rights){.effective = kept & ~OFFLOADS, .permitted = kept, .inheritable = kept};
    bound_to(kept);
    if (prctl(PR_SET_KEEPCAPS, 1, 0, 0, 0) < 0 || setresuid(user, user, user) < 0)
        return -errno;
    error = set_rights(&rights);
    if (!error)
        error = make_ambient(kept);
    return error ? error : no_new_privileges();
}

int lb_privileges_lend(void)
{
    struct rights rights;
    int error = get_rights(&rights);
    uint64_t more = rights.permitted & OFFLOADS & ~rights.effective;
    rights.effective |= more;
    if (!error && more)
        error = set_rights(&rights);
    return error ? error : more != 0;
}

int lb_privileges_rest(void)
{
    struct rights rights;
    int error = get_rights(&rights);
    rights.effective &= ~OFFLOADS;
    return error ? error : set_rights(&rights);
}

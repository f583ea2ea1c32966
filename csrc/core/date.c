#include "date.h"

#include <stdio.h>
#include <time.h>

/* IMF-fixdate (RFC 9110 5.6.7), whatever the locale. */
const char *lb_date_text(struct lb_date *date)
{
    static const char days[] = "SunMonTueWedThuFriSat", months[] = "JanFebMarAprMayJunJulAugSepOctNovDec";
    struct timespec now;
    struct tm t;
    clock_gettime(CLOCK_REALTIME_COARSE, &now);
    if (date->unix_s != (uint64_t)now.tv_sec) {
        date->unix_s = (uint64_t)now.tv_sec;
        gmtime_r(&now.tv_sec, &t);
        (void)snprintf(date->text, sizeof date->text, "%.3s, %02u %.3s %04u %02u:%02u:%02u GMT", days + 3 * t.tm_wday,
                       (unsigned)t.tm_mday % 100, months + 3 * t.tm_mon, (unsigned)(t.tm_year + 1900) % 10000,
                       (unsigned)t.tm_hour % 100, (unsigned)t.tm_min % 100, (unsigned)t.tm_sec % 100);
    }
    return date->text;
}

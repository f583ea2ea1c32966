#include "l4/event_tag.h"
#include "lb.h"

#include "check.h"

static void the_last_places_and_generations_come_back_whole(void)
{
    static const uint32_t places[] = {0, 1, LB_MOST_SESSIONS / 2, LB_MOST_SESSIONS - 1};
    static const uint32_t generations[] = {0, 1, UINT32_C(1) << 31, UINT32_MAX};
    for (int kind = 0; kind < LB_TAG_KINDS; kind++)
        for (size_t i = 0; i < 4; i++)
            for (size_t j = 0; j < 4; j++) {
                uint64_t tag = lb_tag_of((enum lb_tag)kind, places[i], generations[j]);
                CHECK((int)lb_tag_kind(tag) == kind);
                CHECK(lb_tag_index(tag) == places[i]);
                CHECK(lb_tag_generation(tag) == generations[j]);
            }
}

int main(void)
{
    RUN(the_last_places_and_generations_come_back_whole);
    return 0;
}

/* Where the next byte of a text falls. */
#ifndef LB_JSON_PLACE_H
#define LB_JSON_PLACE_H

enum lb_json_place {
    AT_VALUE,      /* one must come */
    AT_FIRST_ITEM, /* or the end of an array */
    AT_FIRST_NAME, /* or the end of an object */
    AT_NAME,       /* one must come */
    AT_COLON,      /* behind a name */
    AT_NEXT,       /* behind a value: a comma, the container's end; of the whole text nothing */
    IN_STRING,     /* or a name */
    IN_CHARACTER,  /* of several bytes */
    IN_ESCAPE,     /* behind the backslash */
    IN_CODE,       /* behind \u */
    IN_LITERAL,    /* true, false, null */
    IN_MINUS,      /* numbers, by what came last */
    IN_ZERO,
    IN_INTEGER,
    IN_POINT,
    IN_FRACTION,
    IN_EXPONENT,
    IN_SIGN,
    IN_POWER,
};

static inline int lb_json_is_digit(char c)
{
    return c >= '0' && c <= '9';
}

/* The part of a number that follows one; AT_NEXT: it is over, AT_VALUE: this may not come. */
static inline enum lb_json_place lb_json_after_part(enum lb_json_place part, char c)
{
    int digit = lb_json_is_digit(c), power = c == 'e' || c == 'E';
    if (part == IN_MINUS)
        return c == '0' ? IN_ZERO : digit ? IN_INTEGER : AT_VALUE;
    if (part == IN_POINT)
        return digit ? IN_FRACTION : AT_VALUE;
    if (part == IN_SIGN)
        return digit ? IN_POWER : AT_VALUE;
    if (part == IN_EXPONENT)
        return c == '+' || c == '-' ? IN_SIGN : digit ? IN_POWER : AT_VALUE;
    if (part == IN_POWER)
        return digit ? IN_POWER : AT_NEXT;
    if (power)
        return IN_EXPONENT;
    if (digit && part != IN_ZERO)
        return part;
    return c == '.' && part != IN_FRACTION ? IN_POINT : AT_NEXT;
}

/* May it end there? */
static inline int lb_json_is_number(enum lb_json_place part)
{
    return part == IN_ZERO || part == IN_INTEGER || part == IN_FRACTION || part == IN_POWER;
}

#endif

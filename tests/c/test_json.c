#include <string.h>

#include "json/reader.h"

#include "check.h"
#include "edge.h"

static const struct lb_json_path paths[] = {
    {{"model"}, {5}, 1, 0},
    {{"messages"}, {8}, 1, 1},
    {{"metadata", "tier"}, {8, 4}, 2, 0},
};

/* What was told, in words: "0=s:llama" a string, "1~" a text, "2!" a name that came twice. */
struct told {
    char words[4096];
    char text[4096];
    enum lb_json_event last;
    int whole;
};

static void note(struct told *told, const struct lb_json *json, enum lb_json_event event)
{
    char *to = told->words + strlen(told->words);
    int number = __builtin_ctz(event == LB_JSON_TEXT ? json->streamed : json->which);
    if (event == LB_JSON_TEXT)
        strncat(told->text, json->raw, json->raw_length);
    else if (event == LB_JSON_TWICE)
        sprintf(to, "%d! ", number);
    else if (json->kind > LB_JSON_NUMBER)
        sprintf(to, "%d=%c ", number, "snTFNoa"[json->kind]);
    else if (json->word.length > LB_JSON_WORD)
        sprintf(to, "%d=long ", number);
    else
        sprintf(to, "%d=%c:%.*s ", number, "sn"[json->kind], (int)json -> word.length, json->word.bytes);
}

/* Each piece ends where an unmapped page begins. */
static void feed(struct told *told, struct lb_json *json, const char *bytes, size_t count)
{
    struct edge edge;
    const char *at = (const char *)copied_to_the_edge(&edge, bytes, count), *end = at + count;
    do {
        told->last = lb_json_read(json, &at, end);
        if (told->last == LB_JSON_VALUE || told->last == LB_JSON_TEXT || told->last == LB_JSON_TWICE)
            note(told, json, told->last);
    } while (told->last == LB_JSON_VALUE || told->last == LB_JSON_TEXT || told->last == LB_JSON_TWICE);
    leave_the_edge(&edge);
}

static struct told read_cut(const char *text, size_t cut)
{
    struct told told = {.last = LB_JSON_MORE};
    struct lb_json json;
    lb_json_begin(&json, paths, sizeof paths / sizeof paths[0]);
    feed(&told, &json, text, cut);
    if (told.last == LB_JSON_MORE)
        feed(&told, &json, text + cut, strlen(text) - cut);
    told.whole = lb_json_is_whole(&json);
    return told;
}

/* The same at every cut. */
static struct told read_text(const char *text)
{
    struct told one = read_cut(text, strlen(text));
    for (size_t cut = 0; cut < strlen(text); cut++) {
        struct told two = read_cut(text, cut);
        CHECK(two.last == one.last && two.whole == one.whole);
        CHECK(strcmp(two.words, one.words) == 0 && strcmp(two.text, one.text) == 0);
    }
    return one;
}

static void tells(const char *text, const char *words)
{
    struct told told = read_text(text);
    CHECK(told.last == LB_JSON_MORE && told.whole);
    CHECK(strcmp(told.words, words) == 0);
}

static void test_values_by_their_paths(void)
{
    tells("{\"model\": \"llama-3\", \"n\": 1}", "0=s:llama-3 ");
    tells("{\"n\": [1, {\"model\": \"no\"}], \"model\":\"yes\"}", "0=s:yes ");
    tells("{\"metadata\": {\"model\": 1, \"tier\": \"gold\"}, \"tier\": 2}", "2=s:gold ");
    tells("{\"metadata\": [{\"tier\": 1}]}", "");
    tells("[{\"model\": \"no\"}]", "");
    tells("{\"model\": -1.5e+3}", "0=n:-1.5e+3 ");
    tells("{\"model\": true}", "0=T ");
    tells("{\"model\": null}", "0=N ");
    tells("{\"model\": {\"model\": 1}}", "0=o ");
    tells("{\"model\": []}", "0=a ");
    tells("{}", "");
}

static void test_names_and_strings_without_their_escapes(void)
{
    tells("{\"m\\u006fdel\": \"a\\n\\\"\\\\\\/\\u00e9\\uD834\\uDD1E\"}", "0=s:a\n\"\\/\xc3\xa9\xf0\x9d\x84\x9e ");
    tells("{\"model\": \"\xc3\xa9\xf0\x9d\x84\x9e\"}", "0=s:\xc3\xa9\xf0\x9d\x84\x9e ");
    tells("{\"model\": \"\\ud834x\"}", "0=s:\xed\xa0\xb4x "); /* half a pair is no UTF-8: no configured word is it */
    tells("{\"model\": \"\\udd1e\\ud834\"}", "0=s:\xed\xb4\x9e\xed\xa0\xb4 ");
}

static void test_what_comes_twice(void)
{
    tells("{\"model\": \"a\", \"model\": \"b\"}", "0=s:a 0! 0=s:b ");
    tells("{\"model\": \"a\", \"m\\u006fdel\": \"b\"}", "0=s:a 0! 0=s:b ");
    tells("{\"metadata\": {\"tier\": 1}, \"metadata\": {}}", "2=n:1 2! ");
}

static void test_the_text_of_a_value_as_it_is_written(void)
{
    const char *text = "{\"messages\" : [ {\"role\": \"user\", \"content\": \"h\\u0069\"} ] , \"model\": \"a\"}";
    struct told told = read_text(text);
    CHECK(told.whole && strcmp(told.words, "1=a 0=s:a ") == 0);
    CHECK(strcmp(told.text, "[ {\"role\": \"user\", \"content\": \"h\\u0069\"} ]") == 0);
    told = read_text("{\"messages\": -12.5 }");
    CHECK(strcmp(told.words, "1=n:-12.5 ") == 0 && strcmp(told.text, "-12.5") == 0);
    told = read_text("{\"messages\":\"a\\\"b\"}");
    CHECK(strcmp(told.text, "\"a\\\"b\"") == 0);
}

static void test_words_that_are_too_long_are_not_kept(void)
{
    char text[LB_JSON_WORD + 64];
    for (uint32_t length = LB_JSON_WORD - 1; length <= LB_JSON_WORD + 2; length++) {
        sprintf(text, "{\"model\": \"%0*d\"}", (int)length, 0);
        struct told told = read_cut(text, strlen(text));
        CHECK(told.whole && (strcmp(told.words, "0=long ") == 0) == (length > LB_JSON_WORD));
    }
}

static void test_what_is_no_json(void)
{
    static const char *const texts[] = {
        "{model: 1}",
        "{\"a\" 1}",
        "{\"a\": 1,}",
        "[1,]",
        "[,1]",
        "{\"a\": 1]",
        "[1}",
        "{\"a\": 01}",
        "[-]",
        "[1.]",
        "[.5]",
        "[1e]",
        "[1e+]",
        "[+1]",
        "[0x1]",
        "[NaN]",
        "[Infinity]",
        "[nul]",
        "[truer]",
        "\"a\" \"b\"",
        "{} {}",
        "[\"\\x41\"]",
        "[\"\\u12g4\"]",
        "[\"a\nb\"]",
        "[\"\xff\"]",
        "[\"\xc0\x80\"]",
        "[\"\xed\xa0\x80\"]",
        "[\"\xf4\x90\x80\x80\"]",
        "[\"\xe2\x82\"]",
        "\xef\xbb\xbf{}",
        "// c\n{}",
        "{'a': 1}",
        "]",
        "}",
        ",",
        "[1 2]",
    };
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        struct told told = read_text(texts[i]);
        CHECK(told.last == LB_JSON_BAD && !told.whole);
    }
}

static void test_what_is_not_whole(void)
{
    static const char *const texts[] = {"",    " ",       "{",   "{\"a\"", "{\"a\":", "{\"a\":1", "[1",
                                        "\"a", "\"\\u12", "tru", "-",      "1.",      "1e",       "1e+"};
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        struct told told = read_text(texts[i]);
        CHECK(told.last == LB_JSON_MORE && !told.whole);
    }
    tells("1", "");
    tells(" -0.5e-7 ", "");
    tells("\"a\"", "");
    tells("false", "");
}

static void test_depth_is_bounded(void)
{
    char text[2 * LB_JSON_DEPTH + 3] = "";
    memset(text, '[', LB_JSON_DEPTH);
    memset(text + LB_JSON_DEPTH, ']', LB_JSON_DEPTH);
    struct told told = read_text(text);
    CHECK(told.last == LB_JSON_MORE && told.whole);
    memset(text, '[', LB_JSON_DEPTH + 1);
    told = read_text(text);
    CHECK(told.last == LB_JSON_TOO_DEEP && !told.whole);
}

int main(void)
{
    RUN(test_values_by_their_paths);
    RUN(test_names_and_strings_without_their_escapes);
    RUN(test_what_comes_twice);
    RUN(test_the_text_of_a_value_as_it_is_written);
    RUN(test_words_that_are_too_long_are_not_kept);
    RUN(test_what_is_no_json);
    RUN(test_what_is_not_whole);
    RUN(test_depth_is_bounded);
    return 0;
}

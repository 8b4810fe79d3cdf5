/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Numbers, sizes and times: what is read, and what is refused. */
#undef NDEBUG
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "base/parse.h"
#include "base/util.h"

#define UNTOUCHED UINT64_C(0x5eed)

struct example {
    const char *text;
    int result;
    uint64_t value;
};

static void check(int (*parse)(const char *, uint64_t *), const struct example *e,
                  size_t n)
{
    for (size_t i = 0; i < n; i++) {
        uint64_t value = UNTOUCHED;
        int r = parse(e[i].text, &value);

        if (r != e[i].result) {
            fail_msg("\"%s\" gave %d, not %d", e[i].text ? e[i].text : "(null)", r,
                     e[i].result);
        }
        assert_int_equal(value, r == 0 ? e[i].value : UNTOUCHED);
    }
}

static void test_sizes(void **state)
{
    static const struct example examples[] = {
        { "0", 0, 0 }, { "1", 0, 1 }, { "4096", 0, 4096 }, { "007", 0, 7 },
        { "4K", 0, 4096 }, { "4k", 0, 4096 }, { "4KiB", 0, 4096 }, { "4kib", 0, 4096 },
        { "64M", 0, MIB(64) }, { "64MiB", 0, MIB(64) }, { "1G", 0, GIB(1) },
        { "2GiB", 0, GIB(2) }, { "256T", 0, TIB(256) }, { "1TiB", 0, TIB(1) },
        { "18446744073709551615", 0, UINT64_MAX },
        { "16777215T", 0, TIB(16777215) },
        { "18446744073709551616", -ERANGE, 0 }, { "16777216T", -ERANGE, 0 },
        { "99999999999999999999999", -ERANGE, 0 },
        { NULL, -EINVAL, 0 }, { "", -EINVAL, 0 }, { "K", -EINVAL, 0 },
        { "-1", -EINVAL, 0 }, { "+1", -EINVAL, 0 }, { " 1", -EINVAL, 0 },
        { "1 ", -EINVAL, 0 }, { "1 K", -EINVAL, 0 }, { "1KB", -EINVAL, 0 },
        { "1Ki", -EINVAL, 0 }, { "1P", -EINVAL, 0 }, { "1KK", -EINVAL, 0 },
        { "1.5G", -EINVAL, 0 }, { "0x10", -EINVAL, 0 }, { "1e3", -EINVAL, 0 },
        { "\xc2\xb2", -EINVAL, 0 },
    };

    check(parse_size, examples, ARRAY_SIZE(examples));
}

static void test_times(void **state)
{
    static const struct example examples[] = {
        { "0", 0, 0 }, { "2", 0, 2000000 }, { "500ms", 0, 500000 }, { "2s", 0, 2000000 },
        { "2m", 0, 120000000 }, { "2h", 0, UINT64_C(7200000000) },
        { "1d", 0, UINT64_C(86400000000) }, { "1D", 0, UINT64_C(86400000000) },
        { "213503982d", 0, UINT64_C(213503982) * 86400 * 1000000 },
        { "213503983d", -ERANGE, 0 },
        { NULL, -EINVAL, 0 }, { "", -EINVAL, 0 }, { "s", -EINVAL, 0 },
        { "-1s", -EINVAL, 0 }, { "1us", -EINVAL, 0 }, { "1w", -EINVAL, 0 },
        { "1h30m", -EINVAL, 0 }, { "1.5s", -EINVAL, 0 }, { "1s ", -EINVAL, 0 },
    };

    check(parse_time, examples, ARRAY_SIZE(examples));
}

static void test_numbers(void **state)
{
    static const struct example decimal[] = {
        { "0", 0, 0 }, { "42", 0, 42 }, { "08", 0, 8 }, { "", -EINVAL, 0 },
        { "4K", -EINVAL, 0 }, { "-0", -EINVAL, 0 },
    };
    static const struct example octal[] = {
        { "0600", 0, 0600 }, { "600", 0, 0600 }, { "0", 0, 0 }, { "0o600", -EINVAL, 0 },
        { "0680", -EINVAL, 0 }, { "7777777777777777777777777", -ERANGE, 0 },
    };

    check(parse_number, decimal, ARRAY_SIZE(decimal));
    check(parse_octal, octal, ARRAY_SIZE(octal));
}

static void test_lines(void **state)
{
    assert_true(parse_is_line(""));
    assert_true(parse_is_line("vm 7, \xc3\xa4"));
    assert_false(parse_is_line("vm\n7"));
    assert_false(parse_is_line("\x7f"));
    assert_false(parse_is_line("\x1b[0m"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_sizes),
        cmocka_unit_test(test_times),
        cmocka_unit_test(test_numbers),
        cmocka_unit_test(test_lines),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

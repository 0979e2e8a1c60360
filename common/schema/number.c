/*
 * Decimal numbers as they are written, of any size: nothing is rounded, as nothing becomes a double. Any process.
 *
 * A number is 0, or ± 0.D1 D2 … Dn × 10^exponent, neither D1 nor Dn being 0. The digits stay where they are in the text,
 * between them perhaps a point.
 */
#include "config.h"

#include <string.h>

#include "common/schema/value.h"

#define EXPONENT_MAX	INT64_C(1000000000000000)	/* more than that is that */
#define DIVISOR_DIGITS	18

struct number {
	const char	*p, *end;	/* from the first digit to behind the last */
	size_t		 digits;	/* 0: it is 0 */
	int64_t		 exponent;
	bool		 negative;
};

static int64_t
read_exponent(const char *p, const char *end)
{
	bool negative = p < end && *p == '-';
	int64_t n = 0;

	if (p < end && (*p == '-' || *p == '+'))
		p++;
	for (; p < end; p++)
		if (n < EXPONENT_MAX)
			n = n * 10 + (*p - '0');
	if (n > EXPONENT_MAX)
		n = EXPONENT_MAX;
	return negative ? -n : n;
}

static void
number_read(struct number *n, const struct value *v)
{
	const char *p = v->text, *end = v->text + v->n, *e;
	int64_t before = 0;
	bool point = false;

	memset(n, 0, sizeof(*n));
	n->negative = *p == '-';
	p += n->negative;
	for (e = p; e < end && *e != 'e' && *e != 'E';)
		e++;
	for (const char *q = p; q < e; q++) {
		point |= *q == '.';
		if (*q == '.')
			continue;
		if (*q != '0' && n->p == NULL)
			n->p = q;
		if (*q != '0')
			n->end = q + 1;
		/* Where the point is, seen from the first digit. */
		before += n->p != NULL ? !point : -(int64_t)point;
	}
	if (n->p == NULL)
		return;
	n->digits = (size_t)(n->end - n->p) - (memchr(n->p, '.', (size_t)(n->end - n->p)) != NULL);
	n->exponent = before + (e < end ? read_exponent(e + 1, end) : 0);
}

/* The next digit; 0 behind the last. */
static int
next_digit(const struct number *n, const char **p)
{
	if (*p < n->end && **p == '.')
		(*p)++;
	return *p < n->end ? *(*p)++ - '0' : 0;
}

static int
compare_sizes(const struct number *a, const struct number *b)
{
	const char *p = a->p, *q = b->p;
	size_t most = a->digits > b->digits ? a->digits : b->digits;

	if (a->exponent != b->exponent)
		return a->exponent < b->exponent ? -1 : 1;
	for (size_t i = 0; i < most; i++) {
		int d = next_digit(a, &p), e = next_digit(b, &q);

		if (d != e)
			return d < e ? -1 : 1;
	}
	return 0;
}

static int
sign(const struct number *n)
{
	return n->digits == 0 ? 0 : n->negative ? -1 : 1;
}

int
number_compare(const struct value *a, const struct value *b)
{
	struct number m, n;
	int s, t;

	number_read(&m, a);
	number_read(&n, b);
	s = sign(&m);
	t = sign(&n);
	if (s != t || s == 0)
		return s < t ? -1 : s > t;
	return s * compare_sizes(&m, &n);
}

uint64_t
number_hash(const struct value *v)
{
	uint64_t h = 0x9e3779b97f4a7c15ull;
	struct number n;
	const char *p;

	number_read(&n, v);
	p = n.p;
	if (n.digits == 0)
		return h;
	h ^= (uint64_t)n.exponent * 2 + n.negative;
	for (size_t i = 0; i < n.digits; i++)
		h = (h ^ (uint64_t)next_digit(&n, &p)) * 0x100000001b3ull;
	return h;
}

bool
number_is_integer(const struct value *v)
{
	struct number n;

	number_read(&n, v);
	return n.digits == 0 || (n.exponent > 0 && (uint64_t)n.exponent >= n.digits);
}

static uint64_t
all_digits(const struct number *n)
{
	const char *p = n->p;
	uint64_t sum = 0;

	for (size_t i = 0; i < n->digits; i++)
		sum = sum * 10 + (uint64_t)next_digit(n, &p);
	return sum;
}

/* 10^k modulo m */
static uint64_t
power_of_ten(uint64_t k, uint64_t m)
{
	unsigned __int128 result = 1 % m, base = 10 % m;

	for (; k > 0; k >>= 1) {
		if (k & 1)
			result = result * base % m;
		base = base * base % m;
	}
	return (uint64_t)result;
}

/*
 * Both as whole numbers times a power of ten: the one is D × 10^e, the other B × 10^f. D does not end with 0; so with e < f
 * it is no multiple.
 */
bool
number_is_multiple(const struct value *v, const struct value *divisor)
{
	struct number n, by;
	unsigned __int128 left = 0;
	const char *p;
	uint64_t b;
	int64_t shift;

	number_read(&n, v);
	number_read(&by, divisor);
	if (n.digits == 0)
		return true;
	shift = (n.exponent - (int64_t)n.digits) - (by.exponent - (int64_t)by.digits);
	if (shift < 0)
		return false;
	b = all_digits(&by);
	p = n.p;
	for (size_t i = 0; i < n.digits; i++)
		left = (left * 10 + (unsigned)next_digit(&n, &p)) % b;
	return left * power_of_ten((uint64_t)shift, b) % b == 0;
}

bool
number_divides(const struct value *v)
{
	struct number n;

	number_read(&n, v);
	return sign(&n) > 0 && n.digits <= DIVISOR_DIGITS;
}

bool
number_count(const struct value *v, uint32_t *count)
{
	struct number n;
	uint64_t sum;

	number_read(&n, v);
	if (sign(&n) < 0 || !number_is_integer(v))
		return false;
	*count = UINT32_MAX;
	if (n.digits == 0)
		*count = 0;
	if (n.digits == 0 || n.exponent > 10)
		return true;
	sum = all_digits(&n) * power_of_ten((uint64_t)n.exponent - n.digits, UINT64_MAX);
	if (sum < UINT32_MAX)
		*count = (uint32_t)sum;
	return true;
}

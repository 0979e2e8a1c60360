/*
 * What programs write, made fit for a message: any bytes become UTF-8. Worker.
 */
#include "config.h"

#include "common/utf8.h"
#include "worker/internal.h"

static const char replacement[] = "\xef\xbf\xbd";

void
text_clean(struct buf *out, const void *text, size_t len, size_t max)
{
	const uint8_t *p = text;
	size_t span;

	while (len > 0 && max > 0) {
		span = utf8_span(p, len);
		if (span > max) {
			/* Cut at a whole character. */
			span = utf8_span(p, max);
			max = span;
		}
		buf_add(out, p, span);
		p += span;
		len -= span;
		max -= span;
		if (len == 0 || max < sizeof(replacement) - 1)
			break;
		buf_add(out, replacement, sizeof(replacement) - 1);
		max -= sizeof(replacement) - 1;
		p++;
		len--;
	}
}

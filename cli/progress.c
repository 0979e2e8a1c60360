/*
 * How far something has got, on a terminal. The cli process only.
 */
#include "config.h"

#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "cli/cli.h"
#include "cli/progress.h"

#define EVERY_MS	100
#define BAR		24
#define LINE_BYTES	160

static struct {
	bool		 on, drawn;
	const char	*what;
	int64_t		 bytes;
	int64_t		 began_ms, drawn_ms;
} p;

void
progress_start(int64_t bytes, const char *what)
{
	p.on = isatty(STDERR_FILENO) != 0;
	p.what = what;
	p.bytes = bytes;
	p.began_ms = p.drawn_ms = cli_now_ms();
}

static int
columns(void)
{
	struct winsize size;

	return ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == -1 || size.ws_col == 0 ? 80 : size.ws_col;
}

/* "  45% [###########             ] " */
static int
put_bar(char *line, size_t room, int64_t bytes)
{
	int done = (int)(bytes * BAR / p.bytes);

	return snprintf(line, room, "%3d%% [%.*s%*s] ", (int)(bytes * 100 / p.bytes), done, "########################", BAR - done,
	    "");
}

static void
draw(int64_t n, int64_t bytes, int64_t now)
{
	char line[LINE_BYTES];
	int64_t ms = now - p.began_ms + 1;
	int width = columns() - 1, len = 0;

	if (bytes > p.bytes)
		bytes = p.bytes;
	if (p.bytes > 0)
		len = put_bar(line, sizeof(line), bytes);
	len += snprintf(line + len, sizeof(line) - (size_t)len, "%" PRId64 " %s, %" PRId64 "/s", n, p.what, n * 1000 / ms);
	if (p.bytes > 0 && bytes > 0)
		len += snprintf(line + len, sizeof(line) - (size_t)len, ", %" PRId64 " s left",
		    (p.bytes - bytes) * ms / bytes / 1000);
	fprintf(stderr, "\r%.*s\033[K", len < width ? len : width, line);
	p.drawn = true;
}

void
progress_at(int64_t n, int64_t bytes)
{
	int64_t now;

	if (!p.on || (now = cli_now_ms()) - p.drawn_ms < EVERY_MS)
		return;
	p.drawn_ms = now;
	draw(n, bytes, now);
}

void
progress_clear(void)
{
	if (p.drawn)
		fputs("\r\033[K", stderr);
	p.drawn = false;
}

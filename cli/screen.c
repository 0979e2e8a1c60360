/*
 * A whole terminal, by the few escape sequences that every one of today knows. The cli process only.
 *
 * What must happen when a signal ends or stops the process happens in its handler, by functions that may be called
 * there: a terminal left without echo is worse than a line left undrawn.
 */
#include "config.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <termios.h>
#include <unistd.h>

#include "cli/cli.h"
#include "cli/screen.h"
#include "common/buf.h"

/* The other screen, without a cursor; and back. */
#define ENTER	"\033[?1049h\033[?25l\033[H\033[2J"
#define LEAVE	"\033[0m\033[?25h\033[?1049l"

static const int ending[] = { SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGABRT, SIGSEGV };

static struct termios before;
static volatile sig_atomic_t taken, resized;

static void
put(const void *data, size_t len)
{
	const char *s = data;
	ssize_t n;

	while (len > 0) {
		n = write(STDOUT_FILENO, s, len);
		if (n == -1 && errno != EINTR)
			return;
		if (n > 0) {
			s += n;
			len -= (size_t)n;
		}
	}
}

/* Keys come one by one and are not shown; ^C and ^Z stay signals. */
static void
enter(void)
{
	struct termios now = before;

	now.c_lflag &= (tcflag_t)~(ICANON | ECHO);
	now.c_cc[VMIN] = 1;
	now.c_cc[VTIME] = 0;
	tcsetattr(STDIN_FILENO, TCSAFLUSH, &now);
	put(ENTER, sizeof(ENTER) - 1);
	taken = 1;
}

void
screen_close(void)
{
	if (!taken)
		return;
	taken = 0;
	put(LEAVE, sizeof(LEAVE) - 1);
	tcsetattr(STDIN_FILENO, TCSAFLUSH, &before);
}

static void
on_end(int sig)
{
	screen_close();
	signal(sig, SIG_DFL);
	raise(sig);
}

static void
on_resize(int sig)
{
	(void)sig;
	resized = 1;
}

static void
on_stop(int sig)
{
	int saved = errno;
	sigset_t set;

	screen_close();
	signal(sig, SIG_DFL);
	sigemptyset(&set);
	sigaddset(&set, sig);
	raise(sig);
	/* Here it stops, until it is continued. */
	sigprocmask(SIG_UNBLOCK, &set, NULL);
	signal(sig, on_stop);
	enter();
	resized = 1;
	errno = saved;
}

bool
screen_possible(void)
{
	return isatty(STDIN_FILENO) && isatty(STDOUT_FILENO) && tcgetattr(STDIN_FILENO, &before) == 0;
}

void
screen_open(void)
{
	struct sigaction resize = { .sa_handler = on_resize };

	for (size_t i = 0; i < sizeof(ending) / sizeof(ending[0]); i++)
		signal(ending[i], on_end);
	signal(SIGTSTP, on_stop);
	/* No SA_RESTART: waiting for a key ends. */
	sigaction(SIGWINCH, &resize, NULL);
	atexit(screen_close);
	enter();
}

void
screen_size(int *rows, int *columns)
{
	struct winsize size;
	bool known = ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_row > 0 && size.ws_col > 0;

	*rows = known ? size.ws_row : 24;
	*columns = known ? size.ws_col : 80;
}

void
screen_line(struct buf *out, enum screen_style style, const char *text, size_t len)
{
	static const char *const begin[] = { "", "\033[1m", "\033[7m" };

	buf_addstr(out, out->len > 0 ? "\n" : "");
	buf_addstr(out, begin[style]);
	buf_add(out, text, len);
	buf_addstr(out, style == SCREEN_PLAIN ? "\033[K" : "\033[0m\033[K");
}

void
screen_draw(struct buf *out)
{
	put("\033[H", 3);
	if (out->len > 0)
		put(buf_ptr(out), out->len);
	put("\033[J", 3);
}

int
screen_wait(int64_t until_ms)
{
	struct pollfd fd = { STDIN_FILENO, POLLIN, 0 };
	int64_t left = until_ms - cli_now_ms();
	unsigned char key;
	int n;

	n = resized ? -1 : poll(&fd, 1, left < 0 ? 0 : left > INT32_MAX ? INT32_MAX : (int)left);
	if (resized) {
		resized = 0;
		return SCREEN_RESIZED;
	}
	if (n == 0 || (n == -1 && errno == EINTR))
		return SCREEN_TIMEOUT;
	return n == 1 && read(STDIN_FILENO, &key, 1) == 1 ? key : SCREEN_END;
}

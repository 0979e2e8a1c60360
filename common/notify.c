/*
 * Telling the service manager how this process is, as sd_notify(3) describes it. Any process; only the server does.
 */
#include "config.h"

#include <errno.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "common/log.h"
#include "common/notify.h"

static struct sockaddr_un address;
static socklen_t address_len;
static int64_t watchdog_us;

/* A path, or with @ a name in the abstract namespace. */
static void
take_address(const char *path)
{
	size_t len = strlen(path);

	if ((path[0] != '/' && path[0] != '@') || len < 2 || len >= sizeof(address.sun_path)) {
		log_warnx("NOTIFY_SOCKET: \"%s\" is not the address of a socket", path);
		return;
	}
	address.sun_family = AF_UNIX;
	memcpy(address.sun_path, path, len);
	if (path[0] == '@')
		address.sun_path[0] = '\0';
	address_len = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + len);
}

/* Only the process that is meant is watched. */
static void
take_watchdog(const char *usec, const char *pid)
{
	if (pid != NULL && strtol(pid, NULL, 10) != (long)getpid())
		return;
	watchdog_us = strtoll(usec, NULL, 10);
	if (watchdog_us < 0)
		watchdog_us = 0;
}

void
notify_init(void)
{
	const char *path = getenv("NOTIFY_SOCKET"), *usec = getenv("WATCHDOG_USEC");

	if (path != NULL)
		take_address(path);
	if (path != NULL && usec != NULL)
		take_watchdog(usec, getenv("WATCHDOG_PID"));
	unsetenv("NOTIFY_SOCKET");
	unsetenv("WATCHDOG_USEC");
	unsetenv("WATCHDOG_PID");
}

static void
send_text(const char *text)
{
	int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	if (fd == -1 || sendto(fd, text, strlen(text), MSG_NOSIGNAL, (struct sockaddr *)&address, address_len) == -1)
		log_warn("telling the service manager");
	if (fd != -1)
		close(fd);
}

void
notify_send(const char *fmt, ...)
{
	char text[1024];
	va_list ap;

	if (address_len == 0)
		return;
	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	send_text(text);
}

void
notify_reloading(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	notify_send("RELOADING=1\nMONOTONIC_USEC=%lld\nSTATUS=reading the configuration again",
	    (long long)now.tv_sec * 1000000 + now.tv_nsec / 1000);
}

int64_t
notify_watchdog_ms(void)
{
	return watchdog_us / 1000;
}

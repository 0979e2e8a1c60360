/*
 * Telling the service manager how this process is: systemd's notification protocol, one datagram for each message.
 */
#ifndef COMMON_NOTIFY_H
#define COMMON_NOTIFY_H

#include <stdint.h>

/*
 * Takes NOTIFY_SOCKET and the watchdog's variables out of the environment, so that no child of this process speaks in
 * its name. Without NOTIFY_SOCKET nothing is ever sent.
 */
void	notify_init(void);
/* Sends assignments, one on each line: "READY=1\nSTATUS=…". Never waits. */
void	notify_send(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
/* "RELOADING=1" with the time that has to go with it; followed by READY=1 when that is done. */
void	notify_reloading(void);
/* How long this process may be silent before it is taken for dead, in milliseconds; 0: it is not watched. */
int64_t	notify_watchdog_ms(void);

#endif

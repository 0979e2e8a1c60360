/*
 * Restarting handlers when their files change. Private to cli/.
 */
#ifndef CLI_WATCH_H
#define CLI_WATCH_H

struct conf;

/*
 * From now on this process, which is to become the server, gets HUP when a file of a program changes: below the current directory,
 * or those of the configuration's handlers. Until it handles HUP it ignores it.
 */
void	watch_start(const struct conf *);

#endif

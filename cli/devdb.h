/*
 * The private PostgreSQL of `pgconductor dev`, below .pgconductor/ of a directory. Private to cli/.
 *
 * A small process, the keeper, starts PostgreSQL and waits for this process to end, however it ends; then it shuts
 * PostgreSQL down. A lock on .pgconductor/lock, held by both, says that the directory is in use.
 */
#ifndef CLI_DEVDB_H
#define CLI_DEVDB_H

#include <sys/types.h>

#include <stdbool.h>

struct devdb {
	char	*dir;		/* .pgconductor, absolute */
	char	*base;		/* where data is: dir, or below /var/lib/pgconductor */
	char	*data;
	char	*socket_dir;
	char	*bindir;	/* of PostgreSQL's programs */
	char	*url;
	bool	 own_socket_dir;	/* made for this run, to be removed */
	uid_t	 uid;		/* whom PostgreSQL runs as */
	gid_t	 gid;
	int	 lock;
	int	 alive;		/* closed when this process ends: the keeper waits for that */
	int	 ended;		/* closed when the keeper ends */
};

/*
 * The URL of the dev server of the current directory, or NULL if there never was one; *running says if it is up. Waits
 * for one that is starting.
 */
char	*devdb_find(bool *running);

/* Exits with a message when it cannot. */
void	devdb_start(struct devdb *);
/* From here on other commands find it. */
void	devdb_announce(const struct devdb *);
void	devdb_stop(struct devdb *);

/* devpg.c */
char	*devpg_find_bindir(void);
void	devpg_initdb(const struct devdb *);
/* Returns in the caller alone. */
void	devpg_keep(struct devdb *);
/* Asks a server that a killed keeper left behind to stop, and waits for that. */
void	devpg_stop_leftover(const struct devdb *);
void	devpg_wait_ready(const struct devdb *);

#define DEVDB_DIRECTORY ".pgconductor"
#define DEVDB_STATE "server"	/* the URL, once others may use it, and the socket's directory if it is to be removed */

#endif

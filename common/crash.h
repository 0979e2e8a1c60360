/*
 * Points at which a process may be made to end, for tests: PGCONDUCTOR_CRASH=NAME:N in the environment kills it with
 * SIGKILL as it passes the point NAME for the Nth time. Only in builds with --enable-debug or --enable-asan; otherwise nothing
 * is left of it.
 */
#ifndef COMMON_CRASH_H
#define COMMON_CRASH_H

#ifdef CRASH_POINTS
void	crash_point(const char *name);
#else
#define crash_point(name)	((void)0)
#endif

#endif

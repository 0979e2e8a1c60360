# C shared by master, worker and cli; no libpq.
noinst_LTLIBRARIES += libcommon.la
libcommon_la_SOURCES = \
	common/buf.c common/buf.h \
	common/children.c common/children.h \
	common/conf.c common/conf.h common/conf_check.c common/conf_command.c common/conf_scan.c \
	common/conf_table.c common/conf_table.h common/conf_trigger.c common/conf_values.c \
	common/crash.c common/crash.h \
	common/cron.c common/cron.h \
	common/duration.c common/duration.h \
	common/json.c common/json.h \
	common/log.c common/log.h \
	common/notify.c common/notify.h \
	common/peer.c common/peer.h \
	common/plain.c common/plain.h \
	common/utf8.c common/utf8.h \
	common/xmalloc.c common/xmalloc.h
libcommon_la_CFLAGS = $(AM_CFLAGS) $(LIBEVENT_CFLAGS) $(CONFUSE_CFLAGS)
libcommon_la_LIBADD = libschema.la $(LIBEVENT_LIBS) $(CONFUSE_LIBS)

# JSON Schema; a part of libcommon, as the configuration names schemas.
noinst_LTLIBRARIES += libschema.la
libschema_la_SOURCES = \
	common/schema/check.c \
	common/schema/compile.c \
	common/schema/draft.c \
	common/schema/files.c common/schema/files.h \
	common/schema/format.c common/schema/format.h \
	common/schema/internal.h \
	common/schema/keywords.c \
	common/schema/number.c \
	common/schema/pattern.c common/schema/pattern.h \
	common/schema/schema.h \
	common/schema/uri.c common/schema/uri.h \
	common/schema/value.c common/schema/value.h
libschema_la_CFLAGS = $(AM_CFLAGS) $(PCRE2_CFLAGS)
libschema_la_LIBADD = $(PCRE2_LIBS)

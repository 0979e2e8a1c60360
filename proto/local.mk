# The message list, the codec generated from it, and libpgconductor, the handler library for C.
noinst_LTLIBRARIES += libproto.la
libproto_la_SOURCES = proto/codec.c proto/codec.h proto/wire.h
nodist_libproto_la_SOURCES = proto/messages.c proto/messages.h

BUILT_SOURCES += proto/messages.c proto/messages.h
CLEANFILES += proto/messages.c proto/messages.h
EXTRA_DIST += proto/messages.def proto/gen-messages.awk

gen_messages = $(AWK) -f $(srcdir)/proto/gen-messages.awk
message_sources = $(srcdir)/proto/messages.def $(srcdir)/proto/gen-messages.awk

proto/messages.h: $(message_sources)
	@$(MKDIR_P) proto
	$(AM_V_GEN)$(gen_messages) -v mode=header $(srcdir)/proto/messages.def > $@.tmp && mv $@.tmp $@

proto/messages.c: $(message_sources)
	@$(MKDIR_P) proto
	$(AM_V_GEN)$(gen_messages) -v mode=source $(srcdir)/proto/messages.def > $@.tmp && mv $@.tmp $@

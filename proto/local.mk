# The message list, the codec generated from it, and libpgconductor, the handler library for C.
noinst_LTLIBRARIES += libproto.la
libproto_la_SOURCES = proto/codec.c proto/codec.h proto/declared.c proto/declared.h proto/wire.h
nodist_libproto_la_SOURCES = proto/messages.c proto/messages.h

BUILT_SOURCES += proto/messages.c proto/messages.h
CLEANFILES += proto/messages.c proto/messages.h
EXTRA_DIST += proto/messages.def proto/gen-messages.awk proto/check-docs.sh \
	proto/vectors/bad.jsonl proto/vectors/frames.jsonl proto/vectors/make.py

# Its tables come from messages.def, too, and the constants of the libraries in other languages.
dist_doc_DATA += docs/protocol.md
TESTS += proto/check-docs.sh proto/check-generated.sh
EXTRA_DIST += proto/check-generated.sh

gen_messages = $(AWK) -f $(srcdir)/proto/gen-messages.awk
message_sources = $(srcdir)/proto/messages.def $(srcdir)/proto/gen-messages.awk

proto/messages.h: $(message_sources)
	@$(MKDIR_P) proto
	$(AM_V_GEN)$(gen_messages) -v mode=header $(srcdir)/proto/messages.def > $@.tmp && mv $@.tmp $@

proto/messages.c: $(message_sources)
	@$(MKDIR_P) proto
	$(AM_V_GEN)$(gen_messages) -v mode=source $(srcdir)/proto/messages.def > $@.tmp && mv $@.tmp $@

# The same for `pgconductor ctx`, which brings the rest with it.
noinst_LTLIBRARIES += libhandler.la
libhandler_la_SOURCES = \
	proto/c/batch.c \
	proto/c/error.c \
	proto/c/join.c proto/c/join.h \
	proto/c/journal.c \
	proto/c/launch.c \
	proto/c/private.h \
	proto/c/run.c \
	proto/c/session.c \
	proto/c/setup.c \
	proto/c/steps.c

# Only what it needs of common/, compiled for it, so that the library depends on libc alone.
lib_LTLIBRARIES += libpgconductor.la
libpgconductor_la_SOURCES = \
	proto/c/batch.c \
	proto/c/error.c \
	proto/c/journal.c \
	proto/c/launch.c \
	proto/c/private.h \
	proto/c/run.c \
	proto/c/session.c \
	proto/c/setup.c \
	proto/c/steps.c \
	proto/codec.c \
	common/buf.c \
	common/json.c \
	common/log.c \
	common/utf8.c \
	common/xmalloc.c
nodist_libpgconductor_la_SOURCES = proto/messages.c
libpgconductor_la_CFLAGS = $(AM_CFLAGS) -fvisibility=hidden
libpgconductor_la_LDFLAGS = $(AM_LDFLAGS) -no-undefined -version-info 0:0:0
include_HEADERS += proto/c/pgconductor.h
pkgconfig_DATA += proto/c/pgconductor.pc

# The library for Python: installed with pip from here, not by make.
EXTRA_DIST += proto/python/README.md proto/python/pyproject.toml \
	proto/python/pgconductor/__init__.py \
	proto/python/pgconductor/_calls.py \
	proto/python/pgconductor/_client.py \
	proto/python/pgconductor/_batch.py \
	proto/python/pgconductor/_context.py \
	proto/python/pgconductor/_durable.py \
	proto/python/pgconductor/_durable_async.py \
	proto/python/pgconductor/_duration.py \
	proto/python/pgconductor/_failure.py \
	proto/python/pgconductor/_journal.py \
	proto/python/pgconductor/_json.py \
	proto/python/pgconductor/_lasting.py \
	proto/python/pgconductor/_logging.py \
	proto/python/pgconductor/_messages.py \
	proto/python/pgconductor/_queues.py \
	proto/python/pgconductor/_relay.py \
	proto/python/pgconductor/_runners.py \
	proto/python/pgconductor/_schema.py \
	proto/python/pgconductor/_serve.py \
	proto/python/pgconductor/_session.py \
	proto/python/pgconductor/_task.py \
	proto/python/pgconductor/_triggers.py \
	proto/python/pgconductor/_types.py \
	proto/python/pgconductor/_version.py \
	proto/python/pgconductor/_wire.py \
	proto/python/pgconductor/errors.py \
	proto/python/pgconductor/py.typed \
	proto/python/pgconductor/pytest.py

# The library for Node. Its tests are run by tests/integration/test_node_package.py.
EXTRA_DIST += proto/node/README.md proto/node/index.d.ts proto/node/package.json proto/node/package-lock.json \
	proto/node/tsconfig.json \
	proto/node/examples/tasks.mjs \
	proto/node/src/client.js \
	proto/node/src/codec.js \
	proto/node/src/conductor.js \
	proto/node/src/connect.js \
	proto/node/src/context.js \
	proto/node/src/drivers.js \
	proto/node/src/duration.js \
	proto/node/src/errors.js \
	proto/node/src/failure.js \
	proto/node/src/finish.js \
	proto/node/src/gen.js \
	proto/node/src/index.js \
	proto/node/src/install.js \
	proto/node/src/journal.js \
	proto/node/src/json.js \
	proto/node/src/launch.js \
	proto/node/src/logger.js \
	proto/node/src/messages.js \
	proto/node/src/options.js \
	proto/node/src/orchestrator.js \
	proto/node/src/run.js \
	proto/node/src/schemas.js \
	proto/node/src/session.js \
	proto/node/src/socket.js \
	proto/node/src/standard.js \
	proto/node/src/tasks.js \
	proto/node/src/triggers.js \
	proto/node/src/version.js \
	proto/node/src/waits.js \
	proto/node/test/codec.test.js \
	proto/node/test/events.test.js \
	proto/node/test/run.test.js \
	proto/node/test/session.test.js \
	proto/node/test/tasks.test.js \
	proto/node/test/values.test.js \
	proto/node/test/vectors.js proto/node/test/worker.js \
	proto/node/types/check.ts proto/node/types/events.ts proto/node/types/globals.d.ts proto/node/types/tasks.ts

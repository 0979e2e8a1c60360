# Unit tests: one Check program for each part, linked with only what it needs. run-check counts their cases.
LOG_DRIVER = $(SHELL) $(top_srcdir)/tests/unit/run-check
EXTRA_DIST += tests/unit/run-check tests/unit/json-cases.py tests/unit/json.cases

if HAVE_CHECK
unit_tests = \
	tests/unit/test_codec \
	tests/unit/test_conf \
	tests/unit/test_duration \
	tests/unit/test_json \
	tests/unit/test_peer \
	tests/unit/test_pgconductor \
	tests/unit/test_schema \
	tests/unit/test_vectors \
	tests/unit/test_worker
check_PROGRAMS += $(unit_tests)
TESTS += $(unit_tests)
endif

unit_cflags = $(AM_CFLAGS) $(CHECK_CFLAGS)

tests_unit_test_codec_SOURCES = tests/unit/test_codec.c tests/unit/unit.h
tests_unit_test_codec_CFLAGS = $(unit_cflags) $(MSGPACK_CFLAGS)
tests_unit_test_codec_LDADD = libproto.la libcommon.la $(MSGPACK_LIBS) $(CHECK_LIBS)

tests_unit_test_conf_SOURCES = tests/unit/test_conf.c tests/unit/unit.h
tests_unit_test_conf_CFLAGS = $(unit_cflags)
tests_unit_test_conf_LDADD = libcommon.la $(CHECK_LIBS)

tests_unit_test_duration_SOURCES = tests/unit/test_duration.c tests/unit/unit.h
tests_unit_test_duration_CFLAGS = $(unit_cflags)
tests_unit_test_duration_LDADD = libcommon.la $(CHECK_LIBS)

tests_unit_test_json_SOURCES = tests/unit/test_json.c tests/unit/unit.h
tests_unit_test_json_CFLAGS = $(unit_cflags)
tests_unit_test_json_LDADD = libcommon.la $(CHECK_LIBS)

tests_unit_test_peer_SOURCES = tests/unit/test_peer.c tests/unit/unit.h
tests_unit_test_peer_CFLAGS = $(unit_cflags) $(LIBEVENT_CFLAGS)
tests_unit_test_peer_LDADD = libcommon.la $(LIBEVENT_LIBS) $(CHECK_LIBS)

tests_unit_test_pgconductor_SOURCES = tests/unit/test_pgconductor.c tests/unit/unit.h
tests_unit_test_pgconductor_CFLAGS = $(unit_cflags)
tests_unit_test_pgconductor_LDADD = libpgconductor.la libproto.la libcommon.la $(CHECK_LIBS)

tests_unit_test_schema_SOURCES = tests/unit/test_schema.c tests/unit/unit.h
tests_unit_test_schema_CFLAGS = $(unit_cflags)
tests_unit_test_schema_LDADD = libcommon.la $(CHECK_LIBS)

tests_unit_test_vectors_SOURCES = tests/unit/test_vectors.c tests/unit/unit.h
tests_unit_test_vectors_CFLAGS = $(unit_cflags) $(JANSSON_CFLAGS)
tests_unit_test_vectors_LDADD = libproto.la libcommon.la $(JANSSON_LIBS) $(CHECK_LIBS)

tests_unit_test_worker_SOURCES = tests/unit/test_worker.c tests/unit/unit.h
tests_unit_test_worker_CFLAGS = $(unit_cflags) $(LIBEVENT_CFLAGS)
tests_unit_test_worker_LDADD = libworker.la libproto.la libcommon.la $(LIBEVENT_LIBS) $(CHECK_LIBS)

# Fuzz targets. Built without libFuzzer each replays its corpus, as an ordinary test; with --enable-fuzzing:
#   tests/fuzz/fuzz_codec -dict=tests/fuzz/codec.dict tests/fuzz/corpus/codec
fuzz_programs = \
	tests/fuzz/fuzz_codec \
	tests/fuzz/fuzz_conf \
	tests/fuzz/fuzz_json \
	tests/fuzz/fuzz_peer \
	tests/fuzz/fuzz_schema
check_PROGRAMS += $(fuzz_programs)
EXTRA_DIST += tests/fuzz/corpus tests/fuzz/codec.dict tests/fuzz/conf.dict tests/fuzz/json.dict tests/fuzz/replay-all.sh tests/fuzz/seed.py

if ENABLE_FUZZING
fuzz_main =
fuzz_ldflags = $(AM_LDFLAGS) -fsanitize=fuzzer
# libFuzzer would go on for ever without being told not to.
TESTS += tests/fuzz/replay-all.sh
else
fuzz_main = tests/fuzz/replay.c
fuzz_ldflags = $(AM_LDFLAGS)
TESTS += $(fuzz_programs)
endif

tests_fuzz_fuzz_codec_SOURCES = tests/fuzz/fuzz_codec.c tests/fuzz/fuzz.h $(fuzz_main)
tests_fuzz_fuzz_codec_LDFLAGS = $(fuzz_ldflags)
tests_fuzz_fuzz_codec_LDADD = libproto.la libcommon.la

tests_fuzz_fuzz_conf_SOURCES = tests/fuzz/fuzz_conf.c tests/fuzz/fuzz.h $(fuzz_main)
tests_fuzz_fuzz_conf_LDFLAGS = $(fuzz_ldflags)
tests_fuzz_fuzz_conf_LDADD = libcommon.la

tests_fuzz_fuzz_json_SOURCES = tests/fuzz/fuzz_json.c tests/fuzz/fuzz.h $(fuzz_main)
tests_fuzz_fuzz_json_CFLAGS = $(AM_CFLAGS) $(JANSSON_CFLAGS)
tests_fuzz_fuzz_json_LDFLAGS = $(fuzz_ldflags)
tests_fuzz_fuzz_json_LDADD = libcommon.la $(JANSSON_LIBS)

tests_fuzz_fuzz_peer_SOURCES = tests/fuzz/fuzz_peer.c tests/fuzz/fuzz.h $(fuzz_main)
tests_fuzz_fuzz_peer_CFLAGS = $(AM_CFLAGS) $(LIBEVENT_CFLAGS)
tests_fuzz_fuzz_peer_LDFLAGS = $(fuzz_ldflags)
tests_fuzz_fuzz_peer_LDADD = libproto.la libcommon.la $(LIBEVENT_LIBS)

tests_fuzz_fuzz_schema_SOURCES = tests/fuzz/fuzz_schema.c tests/fuzz/fuzz.h $(fuzz_main)
tests_fuzz_fuzz_schema_LDFLAGS = $(fuzz_ldflags)
tests_fuzz_fuzz_schema_LDADD = libcommon.la

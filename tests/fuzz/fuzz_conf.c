/*
 * Fuzz target: the configuration. Any text gives a configuration or at least one error, and what is accepted can be
 * used and freed. Includes are refused: they would read files of the machine.
 */
#include "config.h"

#include <stdlib.h>
#include <string.h>

#include "common/conf.h"
#include "tests/fuzz/fuzz.h"

static void
use(const struct conf *conf)
{
	struct conf_pairs env;
	struct buf out;

	buf_init(&out);
	for (size_t i = 0; i < conf->tasks_n; i++)
		conf_task_options(conf->tasks[i], &out);
	for (size_t i = 0; i < conf->queues_n; i++) {
		for (size_t j = 0; j < conf->queues[i]->handlers_n; j++) {
			conf_program_env(conf, conf->queues[i], conf->queues[i]->handlers[j], &env);
			conf_pairs_free(&env);
		}
	}
	buf_free(&out);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct conf_errors errors;
	struct conf *conf;

	if (memmem(data, size, "include", 7) != NULL)
		return 0;
	conf_errors_init(&errors);
	conf = conf_parse("fuzz.conf", (const char *)data, size, &errors);
	FUZZ_ASSERT((conf == NULL) == (errors.n > 0));
	if (conf != NULL)
		use(conf);
	conf_free(conf);
	conf_errors_free(&errors);
	return 0;
}

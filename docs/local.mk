# The manual and the documents.
dist_man_MANS += docs/pgconductor.1
dist_doc_DATA += docs/architecture.md docs/compatibility.md docs/configuration.md docs/conform.md docs/durable.md docs/flow.md \
	docs/schemas.md \
	docs/pgconductor.conf.sample docs/pgconductor.service docs/triggers.md docs/tutorial.md docs/types.md
EXTRA_DIST += docs/hacking.md

# The manual and the documents.
dist_man_MANS += docs/pgconductor.1
dist_doc_DATA += docs/configuration.md docs/pgconductor.conf.sample

-- Of a play that came as a snapshot: by step and state, how many runs ended in items of loops that have no row.

alter table plays add column unlisted json;

-- What people do to plays: hold, retry and replay them.

alter table plays
    add column hold json,
    add column replay_of text,
    add column retries integer not null default 0;

-- `round` counts the retries of the play that began the step anew; `reused` steps were taken over by a replay.
alter table layers
    add column reused boolean not null default false,
    add column round integer not null default 0;

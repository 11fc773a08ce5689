-- Steps in loops: one row for each item, which `iteration` names by its number in each loop around it.

alter table layers add column iteration integer[] not null default '{}';
alter table layers drop constraint layers_pkey, add primary key (play_id, ref, iteration);

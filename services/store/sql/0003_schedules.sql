-- Schedules, the plays that they started, and what waiting steps wait for.

create table schedules (
    id text primary key,
    company_id text not null,
    flow_id text not null,
    name text not null,
    enabled boolean not null,
    deleted boolean not null,
    created_at timestamptz not null,
    next_at timestamptz,
    wake_at timestamptz,
    shown json not null,
    sequence bigint not null
);

create index schedules_by_company on schedules (company_id, created_at, id) where not deleted;
create index schedules_by_wake on schedules (wake_at) where wake_at is not null;
create index plays_by_schedule on plays (company_id, schedule_id, created_at desc, id desc)
    where schedule_id is not null;

alter table layers add column waits_for text, add column until timestamptz;

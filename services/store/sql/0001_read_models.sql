-- Everything here is a projection of the log (design D1, D10) and can be dropped and built again.
-- No unique index beside the primary keys: uniqueness is decided where the log is written, and a projection may not
-- refuse what is in the log.

create table checkpoints (
    stream text primary key,
    sequence bigint not null
);

create table dead_letters (
    stream text not null,
    sequence bigint not null,
    subject text not null,
    error text not null,
    payload bytea not null,
    primary key (stream, sequence)
);

create table companies (
    id text primary key,
    name text not null,
    created_at timestamptz not null,
    sequence bigint not null
);

create table users (
    id text primary key,
    company_id text not null,
    email text not null,
    name text not null,
    role text not null,
    disabled boolean not null,
    password text not null,
    created_at timestamptz not null,
    updated_at timestamptz not null,
    sequence bigint not null
);

create index users_by_email on users (lower(email), created_at, id);

create table flows (
    id text primary key,
    company_id text not null,
    permanent_id text not null,
    enabled boolean not null,
    category text not null,
    group_id text,
    deleted boolean not null,
    created_at timestamptz not null,
    summary json not null,
    layers json not null,
    sequence bigint not null
);

create index flows_by_company on flows (company_id, created_at, id) where not deleted;
create index flows_by_permanent_id on flows (company_id, permanent_id);

-- `json`, not `jsonb`: what a step put out is given back byte by byte, and jsonb refuses \u0000.
-- `sequence` is the last message that touched the row, `first_sequence` the first: a rebuild keeps the rows whose
-- beginning the log no longer holds.
create table plays (
    id text primary key,
    company_id text not null,
    flow_id text not null,
    shard integer not null,
    state text not null,
    created_at timestamptz not null,
    started_at timestamptz,
    completed_at timestamptz,
    failed_at timestamptz,
    args json,
    out json,
    error text,
    error_code text,
    failed_ref text,
    flow_version integer,
    trigger text,
    parent_play_id text,
    schedule_id text,
    changed_at timestamptz not null,
    first_sequence bigint not null,
    sequence bigint not null
);

create index plays_by_company on plays (company_id, created_at desc, id desc);
create index plays_by_flow on plays (company_id, flow_id, created_at desc, id desc);
-- Most plays are DONE: lists of that state read the two indexes above, these stay small.
create index plays_by_company_state on plays (company_id, state, created_at desc, id desc) where state <> 'DONE';
create index plays_by_flow_state on plays (company_id, flow_id, state, created_at desc, id desc)
    where state <> 'DONE';
create index plays_running on plays (changed_at) where state = 'RUN';

create table layers (
    play_id text not null,
    ref text not null,
    layer_id text not null,
    "order" integer not null,
    state text not null,
    started_at timestamptz,
    completed_at timestamptz,
    out json,
    error text,
    error_code text,
    attempts integer not null,
    approval json,
    primary key (play_id, ref)
);

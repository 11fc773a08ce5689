-- What the migrations of services/store/sql make; written by `python -m services.store.schema_dump`.

create table api_key_uses (
    id text not null,
    company_id text not null,
    last_used_at timestamp with time zone not null,
    constraint api_key_uses_pkey PRIMARY KEY (id)
);

create table api_keys (
    id text not null,
    company_id text not null,
    user_id text not null,
    name text not null,
    scopes text not null,
    revoked boolean not null,
    issued_at timestamp with time zone not null,
    sequence bigint not null,
    constraint api_keys_pkey PRIMARY KEY (id)
);

create table app_keys (
    id text not null,
    company_id text not null,
    app_id text not null,
    name text not null,
    description text,
    role_id text not null,
    revoked boolean not null,
    created_at timestamp with time zone not null,
    valid_until timestamp with time zone,
    sequence bigint not null,
    constraint app_keys_pkey PRIMARY KEY (id)
);

create table apps (
    id text not null,
    company_id text not null,
    owner_id text not null,
    member_ids text[] not null,
    visibility text not null,
    listed boolean not null,
    deleted boolean not null,
    price integer not null,
    installed_from text not null,
    definition jsonb not null,
    created_at timestamp with time zone not null,
    updated_at timestamp with time zone not null,
    sequence bigint not null,
    constraint apps_pkey PRIMARY KEY (id)
);

create table audit (
    stream text not null,
    sequence bigint not null,
    company_id text not null,
    user_id text not null,
    at timestamp with time zone not null,
    action text not null,
    entity_type text not null,
    entity_id text not null,
    after json,
    request_id text not null,
    ip text not null,
    user_agent text not null,
    key_id text not null,
    constraint audit_pkey PRIMARY KEY (stream, sequence)
);

create table channel_requests (
    channel_id text not null,
    slot integer not null,
    n bigint not null,
    company_id text not null,
    id text not null,
    route_id text not null,
    at timestamp with time zone not null,
    method text not null,
    path text not null,
    status integer not null,
    play_ids text not null,
    duration_ms double precision not null,
    headers json not null,
    ip text not null,
    body_bytes bigint not null,
    constraint channel_requests_pkey PRIMARY KEY (channel_id, slot)
);

create table channels (
    id text not null,
    company_id text not null,
    kind text not null,
    enabled boolean not null,
    deleted boolean not null,
    created_at timestamp with time zone not null,
    shown json not null,
    sequence bigint not null,
    constraint channels_pkey PRIMARY KEY (id)
);

create table checkpoints (
    stream text not null,
    sequence bigint not null,
    constraint checkpoints_pkey PRIMARY KEY (stream)
);

create table companies (
    id text not null,
    name text not null,
    created_at timestamp with time zone not null,
    sequence bigint not null,
    constraint companies_pkey PRIMARY KEY (id)
);

create table dead_letters (
    stream text not null,
    sequence bigint not null,
    subject text not null,
    error text not null,
    payload bytea not null,
    constraint dead_letters_pkey PRIMARY KEY (stream, sequence)
);

create table flow_versions (
    flow_id text not null,
    version integer not null,
    company_id text not null,
    sequence bigint not null,
    at timestamp with time zone not null,
    by text not null,
    change text not null,
    constraint flow_versions_pkey PRIMARY KEY (flow_id, version)
);

create table flows (
    id text not null,
    company_id text not null,
    permanent_id text not null,
    enabled boolean not null,
    category text not null,
    group_id text,
    deleted boolean not null,
    created_at timestamp with time zone not null,
    summary json not null,
    layers json not null,
    sequence bigint not null,
    constraint flows_pkey PRIMARY KEY (id)
);

create table groups (
    id text not null,
    company_id text not null,
    name text not null,
    index integer not null,
    deleted boolean not null,
    created_at timestamp with time zone not null,
    updated_at timestamp with time zone not null,
    sequence bigint not null,
    constraint groups_pkey PRIMARY KEY (id)
);

create table kv (
    id text not null,
    company_id text not null,
    scope text not null,
    scope_key text not null,
    key text not null,
    sealed text not null,
    secret boolean not null,
    created_at timestamp with time zone not null,
    updated_at timestamp with time zone not null,
    constraint kv_pkey PRIMARY KEY (id)
);

create table layers (
    play_id text not null,
    ref text not null,
    layer_id text not null,
    "order" integer not null,
    state text not null,
    started_at timestamp with time zone,
    completed_at timestamp with time zone,
    "out" json,
    error text,
    error_code text,
    attempts integer not null,
    approval json,
    waits_for text,
    until timestamp with time zone,
    iteration integer[] not null default '{}'::integer[],
    reused boolean not null default false,
    round integer not null default 0,
    constraint layers_pkey PRIMARY KEY (play_id, ref, iteration)
);

create table migrations (
    number integer not null,
    name text not null,
    applied_at timestamp with time zone not null default now(),
    constraint migrations_pkey PRIMARY KEY (number)
);

create table pats (
    id text not null,
    company_id text not null,
    user_id text not null,
    name text not null,
    permissions integer not null,
    revoked boolean not null,
    created_at timestamp with time zone not null,
    valid_until timestamp with time zone,
    sequence bigint not null,
    constraint pats_pkey PRIMARY KEY (id)
);

create table plays (
    id text not null,
    company_id text not null,
    flow_id text not null,
    shard integer not null,
    state text not null,
    created_at timestamp with time zone not null,
    started_at timestamp with time zone,
    completed_at timestamp with time zone,
    failed_at timestamp with time zone,
    args json,
    "out" json,
    error text,
    error_code text,
    failed_ref text,
    flow_version integer,
    trigger text,
    parent_play_id text,
    schedule_id text,
    changed_at timestamp with time zone not null,
    first_sequence bigint not null,
    sequence bigint not null,
    hold json,
    replay_of text,
    retries integer not null default 0,
    unlisted json,
    constraint plays_pkey PRIMARY KEY (id)
);

create table reviews (
    id text not null,
    app_id text not null,
    user_id text not null,
    user_name text not null,
    rating integer not null,
    text text not null,
    deleted boolean not null,
    created_at timestamp with time zone not null,
    updated_at timestamp with time zone not null,
    sequence bigint not null,
    constraint reviews_pkey PRIMARY KEY (id)
);

create table schedules (
    id text not null,
    company_id text not null,
    flow_id text not null,
    name text not null,
    enabled boolean not null,
    deleted boolean not null,
    created_at timestamp with time zone not null,
    next_at timestamp with time zone,
    wake_at timestamp with time zone,
    shown json not null,
    sequence bigint not null,
    constraint schedules_pkey PRIMARY KEY (id)
);

create table users (
    id text not null,
    company_id text not null,
    email text not null,
    name text not null,
    role text not null,
    disabled boolean not null,
    password text not null,
    created_at timestamp with time zone not null,
    updated_at timestamp with time zone not null,
    sequence bigint not null,
    username text not null default ''::text,
    constraint users_pkey PRIMARY KEY (id)
);

CREATE INDEX api_keys_by_company ON api_keys USING btree (company_id, issued_at, id);
CREATE INDEX app_keys_by_app ON app_keys USING btree (company_id, app_id, created_at, id) WHERE (NOT revoked);
CREATE INDEX apps_by_member ON apps USING gin (member_ids) WHERE (NOT deleted);
CREATE INDEX apps_by_source ON apps USING btree (installed_from) WHERE (installed_from <> ''::text);
CREATE INDEX apps_listed ON apps USING btree (updated_at, id) WHERE listed;
CREATE INDEX audit_by_company ON audit USING btree (company_id, at DESC, sequence DESC);
CREATE INDEX audit_by_entity ON audit USING btree (company_id, entity_type, entity_id, sequence DESC);
CREATE INDEX channel_requests_by_age ON channel_requests USING btree (at);
CREATE INDEX channel_requests_by_channel ON channel_requests USING btree (company_id, channel_id, n DESC);
CREATE INDEX channels_by_company ON channels USING btree (company_id, created_at, id) WHERE (NOT deleted);
CREATE INDEX flows_by_company ON flows USING btree (company_id, created_at, id) WHERE (NOT deleted);
CREATE INDEX flows_by_group ON flows USING btree (company_id, group_id) WHERE ((group_id IS NOT NULL) AND (NOT deleted));
CREATE INDEX flows_by_permanent_id ON flows USING btree (company_id, permanent_id);
CREATE INDEX groups_by_company ON groups USING btree (company_id, index, created_at, id) WHERE (NOT deleted);
CREATE INDEX kv_by_key ON kv USING btree (company_id, scope, scope_key, key, id);
CREATE INDEX pats_by_user ON pats USING btree (company_id, user_id, created_at, id) WHERE (NOT revoked);
CREATE INDEX plays_by_company ON plays USING btree (company_id, created_at DESC, id DESC);
CREATE INDEX plays_by_company_state ON plays USING btree (company_id, state, created_at DESC, id DESC) WHERE (state <> 'DONE'::text);
CREATE INDEX plays_by_flow ON plays USING btree (company_id, flow_id, created_at DESC, id DESC);
CREATE INDEX plays_by_flow_state ON plays USING btree (company_id, flow_id, state, created_at DESC, id DESC) WHERE (state <> 'DONE'::text);
CREATE INDEX plays_by_schedule ON plays USING btree (company_id, schedule_id, created_at DESC, id DESC) WHERE (schedule_id IS NOT NULL);
CREATE INDEX plays_parked ON plays USING btree (changed_at) WHERE (state = ANY (ARRAY['WAIT'::text, 'ON_HOLD'::text, 'DEFERRED'::text]));
CREATE INDEX plays_running ON plays USING btree (changed_at) WHERE (state = 'RUN'::text);
CREATE INDEX reviews_by_app ON reviews USING btree (app_id, updated_at, id) WHERE (NOT deleted);
CREATE INDEX schedules_by_company ON schedules USING btree (company_id, created_at, id) WHERE (NOT deleted);
CREATE INDEX schedules_by_wake ON schedules USING btree (wake_at) WHERE (wake_at IS NOT NULL);
CREATE INDEX users_by_company ON users USING btree (company_id, created_at, id);
CREATE INDEX users_by_email ON users USING btree (lower(email), created_at, id);
CREATE INDEX users_by_username ON users USING btree (lower(username)) WHERE (username <> ''::text);

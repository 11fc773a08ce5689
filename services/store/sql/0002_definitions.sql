-- Groups, API keys, KV entries, versions of flows, and the audit.

create table groups (
    id text primary key,
    company_id text not null,
    name text not null,
    index integer not null,
    deleted boolean not null,
    created_at timestamptz not null,
    updated_at timestamptz not null,
    sequence bigint not null
);

create index groups_by_company on groups (company_id, index, created_at, id) where not deleted;
create index flows_by_group on flows (company_id, group_id) where group_id is not null and not deleted;
create index users_by_company on users (company_id, created_at, id);

-- `scopes` are separated by commas.
create table api_keys (
    id text primary key,
    company_id text not null,
    user_id text not null,
    name text not null,
    scopes text not null,
    revoked boolean not null,
    issued_at timestamptz not null,
    sequence bigint not null
);

create index api_keys_by_company on api_keys (company_id, issued_at, id);

-- Of another stream than the keys, and so a table of its own.
create table api_key_uses (
    id text primary key,
    company_id text not null,
    last_used_at timestamptz not null
);

-- `sealed` is the value's JSON, encrypted.
create table kv (
    id text primary key,
    company_id text not null,
    scope text not null,
    scope_key text not null,
    key text not null,
    sealed text not null,
    secret boolean not null,
    created_at timestamptz not null,
    updated_at timestamptz not null
);

create index kv_by_key on kv (company_id, scope, scope_key, key, id);

-- `sequence` is where the version stands in the stream DEFINITIONS.
create table flow_versions (
    flow_id text not null,
    version integer not null,
    company_id text not null,
    sequence bigint not null,
    at timestamptz not null,
    by text not null,
    change text not null,
    primary key (flow_id, version)
);

-- `after` is what the thing was after the change, without secrets; what it was before is in the record before.
create table audit (
    stream text not null,
    sequence bigint not null,
    company_id text not null,
    user_id text not null,
    at timestamptz not null,
    action text not null,
    entity_type text not null,
    entity_id text not null,
    after json,
    request_id text not null,
    ip text not null,
    user_agent text not null,
    key_id text not null,
    primary key (stream, sequence)
);

create index audit_by_company on audit (company_id, at desc, sequence desc);
create index audit_by_entity on audit (company_id, entity_type, entity_id, sequence desc);

-- What was projected before these tables were there is projected once more; the other tables stay as they are.
update checkpoints set sequence = 0 where stream = 'DEFINITIONS';

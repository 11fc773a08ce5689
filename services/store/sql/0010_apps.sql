-- Apps: groups as the second surface sees them. `definition` is the whole app; the columns beside it are searched.

create table apps (
    id text primary key,
    company_id text not null,
    owner_id text not null,
    member_ids text[] not null,
    visibility text not null,
    listed boolean not null,
    deleted boolean not null,
    price integer not null,
    installed_from text not null,
    definition jsonb not null,
    created_at timestamptz not null,
    updated_at timestamptz not null,
    sequence bigint not null
);

create index apps_by_member on apps using gin (member_ids) where not deleted;
create index apps_listed on apps (updated_at, id) where listed;
create index apps_by_source on apps (installed_from) where installed_from <> '';

create table app_keys (
    id text primary key,
    company_id text not null,
    app_id text not null,
    name text not null,
    description text,
    role_id text not null,
    revoked boolean not null,
    created_at timestamptz not null,
    valid_until timestamptz,
    sequence bigint not null
);

create index app_keys_by_app on app_keys (company_id, app_id, created_at, id) where not revoked;

create table reviews (
    id text primary key,
    app_id text not null,
    user_id text not null,
    user_name text not null,
    rating integer not null,
    text text not null,
    deleted boolean not null,
    created_at timestamptz not null,
    updated_at timestamptz not null,
    sequence bigint not null
);

create index reviews_by_app on reviews (app_id, updated_at, id) where not deleted;

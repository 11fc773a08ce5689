-- Usernames to sign in with, and personal access tokens.

alter table users add column username text not null default '';

create index users_by_username on users (lower(username)) where username <> '';

create table pats (
    id text primary key,
    company_id text not null,
    user_id text not null,
    name text not null,
    permissions integer not null,
    revoked boolean not null,
    created_at timestamptz not null,
    valid_until timestamptz,
    sequence bigint not null
);

create index pats_by_user on pats (company_id, user_id, created_at, id) where not revoked;

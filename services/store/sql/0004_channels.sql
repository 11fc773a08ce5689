-- Channels with their routes; `shown` is what the API shows of one.

create table channels (
    id text primary key,
    company_id text not null,
    kind text not null,
    enabled boolean not null,
    deleted boolean not null,
    created_at timestamptz not null,
    shown json not null,
    sequence bigint not null
);

create index channels_by_company on channels (company_id, created_at, id) where not deleted;

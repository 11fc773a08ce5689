-- What channels were asked: of each channel a ring of slots, so the newest take the place of the oldest.
-- `n` counts a channel's requests; `play_ids` are separated by commas.

create table channel_requests (
    channel_id text not null,
    slot integer not null,
    n bigint not null,
    company_id text not null,
    id text not null,
    route_id text not null,
    at timestamptz not null,
    method text not null,
    path text not null,
    status integer not null,
    play_ids text not null,
    duration_ms double precision not null,
    headers json not null,
    ip text not null,
    body_bytes bigint not null,
    primary key (channel_id, slot)
);

create index channel_requests_by_channel on channel_requests (company_id, channel_id, n desc);
create index channel_requests_by_age on channel_requests (at);

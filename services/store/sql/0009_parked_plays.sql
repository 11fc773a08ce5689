-- What the sweep carries over before the log forgets it.

create index plays_parked on plays (changed_at) where state in ('WAIT', 'ON_HOLD', 'DEFERRED');

-- What operators start from the pages, and what came of it.

-- What operators asked for: the process that leads runs one after the other, the oldest first. A
-- request outlives the process that ran it: the next one that leads takes it up again.
create table job_requests (
  request_id          bigint generated always as identity primary key,
  kind                text not null check (kind in ('backfill', 'repair', 'reconcile')),
  arguments           jsonb,                            -- src/store/job-requests.ts
  state               text not null default 'queued' check (
    state in ('queued', 'running', 'succeeded', 'failed', 'cancelled', 'refused')),
  actor               text not null,                    -- 'page 127.0.0.1'
  requested_at        timestamptz not null,
  started_at          timestamptz,
  finished_at         timestamptz,
  cancel_requested_at timestamptz,
  -- How often it was taken up: whoever did it last has a say in what came of it.
  attempts            integer not null default 0,
  -- How often the process that ran it died.
  deaths              integer not null default 0,
  run_id              bigint references job_runs,       -- the last run of it
  message             text,                             -- what it waits for, or what came of it
  check ((kind = 'reconcile') = (arguments is null)),
  check (state <> 'running' or started_at is not null),
  check ((state in ('queued', 'running')) = (finished_at is null))
);
-- All that is left to do; few at any time.
create index job_requests_open on job_requests (request_id) where state in ('queued', 'running');
create index job_requests_run on job_requests (run_id) where run_id is not null;

-- Requests to a provider that failed in a run, with the provider's own words, for the operator.
-- The first thousand of a run; job_runs.error counts them all.
create table request_failures (
  failure_id    bigint generated always as identity,
  run_id        bigint not null references job_runs,
  ts            timestamptz not null,
  symbol        text,                                   -- null: asked for the whole market
  dataset       text not null,                          -- '1d', '1m', 'splits', 'symbols' ...
  start_session date,                                   -- null: not asked for by session
  end_session   date,                                   -- inclusive
  kind          text not null,                          -- ProviderErrorKind in src/errors.ts
  status        integer,                                -- of the answer; null: there was none
  message       text not null,                          -- what the program makes of it
  body          text,                                   -- the answer's first kilobyte
  primary key (run_id, failure_id),
  check ((start_session is null) = (end_session is null)),
  check (start_session <= end_session),
  check (octet_length(body) <= 8192)
);

-- What was done in one step, and can be taken back in one: entries that were written together.
alter table audit_log add column batch_id bigint;
create sequence audit_batches;
create index audit_log_batch on audit_log (batch_id, audit_id) where batch_id is not null;
-- The first entry of its step: steps are listed by these, however many entries they have.
alter table audit_log add column is_first boolean not null default true;
create index audit_log_steps on audit_log (audit_id) where is_first;

-- Who made an override of the calendar as it stands; null: a row that was written by hand.
alter table calendar_overrides add column actor text;

-- Pages that are polled ask which runs are under way: without this, 13 ms with 30,000 runs.
create index job_runs_running on job_runs (run_id) where state = 'running';

-- How many findings of all instruments there are, kept by whatever changes the counts of each: of
-- 10,000 symbols those are 40,000 rows, too many to add up for every poll of the review queue.
create table finding_totals (
  kind  text not null,
  state text not null,
  count bigint not null,
  primary key (kind, state)
);
insert into finding_totals (kind, state, count)
select kind, state, sum(count) from finding_counts group by kind, state;

create function total_findings() returns trigger
  language plpgsql
  as $$
  begin
    if tg_op in ('INSERT', 'UPDATE') then
      insert into finding_totals as t (kind, state, count)
      select kind, state, sum(count) from added group by kind, state order by kind, state
      on conflict (kind, state) do update set count = t.count + excluded.count;
    end if;
    if tg_op in ('DELETE', 'UPDATE') then
      insert into finding_totals as t (kind, state, count)
      select kind, state, -sum(count) from gone group by kind, state order by kind, state
      on conflict (kind, state) do update set count = t.count + excluded.count;
    end if;
    return null;
  end
  $$;
create trigger finding_counts_inserted after insert on finding_counts
  referencing new table as added for each statement execute function total_findings();
create trigger finding_counts_updated after update on finding_counts
  referencing new table as added old table as gone
  for each statement execute function total_findings();
create trigger finding_counts_deleted after delete on finding_counts
  referencing old table as gone for each statement execute function total_findings();

-- The findings of one instrument as its page and the review queue list them: with 5,000 of them,
-- 20 ms became 2.
create index findings_instrument
  on findings (instrument_id, state, session desc, finding_id desc);

-- What was known when, what an operator decided, and who a symbol was.

-- When a bar became final, where that was later than its values came (`ts_received`): together they
-- say of any instant in the past whether the bar was final then.
alter table bars_1d add column ts_final timestamptz;
alter table bars_1m add column ts_final timestamptz;
alter table bars_1h add column ts_final timestamptz;

-- A revision is what a bar said until `ts_replaced`: other prices or volume ('values'), or the same
-- under another score or other flags ('score'), because of what became known beside it. What a bar
-- said at an instant is its first revision that was replaced after it, else the bar itself.
alter table bar_revisions add column ts_final timestamptz;
alter table bar_revisions add column reason text not null default 'values'
  check (reason in ('values', 'score'));
-- Two revisions may end in one instant: their number says which was first.
alter table bar_revisions add column revision_id bigint generated always as identity;
create index bar_revisions_recent on bar_revisions (reason, ts_replaced, revision_id);
create index bar_revisions_instrument
  on bar_revisions (instrument_id, reason, ts_replaced, revision_id);

alter table instrument_status add column revisions bigint not null default 0; -- of values
alter table instrument_status add column last_revision_at timestamptz;
update instrument_status s
set revisions = r.count, last_revision_at = r.latest
from (select instrument_id, timeframe, count(*) as count, max(ts_replaced) as latest
      from bar_revisions group by instrument_id, timeframe) r
where s.instrument_id = r.instrument_id and s.timeframe = r.timeframe;

-- Splits and dividends are kept in versions: one that says something else ends the one before
-- (`ts_withdrawn`) and begins where it ended (`ts_received`). An action that the provider no longer
-- lists is doubted from `ts_missing` on, and withdrawn when a later answer lacks it too.
alter table corporate_actions drop constraint corporate_actions_pkey;
alter table corporate_actions add column version_id bigint generated always as identity;
alter table corporate_actions add column ts_missing timestamptz;
alter table corporate_actions add column subtype text; -- the provider's: reverse_split, special
alter table corporate_actions add primary key (instrument_id, version_id);
create unique index corporate_actions_current
  on corporate_actions (instrument_id, kind, provider, provider_action_id)
  where ts_withdrawn is null;

-- Providers correct splits and dividends of long ago: they are asked for again every week.
update coverage set retry_at = asked_at + interval '7 days'
where dataset in ('splits', 'dividends') and state = 'complete' and is_settled;

-- Who says that a symbol meant an instrument in a range: a provider, 'operator', or null (assumed).
alter table symbol_ranges add column source text;
alter table instruments add column figi text; -- composite FIGI, where a provider says it
alter table instruments add column lineage_at timestamptz; -- when earlier symbols were asked for

-- What is to be looked at: a rule that a bar did not pass, a jump that looks like a split. `digest`
-- is of the values it is about: a decision holds as long as they are the same.
create table findings (
  finding_id    bigint generated always as identity,
  instrument_id integer not null references instruments,
  timeframe     text not null,
  session       date not null,
  ts            timestamptz not null default '-infinity', -- of a bar below a day
  kind          text not null,                          -- a quality rule, possible_split ...
  state         text not null default 'open'
    check (state in ('open', 'accepted', 'rejected', 'resolved')),
  detail        jsonb,
  digest        text not null,
  note          text,
  decided_by    text,
  ts_found      timestamptz not null,
  ts_decided    timestamptz,
  ts_resolved   timestamptz,                            -- when it was no longer so
  primary key (instrument_id, timeframe, session, ts, kind),
  check ((state in ('accepted', 'rejected')) = (ts_decided is not null)),
  check ((state = 'resolved') = (ts_resolved is not null))
);
create unique index findings_id on findings (finding_id);
create index findings_newest on findings (state, session desc, finding_id desc);
create index findings_queue on findings (state, kind, session desc, finding_id desc);
-- What an ingest has to know of: few, among many that nobody looked at.
create index findings_decided on findings (instrument_id, timeframe)
  where state in ('accepted', 'rejected');

-- How many there are, kept by whatever changes them: a report never counts findings.
create table finding_counts (
  instrument_id integer not null,
  kind          text not null,
  state         text not null,
  count         bigint not null,
  primary key (instrument_id, kind, state)
);

create function count_findings() returns trigger
  language plpgsql
  as $$
  begin
    if tg_op in ('INSERT', 'UPDATE') then
      insert into finding_counts as c (instrument_id, kind, state, count)
      select instrument_id, kind, state, count(*) from added
      group by instrument_id, kind, state order by instrument_id, kind, state
      on conflict (instrument_id, kind, state) do update set count = c.count + excluded.count;
    end if;
    if tg_op in ('DELETE', 'UPDATE') then
      insert into finding_counts as c (instrument_id, kind, state, count)
      select instrument_id, kind, state, -count(*) from gone
      group by instrument_id, kind, state order by instrument_id, kind, state
      on conflict (instrument_id, kind, state) do update set count = c.count + excluded.count;
    end if;
    return null;
  end
  $$;
create trigger findings_inserted after insert on findings
  referencing new table as added for each statement execute function count_findings();
create trigger findings_updated after update on findings
  referencing new table as added old table as gone
  for each statement execute function count_findings();
create trigger findings_deleted after delete on findings
  referencing old table as gone for each statement execute function count_findings();

-- Who did what by hand. Rows are only added.
create table audit_log (
  audit_id      bigint generated always as identity primary key,
  ts            timestamptz not null default now(),
  actor         text not null,                          -- 'http 127.0.0.1', 'cli root'
  action        text not null,                          -- 'finding.accept', 'symbol.rename'
  instrument_id integer,
  target        text not null,                          -- for people: 'AAPL 1d 2020-08-31 gap'
  detail        jsonb
);
create index audit_log_instrument on audit_log (instrument_id, ts desc);
create index audit_log_finding on audit_log (((detail ->> 'finding_id')::bigint))
  where action like 'finding.%';

-- Bars that were flagged before there were findings. A digest is of the values as they are sent
-- (big-endian doubles), see src/model/finding.ts.
insert into findings (instrument_id, timeframe, session, ts, kind, digest, ts_found)
select b.instrument_id, b.timeframe, b.session, b.ts, q.name,
       md5(float8send(b.open + 0) || float8send(b.high + 0) || float8send(b.low + 0)
           || float8send(b.close + 0) || float8send(b.volume + 0)), b.ts_received
from (select instrument_id, '1d' as timeframe, session, '-infinity'::timestamptz as ts, flags, open,
             high, low, close, volume, ts_received
      from bars_1d where flags <> 0
      union all
      select instrument_id, '1m', session, ts, flags, open, high, low, close, volume, ts_received
      from bars_1m where flags <> 0
      union all
      select instrument_id, '1h', session, ts, flags, open, high, low, close, volume, ts_received
      from bars_1h where flags <> 0) b
join quality_rules q
  on b.flags & q.bit <> 0 and q.deduction > 0 and q.name not in ('accepted', 'rejected')
order by b.instrument_id, b.timeframe, b.session, b.ts, q.bit;

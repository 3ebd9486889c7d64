-- What a second source said of stored bars, an instrument and run a row. Nothing is changed by it.
create table reconciliations (
  instrument_id integer not null references instruments,
  run_id        bigint not null references job_runs,
  ts            timestamptz not null,                   -- when the run began
  source        text not null,                          -- 'yahoo', or a file's name
  seed          bigint,                                 -- of the sample it was drawn in
  start_session date not null,
  end_session   date not null,                          -- inclusive: what was compared
  verdict       text not null
    check (verdict in ('agree', 'near', 'differ', 'conflict', 'none', 'failed')),
  side          text check (side in ('ours', 'theirs', 'both', 'unclear')),
  compared      integer not null default 0,             -- sessions on both sides
  only_ours     integer not null default 0,
  only_theirs   integer not null default 0,
  detail        jsonb,                                  -- src/model/reconciliation.ts
  error         text,
  primary key (instrument_id, run_id),
  check ((verdict = 'failed') = (error is not null)),
  check ((verdict = 'failed') = (detail is null))
);
create index reconciliations_recent on reconciliations (run_id desc, instrument_id);
create index reconciliations_seed on reconciliations (seed, ts) where seed is not null;

import { Html } from '@elysiajs/html';
import { describeHours } from '../src/model/calendar-change.ts';
import type { CalendarCell, CalendarMonth, CalendarYear } from '../src/model/calendar-year.ts';
import { formatClock, type MarketDay } from '../src/model/market.ts';
import type { MarketJobView } from '../src/model/market-job.ts';
import {
  attributeText,
  Badge,
  type Condition,
  capital,
  plural,
  Scroll,
  Text,
  Tile,
} from './elements.tsx';
import { Layout, type PageProps, PageTitle, Session, Time } from './layout.tsx';
import { Empty, withQuery } from './list.tsx';
import { ActionForm, Live, LiveLink } from './live.tsx';

/** When the exchange is open: now, in the coming days, and in a year as the operator has it. */

export const MARKET_PATH = '/dashboard/market';
export const CALENDAR_PATH = '/dashboard/market/calendar';
const OVERRIDES_PATH = '/dashboard/market/overrides';
/** What an action shows anew: all of the page that changes. */
export const MARKET_REGION = 'market';
const CALENDAR_REGION = 'market-calendar';

/** Texts of an instant that comes. */
export interface ComingView {
  /** 'Mon 2026-11-30 09:30 EST' */
  at: string;
  /** '2 d 3 h' */
  inTime: string;
  note: string;
}

/** Everything to the minute: it is what an open page is told of. */
export interface NowView {
  isOpen: boolean;
  sentence: string;
  /** 'regular', 'pre-market' ... */
  part: string;
  /** 'Fri 2026-11-27 12:00 EST', '17:00 UTC' */
  newYork: string;
  utc: string;
  today: MarketDay;
  nextOpen: ComingView | null;
  nextClose: ComingView | null;
  /** The latest session whose bars can be had. */
  published: string | null;
  sessions: MarketDay[];
  /** Days that are closed, or close early. */
  special: (MarketDay & { inDays: number })[];
  jobs: MarketJobView[];
  nightly: { status: 'running' | 'standby' | 'stopped'; nextRun: Date | null };
}

export interface OverrideView {
  date: string;
  weekday: string;
  /** '09:30 to 13:00 EST', 'closed all day (Blizzard)' */
  says: string;
  /** What the calendar says without it. */
  insteadOf: string;
  reason: string;
  actor: string | null;
  madeAt: Date;
}

/** What an operator has written into the form and not saved. */
export interface DraftView {
  date: string;
  kind: string;
  open: string;
  close: string;
  reason: string;
  /** What is wrong with it. */
  problem?: { field: string; message: string };
  /** What saving it would change. */
  effects?: string[];
  /** Names what the effects are of; nothing else is saved on their account. */
  checked?: string;
}

export interface YearView {
  calendar: CalendarYear;
  /** Today's, and the first and the last that there are. */
  thisYear: number;
  firstYear: number;
  lastYear: number;
  firstDate: string;
  lastDate: string;
  overrides: OverrideView[];
  draft: DraftView;
}

export interface MarketView {
  now: NowView;
  year: YearView;
}

// ------------------------------------------------------------------------------ now

/** The state of the exchange, which changes by itself. */
export function MarketNow(props: { view: NowView; pollSeconds: number }): JSX.Element {
  const { view, pollSeconds } = props;
  const { isOpen, sentence } = view;
  const [word, ...rest] = sentence.split(/(?<=^(?:open|closed:?)) /);
  return (
    <Live id="market-now" path={MARKET_PATH} pollSeconds={pollSeconds}>
      <p class={`notice ${isOpen ? 'good' : 'idle'}`} id="market-state">
        <strong safe>{capital(word.replace(':', ''))}</strong> <Text text={rest.join(' ')} />
      </p>
      <section aria-label="Hours">
        <NowTiles view={view} />
      </section>
      <div class="market-columns">
        <section aria-labelledby="next-sessions">
          <h2 id="next-sessions">Next sessions</h2>
          <Sessions sessions={view.sessions} />
        </section>
        <section aria-labelledby="next-special">
          <h2 id="next-special">Next holidays and early closes</h2>
          <NextSpecial special={view.special} />
        </section>
      </div>
      <section aria-labelledby="market-jobs">
        <h2 id="market-jobs">Jobs that follow the market</h2>
        <Jobs view={view} />
      </section>
    </Live>
  );
}

const LAST = 'after the end of the calendar';

function NowTiles({ view }: { view: NowView }): JSX.Element {
  const { today, part, newYork, utc, nextOpen, nextClose, published } = view;
  const coming = (label: string, next: ComingView | null) => (
    <Tile
      label={label}
      value={<Text text={next ? `in ${next.inTime}` : 'None'} />}
      note={<Text text={next ? `${next.at}${next.note && `, ${next.note}`}` : LAST} />}
    />
  );
  const [day, date, ...clock] = newYork.split(' ');
  return (
    <dl class="tiles market-tiles">
      <Tile
        label="New York"
        value={<Text text={clock.join(' ')} />}
        note={<Text text={`${day} ${date}, ${utc}`} />}
      />
      <Tile
        label="Part of the day"
        value={<Text text={capital(part)} />}
        note={<Text text={`today ${describeHours(today)}`} />}
      />
      {view.isOpen ? coming('Closes', nextClose) : coming('Opens', nextOpen)}
      {view.isOpen ? coming('Opens again', nextOpen) : coming('Closes', nextClose)}
      <Tile
        label="Latest published session"
        value={published === null ? <Text text="None" /> : <Session date={published} />}
        note={<Text text="whose daily bars can be had" />}
      />
    </dl>
  );
}

/** '09:30' */
const clock = (ms: number) => formatClock(ms).split(' ')[0];

function Sessions({ sessions }: { sessions: MarketDay[] }): JSX.Element {
  if (sessions.length === 0) {
    return <p class="quiet">The calendar ends here: it has no further session.</p>;
  }
  return (
    <Scroll labelledby="next-sessions">
      <table>
        <thead>
          <tr>
            <th scope="col">Session</th>
            <th scope="col">Day</th>
            <th scope="col">Pre-market</th>
            <th scope="col">Open</th>
            <th scope="col">Close</th>
            <th scope="col">After-hours to</th>
            <th scope="col">Zone</th>
          </tr>
        </thead>
        <tbody>
          {sessions.map((session) => (
            <SessionRow session={session} />
          ))}
        </tbody>
      </table>
    </Scroll>
  );
}

function SessionRow({ session }: { session: MarketDay }): JSX.Element | null {
  const { date, weekday, hours, isEarlyClose } = session;
  if (hours === null) return null;
  const [, zone] = formatClock(hours.closeMs).split(' ');
  return (
    <tr id={`session-${date}`}>
      <th scope="row">
        <Session date={date} />
      </th>
      <td safe>{weekday.slice(0, 3)}</td>
      <td safe>{clock(hours.preMarketMs)}</td>
      <td safe>{clock(hours.openMs)}</td>
      <td>
        <Text text={clock(hours.closeMs)} />{' '}
        {isEarlyClose ? <Badge condition="attention" word="Early" /> : null}
      </td>
      <td safe>{clock(hours.endMs)}</td>
      <td safe>{zone}</td>
    </tr>
  );
}

function NextSpecial({ special }: { special: NowView['special'] }): JSX.Element {
  if (special.length === 0) return <p class="quiet">The calendar has no further one.</p>;
  return (
    <ul class="market-days">
      {special.map((day) => (
        <li id={`special-${day.date}`}>
          <span>
            <Session date={day.date} /> <Text text={day.weekday.slice(0, 3)} />
          </span>
          <span>
            <Text text={day.hours === null ? (day.reason ?? '') : describeHours(day)} />{' '}
            {day.hours === null ? null : <Badge condition="attention" word="Early close" />}
          </span>
          <span class="quiet" safe>
            {day.inDays === 0 ? 'today' : `in ${plural(day.inDays, 'day')}`}
          </span>
        </li>
      ))}
    </ul>
  );
}

// ----------------------------------------------------------------------------- jobs

const PHASES: Record<MarketJobView['phase'], { condition: Condition; word: string }> = {
  running: { condition: 'busy', word: 'Running' },
  sleeping: { condition: 'good', word: 'Waiting' },
  standby: { condition: 'idle', word: 'Another process' },
  stopped: { condition: 'attention', word: 'Stopped' },
};

function Jobs({ view }: { view: NowView }): JSX.Element {
  const { jobs, nightly } = view;
  if (jobs.length === 0 && nightly.status === 'stopped') {
    return (
      <Empty title="Nothing runs by itself in this process">
        <p>
          Start marketd with <code>SCHEDULER=on</code> and a provider (<code>POLYGON_API_KEY</code>)
          to fill history every night and bars below a day while the market is open, and with{' '}
          <code>QUOTES=yahoo</code> to collect price snapshots.
        </p>
      </Empty>
    );
  }
  return (
    <Scroll labelledby="market-jobs">
      <table>
        <thead>
          <tr>
            <th scope="col">Job</th>
            <th scope="col">State</th>
            <th scope="col">When</th>
            <th scope="col">Last run</th>
            <th scope="col">Next run</th>
          </tr>
        </thead>
        <tbody>
          {jobs.map((job) => (
            <JobRow job={job} />
          ))}
          <NightlyRow nightly={nightly} />
        </tbody>
      </table>
    </Scroll>
  );
}

const JOB_NAMES: Record<string, string> = {
  intraday: 'Bars below a day',
  quotes: 'Price snapshots',
};

function JobRow({ job }: { job: MarketJobView }): JSX.Element {
  const { name, everySeconds, lastRunDelaySeconds, phase, wakesAt, lastRun, lastError } = job;
  const every = `every ${durationOf(everySeconds)} while it is open`;
  return (
    <tr id={`job-${name}`}>
      <th scope="row" safe>
        {JOB_NAMES[name] ?? name}
      </th>
      <td>
        <Badge {...PHASES[phase]} />
      </td>
      <td safe>{`${every}, and ${durationOf(lastRunDelaySeconds)} after the close`}</td>
      <td>
        {lastRun === null ? (
          'none since the start'
        ) : (
          <>
            <Time at={lastRun.startedAt} />{' '}
            {lastRun.hasFailed ? (
              <Badge condition="bad" word="Failed" />
            ) : (
              <Badge condition="good" word={lastRun.isLast ? 'Last of the day' : 'Done'} />
            )}
          </>
        )}
        {lastError === null ? null : (
          <p
            class="quiet"
            safe
          >{`${lastError.at.toISOString().slice(0, 16)}Z: ${lastError.message}`}</p>
        )}
      </td>
      <td>{wakesAt === null ? 'now' : <Time at={wakesAt} />}</td>
    </tr>
  );
}

const NIGHTLY: Record<NowView['nightly']['status'], { condition: Condition; word: string }> = {
  running: { condition: 'good', word: 'Waiting' },
  standby: PHASES.standby,
  stopped: PHASES.stopped,
};

function NightlyRow({ nightly }: { nightly: NowView['nightly'] }): JSX.Element {
  return (
    <tr id="job-nightly">
      <th scope="row">Nightly backfill</th>
      <td>
        <Badge {...NIGHTLY[nightly.status]} />
      </td>
      <td>every night, whatever became a session since</td>
      <td>
        <a href="/dashboard/backfill">see Backfill</a>
      </td>
      <td>{nightly.nextRun === null ? 'none' : <Time at={nightly.nextRun} />}</td>
    </tr>
  );
}

/** 300 -> '5 min' */
function durationOf(seconds: number): string {
  return seconds % 60 === 0 ? `${seconds / 60} min` : `${seconds} s`;
}

// ----------------------------------------------------------------------------- year

const WEEKDAYS = [
  ...['Monday', 'Tuesday', 'Wednesday', 'Thursday', 'Friday', 'Saturday', 'Sunday'],
];
/** Years that the switch offers on either side. */
const YEARS_AROUND = 2;
/** An open page asks for the year's calendar that many times more seldom than for the rest. */
const CALM = 6;

/** The calendar of a year and what the operator has said otherwise; still but for the operators. */
export function MarketCalendar(props: { view: YearView; pollSeconds: number }): JSX.Element {
  const { view, pollSeconds } = props;
  const { calendar, draft } = view;
  const path = withQuery(CALENDAR_PATH, { year: calendar.year, ...draftQuery(draft) });
  return (
    <Live id={CALENDAR_REGION} path={path} pollSeconds={pollSeconds * CALM}>
      <section aria-labelledby="calendar">
        <h2 id="calendar">
          <Text text={`Calendar of ${calendar.year}`} />{' '}
          <span class="total" safe>
            {plural(calendar.sessions, 'session')}
          </span>
        </h2>
        <YearSwitch view={view} />
        <div class="market-months">
          {calendar.months.map((month) => (
            <Month month={month} year={calendar.year} />
          ))}
        </div>
        <Legend />
        <Special calendar={calendar} />
      </section>
      <section aria-labelledby="overrides">
        <h2 id="overrides">
          Overrides{' '}
          <span class="total" safe>
            {`${view.overrides.length}`}
          </span>
        </h2>
        <Overrides view={view} />
        <OverrideForm view={view} />
      </section>
    </Live>
  );
}

function draftQuery({ date, kind, open, close, reason }: DraftView) {
  return { date, kind, open, close, reason };
}

function YearSwitch({ view }: { view: YearView }): JSX.Element {
  const { calendar, thisYear, firstYear, lastYear } = view;
  const { year } = calendar;
  const around = Array.from({ length: 2 * YEARS_AROUND + 1 }, (_, i) => year - YEARS_AROUND + i);
  const years = [...new Set([firstYear, ...around, thisYear, lastYear])]
    .filter((one) => one >= firstYear && one <= lastYear)
    .sort((a, b) => a - b);
  return (
    <nav aria-label="Years">
      <ul class="tabs">
        {years.map((one) => (
          <li>
            <LiveLink
              href={withQuery(CALENDAR_PATH, { year: one })}
              region={CALENDAR_REGION}
              isCurrent={one === year}
            >
              <Text text={`${one}`} />
            </LiveLink>
          </li>
        ))}
      </ul>
    </nav>
  );
}

function Month({ month, year }: { month: CalendarMonth; year: number }): JSX.Element {
  return (
    <table class="month">
      <caption safe>{`${month.name} ${year}`}</caption>
      <thead>
        <tr>
          {WEEKDAYS.map((name) => (
            <th scope="col">
              <abbr title={name} safe>
                {name.slice(0, 2)}
              </abbr>
            </th>
          ))}
        </tr>
      </thead>
      <tbody>
        {month.weeks.map((week) => (
          <tr>
            {week.map((cell) => (
              <Cell cell={cell} />
            ))}
          </tr>
        ))}
      </tbody>
    </table>
  );
}

const LETTERS: Record<CalendarCell['mark'], string> = {
  session: '',
  weekend: '',
  closed: 'C',
  early: 'E',
};

function Cell({ cell }: { cell: CalendarCell | null }): JSX.Element {
  if (cell === null) return <td class="none"></td>;
  const { date, dayOfMonth, mark, isOverride, isToday, note } = cell;
  const letters = `${LETTERS[mark]}${isOverride ? 'O' : ''}`;
  return (
    <td
      class={`day ${mark}${isOverride ? ' override' : ''}${isToday ? ' today' : ''}`}
      title={note === null ? undefined : attributeText(`${date}: ${note}`)}
      aria-current={isToday ? 'date' : undefined}
    >
      <time datetime={date}>{dayOfMonth}</time>
      {letters === '' ? null : <sup safe>{letters}</sup>}
    </td>
  );
}

function Legend(): JSX.Element {
  const entry = (mark: string, sample: string, text: string) => (
    <li>
      <span class={`day ${mark}`} aria-hidden="true">
        <sup safe>{sample}</sup>
      </span>{' '}
      <Text text={text} />
    </li>
  );
  return (
    <ul class="legend calendar-legend">
      {entry('session', '', 'session, 09:30 to 16:00')}
      {entry('early', 'E', 'E: early close')}
      {entry('closed', 'C', 'C: closed')}
      {entry('weekend', '', 'weekend')}
      {entry('override', 'O', 'O: overridden by an operator')}
      {entry('today', '', 'today')}
    </ul>
  );
}

function Special({ calendar }: { calendar: CalendarYear }): JSX.Element {
  return (
    <>
      <h3 id="special">
        <Text text={`Holidays, early closes and overrides of ${calendar.year}`} />
      </h3>
      <ul class="market-days columns">
        {calendar.special.map((day) => (
          <li id={`day-${day.date}`}>
            <span>
              <Session date={day.date} /> <Text text={day.weekday.slice(0, 3)} />
            </span>
            <span>
              <Text text={day.hours === null ? (day.reason ?? '') : describeHours(day)} />{' '}
              {day.isEarlyClose ? <Badge condition="attention" word="Early close" /> : null}{' '}
              {day.isOverride ? <Badge condition="busy" word="Override" /> : null}
            </span>
          </li>
        ))}
      </ul>
    </>
  );
}

// ------------------------------------------------------------------------ overrides

function Overrides({ view }: { view: YearView }): JSX.Element {
  if (view.overrides.length === 0) {
    return (
      <Empty title="The calendar is as the exchange's rules have it">
        <p>
          Has the exchange announced a closure, or other hours, that the calendar above does not
          know? Say so below: it counts at once, everywhere.
        </p>
      </Empty>
    );
  }
  return (
    <Scroll labelledby="overrides">
      <table>
        <thead>
          <tr>
            <th scope="col">Date</th>
            <th scope="col">Is</th>
            <th scope="col">Instead of</th>
            <th scope="col">Reason</th>
            <th scope="col">Made</th>
            <th scope="col">Change</th>
          </tr>
        </thead>
        <tbody>
          {view.overrides.map((override) => (
            <OverrideRow override={override} year={view.calendar.year} />
          ))}
        </tbody>
      </table>
    </Scroll>
  );
}

interface OverrideRowProps {
  override: OverrideView;
  year: number;
}

function OverrideRow({ override, year }: OverrideRowProps): JSX.Element {
  const { date, weekday, says, insteadOf, reason, actor, madeAt } = override;
  return (
    <tr id={`override-${date}`}>
      <th scope="row">
        <Session date={date} /> <Text text={weekday.slice(0, 3)} />
      </th>
      <td safe>{says}</td>
      <td safe>{insteadOf}</td>
      <td class="wrapped" safe>
        {reason}
      </td>
      <td>
        <Text text={actor ?? 'in the database'} />, <Time at={madeAt} />
      </td>
      <td>
        <ActionForm
          action={`${OVERRIDES_PATH}/remove`}
          region={MARKET_REGION}
          fields={{ date, year: `${year}` }}
        >
          <button
            type="submit"
            id={`remove-${date}`}
            class="button danger"
            aria-label={`Remove the override of ${date}`}
          >
            Remove
          </button>
        </ActionForm>
      </td>
    </tr>
  );
}

function OverrideForm({ view }: { view: YearView }): JSX.Element {
  const { draft, firstDate, lastDate, calendar } = view;
  const { problem, effects } = draft;
  return (
    <ActionForm
      id="override-form"
      class="panel override-form"
      label="Say otherwise of a day"
      action={OVERRIDES_PATH}
      region={MARKET_REGION}
      fields={{ year: `${calendar.year}`, checked: draft.checked }}
    >
      <h3>Say otherwise of a day</h3>
      <div class="fields">
        <FormField name="date" label="Date, in New York" problem={problem}>
          <input
            id="override-date"
            name="date"
            type="date"
            required
            min={firstDate}
            max={lastDate}
            value={attributeText(draft.date)}
            {...invalid('date', problem)}
          />
        </FormField>
        <KindField draft={draft} />
        <HoursField name="open" label="Open" usual="09:30" draft={draft} />
        <HoursField name="close" label="Close" usual="16:00" draft={draft} />
        <FormField name="reason" label="Reason" problem={problem}>
          <input
            id="override-reason"
            name="reason"
            type="text"
            required
            maxlength="200"
            size="36"
            autocomplete="off"
            value={attributeText(draft.reason)}
            {...invalid('reason', problem)}
          />
        </FormField>
      </div>
      {effects ? <Effects effects={effects} /> : null}
      <p class="buttons">
        <button
          type="submit"
          class={`button${effects ? '' : ' primary'}`}
          name="step"
          value="check"
        >
          {effects ? 'Look again' : 'See what changes'}
        </button>
        {effects ? (
          <button type="submit" class="button primary" name="step" value="save">
            Save the override
          </button>
        ) : null}
      </p>
    </ActionForm>
  );
}

function Effects({ effects }: { effects: string[] }): JSX.Element {
  return (
    <div class="notice attention" id="effects">
      <strong>What changes</strong>
      <ul class="reasons">
        {effects.map((sentence) => (
          <li safe>{`${capital(sentence)}.`}</li>
        ))}
      </ul>
      <p>Stored bars are never changed by it. Nothing is saved yet.</p>
    </div>
  );
}

type Problem = DraftView['problem'];

function invalid(name: string, problem: Problem): Record<string, string> {
  return problem?.field === name
    ? { 'aria-invalid': 'true', 'aria-describedby': `override-${name}-problem` }
    : {};
}

interface FormFieldProps {
  name: string;
  label: string;
  problem: Problem;
  children: JSX.Element;
}

function FormField({ name, label, problem, children }: FormFieldProps): JSX.Element {
  return (
    <div class="field">
      <label for={`override-${name}`} safe>
        {label}
      </label>
      {children}
      <FieldProblem name={name} problem={problem} />
    </div>
  );
}

function FieldProblem(props: { name: string; problem: Problem }): JSX.Element | null {
  const { name, problem } = props;
  if (problem?.field !== name) return null;
  return (
    <span class="field-problem" id={`override-${name}-problem`} safe>
      {problem.message}
    </span>
  );
}

function KindField({ draft }: { draft: DraftView }): JSX.Element {
  const option = (value: string, text: string) => (
    <label for={`override-${value}`}>
      <input
        id={`override-${value}`}
        type="radio"
        name="kind"
        value={value}
        checked={draft.kind === value}
        {...invalid('kind', draft.problem)}
      />
      <Text text={text} />
    </label>
  );
  return (
    <fieldset class="field">
      <legend>The exchange is</legend>
      <div class="choice">
        {option('closed', 'closed all day')}
        {option('session', 'open, with these hours')}
      </div>
      <FieldProblem name="kind" problem={draft.problem} />
    </fieldset>
  );
}

interface HoursFieldProps {
  name: 'open' | 'close';
  label: string;
  usual: string;
  draft: DraftView;
}

function HoursField({ name, label, usual, draft }: HoursFieldProps): JSX.Element {
  return (
    <div class="hours">
      <FormField name={name} label={`${label} (empty: ${usual})`} problem={draft.problem}>
        <input
          id={`override-${name}`}
          name={name}
          type="text"
          size="6"
          placeholder={usual}
          pattern="([01]\d|2[0-3]):[0-5]\d"
          title="New York time, HH:MM"
          autocomplete="off"
          value={attributeText(draft[name])}
          {...invalid(name, draft.problem)}
        />
      </FormField>
    </div>
  );
}

// ----------------------------------------------------------------------------- page

export interface MarketPartProps {
  view: MarketView;
  pollSeconds: number;
}

/** All of the page that changes; what an action answers. */
export function MarketBody({ view, pollSeconds }: MarketPartProps): JSX.Element {
  return (
    <div id={MARKET_REGION}>
      <MarketNow view={view.now} pollSeconds={pollSeconds} />
      <MarketCalendar view={view.year} pollSeconds={pollSeconds} />
    </div>
  );
}

/** The whole page; complete without JavaScript. */
export function MarketPage({ page, view }: { page: PageProps; view: MarketView }): JSX.Element {
  return (
    <Layout page={page} title="Market" section="market">
      <PageTitle title="Market">
        <span>New York Stock Exchange (XNYS)</span>
        <span>times are those of New York, with their zone</span>
      </PageTitle>
      <MarketBody view={view} pollSeconds={page.pollSeconds} />
    </Layout>
  );
}

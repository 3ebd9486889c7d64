import { Html } from '@elysiajs/html';
import { Elysia } from 'elysia';
import type { Notice } from '../../views/elements.tsx';
import { withQuery } from '../../views/list.tsx';
import {
  CALENDAR_PATH,
  type ComingView,
  type DraftView,
  MARKET_PATH,
  MARKET_REGION,
  MarketBody,
  MarketCalendar,
  MarketNow,
  MarketPage,
  type MarketView,
  type NowView,
  type OverrideView,
  type YearView,
} from '../../views/market.tsx';
import { InputError } from '../errors.ts';
import { describeHours } from '../model/calendar-change.ts';
import { calendarYear } from '../model/calendar-year.ts';
import {
  durationText,
  formatClock,
  formatUtc,
  marketAt,
  marketDay,
  newYorkZone,
  weekdayName,
} from '../model/market.ts';
import {
  type Calendar,
  type CalendarOverride,
  checkOverride,
  makeCalendar,
  newYorkDay,
  newYorkInstant,
  toDate,
  toDay,
} from '../model/session.ts';
import { describeOverride, type StoredOverride, selectOverrides } from '../store/calendar.ts';
import { pingDatabase } from '../store/database.ts';
import { actorOf } from './actor.ts';
import type { AppContext } from './app.ts';
import { dropOverride, previewChange, saveOverride } from './calendar-overrides.ts';
import { readForm } from './form.ts';
import {
  actionResponse,
  fragmentResponse,
  orAway,
  pageProps,
  pageResponse,
} from './page-response.tsx';
import { parseDate, parseWhole } from './parameters.ts';

const HIDDEN = { detail: { hide: true } };
const SESSIONS_SHOWN = 10;
const SPECIAL_SHOWN = 6;
const NOON = 12 * 60;
const OVERRIDES_PATH = `${MARKET_PATH}/overrides`;
/** Of a form: a date that is typed is within the calendar or shown as wrong, whatever the year. */
const DRAFT_LENGTH_MAX = 400;

type Query = Readonly<Record<string, string | undefined>>;
type Server = Parameters<typeof actorOf>[1];

interface MarketContext extends AppContext {
  /** The calendar without any override: what there would be instead. */
  rules: Calendar;
}

/** When the exchange is open, and what the operator says otherwise: a page and its two parts. */
export function marketPageRoutes(appContext: AppContext) {
  const context = { ...appContext, rules: makeCalendar() };
  return new Elysia({ name: 'market-page' })
    .get(MARKET_PATH, ({ query, request }) => page(context, query, request), HIDDEN)
    .get(`${MARKET_PATH}/status`, ({ request }) => nowFragment(context, request), HIDDEN)
    .get(CALENDAR_PATH, ({ query, request }) => page(context, query, request), HIDDEN)
    .get(
      `${CALENDAR_PATH}/status`,
      ({ query, request }) => calendarFragment(context, query, request),
      HIDDEN,
    )
    .post(OVERRIDES_PATH, ({ request, server }) => save(context, request, server), HIDDEN)
    .post(`${OVERRIDES_PATH}/remove`, ({ request, server }) => remove(context, request, server), {
      ...HIDDEN,
    })
    .post(`${OVERRIDES_PATH}/undo`, ({ request, server }) => undo(context, request, server), {
      ...HIDDEN,
    });
}

function page(context: MarketContext, query: Query, request: Request): Promise<Response> {
  return orAway(context, request, async () => {
    // With a deadline: a database that accepts and says nothing counts as away.
    await pingDatabase(context.database.read);
    const view = await collect(context, parseYear(context, query.year), parseDraft(query));
    const props = { page: pageProps(context, request), view };
    return pageResponse(request, <MarketPage {...props} />, view.year.draft.problem ? 422 : 200);
  });
}

async function nowFragment(context: MarketContext, request: Request): Promise<Response> {
  await pingDatabase(context.database.read);
  const view = collectNow(context);
  const { pollSeconds } = pageProps(context, request);
  return fragmentResponse(request, context.version, [view, pollSeconds], () => (
    <MarketNow view={view} pollSeconds={pollSeconds} />
  ));
}

async function calendarFragment(context: MarketContext, query: Query, request: Request) {
  await pingDatabase(context.database.read);
  const view = await collectYear(context, parseYear(context, query.year), parseDraft(query));
  const { pollSeconds } = pageProps(context, request);
  return fragmentResponse(request, context.version, [view, pollSeconds], () => (
    <MarketCalendar view={view} pollSeconds={pollSeconds} />
  ));
}

// -------------------------------------------------------------------------- reading

const yearOf = (day: number) => Number(toDate(day).slice(0, 4));
/** Today in New York; the calendar's last day when that is over. */
const todayOf = ({ calendar, now }: MarketContext) =>
  Math.min(Math.max(newYorkDay(now()), calendar.firstDay), calendar.lastDay);

/** @throws InputError for a year that the calendar does not have. */
function parseYear(context: MarketContext, text: string | undefined): number {
  const { firstDay, lastDay } = context.calendar;
  if (text === undefined || text === '') return yearOf(todayOf(context));
  return parseWhole(text, 'year', yearOf(firstDay), yearOf(lastDay));
}

/** What a form holds, cut to what any field may hold. */
function parseDraft(query: Query): DraftView {
  const text = (name: string) => (query[name] ?? '').slice(0, DRAFT_LENGTH_MAX);
  const [date, kind] = [text('date'), text('kind')];
  return { date, kind, open: text('open'), close: text('close'), reason: text('reason') };
}

const isEmpty = ({ date, kind, open, close, reason }: DraftView) =>
  `${date}${kind}${open}${close}${reason}` === '';

/** What the effects that were looked at are of. */
const checkedOf = ({ date, kind, open, close }: CalendarOverride) =>
  [date, kind, open ?? '', close ?? ''].join(' ');

// ----------------------------------------------------------------------- collecting

async function collect(
  context: MarketContext,
  year: number,
  draft: DraftView,
): Promise<MarketView> {
  return { now: collectNow(context), year: await collectYear(context, year, draft) };
}

function collectNow(context: MarketContext): NowView {
  const { calendar, now, publishDelayMs, operations } = context;
  const state = marketAt(calendar, now());
  const { atMs, today, isOpen, sentence } = state;
  const day = newYorkDay(atMs);
  const isOver = today.hours !== null && today.hours.closeMs <= atMs;
  const first = calendar.sessionsBefore(day) + (isOver ? 1 : 0);
  const count = Math.max(0, Math.min(SESSIONS_SHOWN, calendar.sessionCount - first));
  const published = calendar.latestSession(atMs, publishDelayMs);
  const { status, nextRun } = context.scheduler();
  return {
    ...{ isOpen, sentence, today },
    part: state.part.replace('_', '-'),
    newYork: newYorkText(atMs),
    utc: `${formatUtc(atMs).slice(11, 16)} UTC`,
    nextOpen: coming(calendar, state.nextOpenMs, atMs),
    nextClose: coming(calendar, state.nextCloseMs, atMs),
    published: published < 0 ? null : toDate(published),
    sessions: Array.from({ length: count }, (_, i) =>
      marketDay(calendar, calendar.sessionAt(first + i)),
    ),
    special: nextSpecial(calendar, day),
    jobs: operations.marketJobs?.() ?? [],
    nightly: { status, nextRun },
  };
}

/** 'Fri 2026-11-27 13:00 EST' */
function newYorkText(ms: number): string {
  const { weekday, date } = dayName(newYorkDay(ms));
  return `${weekday.slice(0, 3)} ${date} ${formatClock(ms)}`;
}

const dayName = (day: number) => ({ weekday: weekdayName(day), date: toDate(day) });

function coming(calendar: Calendar, ms: number | null, atMs: number): ComingView | null {
  if (ms === null) return null;
  const { hours, isEarlyClose } = marketDay(calendar, newYorkDay(ms));
  const note = isEarlyClose && hours?.closeMs === ms ? 'early close' : '';
  return { at: newYorkText(ms), inTime: durationText(ms - atMs), note };
}

/** The next days, from today on, that are closed and no weekend, or close early. */
function nextSpecial(calendar: Calendar, today: number): NowView['special'] {
  const found: NowView['special'] = [];
  for (let day = today; day <= calendar.lastDay && found.length < SPECIAL_SHOWN; day++) {
    const one = marketDay(calendar, day);
    const isHoliday = one.hours === null && one.reason !== 'weekend';
    if (isHoliday || one.isEarlyClose) found.push({ ...one, inDays: day - today });
  }
  return found;
}

async function collectYear(
  context: MarketContext,
  year: number,
  draft: DraftView,
): Promise<YearView> {
  const { calendar, database } = context;
  const { firstDay, lastDay } = calendar;
  const stored = await selectOverrides(database.read);
  const dates = new Set(stored.map(({ date }) => date));
  const today = todayOf(context);
  return {
    calendar: calendarYear(calendar, year, dates, today),
    thisYear: yearOf(today),
    firstYear: yearOf(firstDay),
    lastYear: yearOf(lastDay),
    firstDate: toDate(firstDay),
    lastDate: toDate(lastDay),
    overrides: stored.toReversed().map((one) => viewOverride(context, one)),
    draft: await checkDraft(context, draft),
  };
}

function viewOverride({ rules }: MarketContext, override: StoredOverride): OverrideView {
  const { date, kind, open = '09:30', close = '16:00', reason, actor, madeAt } = override;
  const instead = marketDay(rules, toDay(date));
  const zone = newYorkZone(newYorkInstant(toDay(date), NOON));
  const says = kind === 'closed' ? 'closed all day' : `${open} to ${close} ${zone}`;
  const insteadOf = describeHours(instead);
  return { ...{ date, weekday: instead.weekday, says, insteadOf }, ...{ reason, actor, madeAt } };
}

/** A draft with what is wrong with it, or what saving it would change. */
async function checkDraft(context: MarketContext, draft: DraftView): Promise<DraftView> {
  if (isEmpty(draft)) return draft;
  try {
    const override = checkOverride(draft);
    const { sentences } = await previewChange(context, override.date, override);
    return { ...draft, effects: sentences, checked: checkedOf(override) };
  } catch (error) {
    if (!(error instanceof InputError)) throw error;
    return { ...draft, problem: { field: error.field ?? 'date', message: error.message } };
  }
}

// -------------------------------------------------------------------------- changing

const NO_DRAFT: DraftView = { date: '', kind: '', open: '', close: '', reason: '' };

interface Outcome {
  notice: Notice;
  draft?: DraftView;
  status?: number;
}

/** The answer to a form: the page's parts anew, and what came of it. */
async function answer(
  context: MarketContext,
  request: Request,
  year: number,
  { notice, draft = NO_DRAFT, status }: Outcome,
): Promise<Response> {
  const view = await collect(context, year, draft);
  const props = pageProps(context, request);
  const { date, kind, open, close, reason } = draft;
  const shown = withQuery(CALENDAR_PATH, { year, date, kind, open, close, reason });
  return actionResponse(request, {
    ...{ notice, status },
    location: `${shown}#overrides`,
    region: () => <MarketBody view={view} pollSeconds={props.pollSeconds} />,
    page: (told) => <MarketPage page={{ ...props, notice: told }} view={view} />,
  });
}

/** Looks at what an override would change, or saves it when that has been looked at. */
async function save(context: MarketContext, request: Request, server: Server) {
  const form = Object.fromEntries(await readForm(request));
  const draft = parseDraft(form);
  let override: CalendarOverride;
  try {
    override = checkOverride(draft);
  } catch (error) {
    if (!(error instanceof InputError)) throw error;
    const notice: Notice = { condition: 'bad', text: `Nothing is saved: ${error.message}.` };
    return answer(context, request, parseYear(context, form.year), { notice, draft });
  }
  const year = Number(override.date.slice(0, 4));
  const change = await previewChange(context, override.date, override);
  if (form.step !== 'save' || form.checked !== checkedOf(override)) {
    const text = `Not saved yet: ${change.sentences.join('; ')}. Look at it, then save it.`;
    return answer(context, request, year, { notice: { condition: 'attention', text }, draft });
  }
  const by = { actor: actorOf(request, server) };
  const { before, after, changed } = await saveOverride(context, override, by);
  const notice: Notice = changed
    ? {
        condition: 'good',
        text: `${change.sentences.join('; ')}.`,
        undo: undoOf(override.date, before, after),
      }
    : { condition: 'idle', text: `The calendar says so already of ${override.date}.` };
  return answer(context, request, year, { notice });
}

async function remove(context: MarketContext, request: Request, server: Server) {
  const form = Object.fromEntries(await readForm(request));
  const date = form.date ?? '';
  parseDate(date, 'date');
  const year = parseYear(context, form.year);
  const { sentences } = await previewChange(context, date, undefined);
  const by = { actor: actorOf(request, server) };
  const { before, changed } = await dropOverride(context, date, by);
  const notice: Notice = changed
    ? {
        condition: 'good',
        text: `The override of ${date} is removed: ${sentences.join('; ')}.`,
        undo: undoOf(date, before, null),
      }
    : { condition: 'idle', text: `There is no override of ${date} any more.` };
  return answer(context, request, year, { notice });
}

// ------------------------------------------------------------------------ taking back

/** What takes a change back, as long as nobody has changed the day again. */
function undoOf(
  date: string,
  before: StoredOverride | null,
  after: StoredOverride | null,
): Notice['undo'] {
  const fields = { date, before: packed(before), after: packed(after) };
  return { action: `${OVERRIDES_PATH}/undo`, fields, region: MARKET_REGION };
}

function packed(override: StoredOverride | null): string {
  if (override === null) return '';
  const { kind, open, close, reason } = override;
  return JSON.stringify({ kind, open, close, reason });
}

/** @throws InputError */
function unpacked(text: string | undefined, date: string): CalendarOverride | null {
  if (!text) return null;
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    throw new InputError('the form is not one of this page: load it again', 'before');
  }
  const given = (typeof value === 'object' && value) || {};
  return checkOverride({ kind: undefined, reason: undefined, ...given, date });
}

async function undo(context: MarketContext, request: Request, server: Server) {
  const form = Object.fromEntries(await readForm(request));
  const date = form.date ?? '';
  const year = yearOf(parseDate(date, 'date'));
  const before = unpacked(form.before, date);
  const by = { actor: actorOf(request, server), expected: unpacked(form.after, date) };
  const { changed } = before
    ? await saveOverride(context, before, by)
    : await dropOverride(context, date, by);
  const is = before ? describeOverride(before) : `${date} is as the rules have it`;
  const notice: Notice = changed
    ? { condition: 'good', text: `Taken back: ${is}.` }
    : { condition: 'bad', text: `Somebody has changed ${date} since: look at it as it is now.` };
  return answer(context, request, year, { notice, status: 409 });
}

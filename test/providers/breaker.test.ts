import { describe, expect, test } from 'bun:test';
import { ProviderError } from '../../src/errors.ts';
import { makeBreaker, RateLimitError } from '../../src/providers/breaker.ts';
import { failureOf } from '../fixtures/warehouse.ts';
import { ManualClock } from '../vendor-server.ts';

const START = '2025-10-30T14:00:00Z';
const SECOND = 1_000;
const MINUTE = 60 * SECOND;

function makeWorld() {
  const clock = new ManualClock(START);
  const lines: string[] = [];
  const breaker = makeBreaker({
    name: 'Vendor',
    failuresMax: 3,
    openMs: MINUTE,
    openMsMax: 5 * MINUTE,
    clock,
    log: (level, message) => lines.push(`${level} ${message}`),
  });
  let sent = 0;
  const send = (error?: Error) =>
    breaker.run(async () => {
      sent++;
      if (error) throw error;
      return 'fine';
    });
  return { clock, lines, breaker, send, sent: () => sent };
}

const away = () => new ProviderError('it is away', 'unavailable');
const tooMany = (retryAfterMs?: number) => new RateLimitError('too many requests', retryAfterMs);
const waitOf = (until: Date | null) => (until?.getTime() ?? Number.NaN) - Date.parse(START);

describe('the breaker', () => {
  test('opens after so many failures in a row, and says until when and why', async () => {
    const { breaker, send, sent, lines } = makeWorld();
    for (let i = 0; i < 2; i++) await failureOf(send(away()));
    await send();
    expect(breaker.state()).toMatchObject({ phase: 'closed', failuresInARow: 0, reason: null });
    for (let i = 0; i < 3; i++) expect(await failureOf(send(away()))).toBe('it is away');
    expect(breaker.state()).toEqual({
      phase: 'open',
      until: new Date('2025-10-30T14:01:00Z'),
      failuresInARow: 3,
      reason: 'it is away',
    });
    const refusal = await send().catch((error: unknown) => error);
    expect(refusal).toBeInstanceOf(ProviderError);
    expect((refusal as ProviderError).kind).toBe('unavailable');
    expect((refusal as Error).message).toBe(
      'Vendor is left alone until 2025-10-30T14:01:00.000Z (circuit breaker, opened once): ' +
        'it is away',
    );
    expect(sent()).toBe(6);
    expect(lines).toEqual([
      'WARNING Vendor is left alone until 2025-10-30T14:01:00.000Z: it is away',
    ]);
  });

  test('opens at once when it is asked too often, for as long as it was told', async () => {
    const { breaker, send } = makeWorld();
    await failureOf(send(tooMany(20 * MINUTE)));
    expect(breaker.state().phase).toBe('open');
    expect(waitOf(breaker.state().until)).toBe(20 * MINUTE);
    const other = makeWorld();
    await failureOf(other.send(tooMany(SECOND)));
    expect(waitOf(other.breaker.state().until)).toBe(MINUTE); // never less than its own
  });

  test('lets one request try when the time is over, and closes when that succeeds', async () => {
    const { breaker, clock, send, lines } = makeWorld();
    await failureOf(send(tooMany()));
    clock.advance(MINUTE);
    expect(breaker.state().phase).toBe('half-open');
    const { promise, resolve } = Promise.withResolvers<string>();
    const trial = breaker.run(() => promise);
    expect(await failureOf(send())).toContain('left alone');
    resolve('back');
    expect(await trial).toBe('back');
    expect(breaker.state()).toEqual({
      ...{ phase: 'closed', until: null, failuresInARow: 0, reason: null },
    });
    expect(await send()).toBe('fine');
    expect(lines.at(-1)).toBe('INFO Vendor answers again');
  });

  test('is open for longer and longer while the trials fail', async () => {
    const { breaker, clock, send } = makeWorld();
    const waits: number[] = [];
    for (let i = 0; i < 5; i++) {
      await failureOf(send(i === 0 ? tooMany() : away()));
      const until = breaker.state().until?.getTime() ?? 0;
      waits.push(until - clock.now());
      clock.advance(until - clock.now());
    }
    expect(waits.map((ms) => ms / MINUTE)).toEqual([1, 2, 4, 5, 5]);
    await send();
    await failureOf(send(tooMany()));
    expect((breaker.state().until?.getTime() ?? 0) - clock.now()).toBe(MINUTE);
  });

  test('takes a refusal of one symbol for an answer', async () => {
    const { breaker, send } = makeWorld();
    for (const kind of ['not_found', 'unauthorized', 'bad_request'] as const) {
      for (let i = 0; i < 3; i++) await failureOf(send(new ProviderError('no', kind)));
    }
    expect(breaker.state()).toMatchObject({ phase: 'closed', failuresInARow: 0 });
  });

  test('learns nothing from a request that was told to stop; another one may try', async () => {
    const { breaker, clock, send } = makeWorld();
    await failureOf(send(tooMany()));
    clock.advance(MINUTE);
    expect(await failureOf(send(new Error('stopped')))).toBe('stopped');
    expect(breaker.state().phase).toBe('half-open');
    expect(await send()).toBe('fine');
    expect(breaker.state().phase).toBe('closed');
  });

  test('is not closed by an answer that was under way when it opened', async () => {
    const { breaker, send } = makeWorld();
    const { promise, resolve } = Promise.withResolvers<string>();
    const slow = breaker.run(() => promise);
    await failureOf(send(tooMany()));
    resolve('late');
    expect(await slow).toBe('late');
    expect(breaker.state().phase).toBe('open');
  });
});

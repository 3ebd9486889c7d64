import { Html } from '@elysiajs/html';
import type { ServerState } from '../src/query/server-state.ts';
import type { TableSize } from '../src/query/sizes.ts';
import { Badge, type Condition, capital, count, plural, Scroll, Text, Tile } from './elements.tsx';
import { Layout, type PageProps, PageTitle, Time } from './layout.tsx';
import { Live } from './live.tsx';

/** A line of what `marketd doctor` finds, as it is shown. */
export interface DiagnosisView {
  check: string;
  state: 'ok' | 'warning' | 'problem';
  message: string;
}

export interface SettingView {
  name: string;
  value: string;
  /** What holds when nothing is set. */
  standard: string;
  isSet: boolean;
}

/** What changes while the page is open; rounded, so that most polls find nothing new. */
export interface SystemView {
  /** Worst first. */
  diagnoses: DiagnosisView[];
  server: ServerState;
  edition: string;
  databaseBytes: number;
  /** Largest first. */
  tables: TableSize[];
  process: {
    version: string;
    bun: string;
    startedAt: Date;
    pid: number;
    memoryBytes: number;
    /** The longest that the event loop was held up lately, ms. */
    delayMs: number;
  };
  scheduler: { status: string; nextRun: Date | null };
  caches: { label: string; bytes: number; bytesMax: number; note: string }[];
}

const UNITS = ['bytes', 'kB', 'MB', 'GB', 'TB'];

/** 1_536 -> '1.5 kB', 0 -> '0 bytes'; a kB is 1,024 bytes, as PostgreSQL has it. */
export function bytes(value: number): string {
  const power = value < 1 ? 0 : Math.min(UNITS.length - 1, Math.floor(Math.log2(value) / 10));
  const scaled = value / 1024 ** power;
  const text = power === 0 || scaled >= 100 ? count(Math.round(scaled)) : scaled.toFixed(1);
  return `${text} ${UNITS[power]}`;
}

const DIAGNOSIS_CONDITIONS: Record<DiagnosisView['state'], Condition> = {
  ok: 'good',
  warning: 'attention',
  problem: 'bad',
};

/** A sentence, and what is to be typed in it (between backquotes) as such. */
function Sentence({ text }: { text: string }): JSX.Element {
  return (
    <>
      {text
        .split('`')
        .map((part, i) => (i % 2 === 1 ? <code safe>{part}</code> : <Text text={part} />))}
    </>
  );
}

function Verdict({ diagnoses }: { diagnoses: DiagnosisView[] }): JSX.Element {
  const held = (state: DiagnosisView['state']) =>
    diagnoses.filter((one) => one.state === state).length;
  const [problems, warnings] = [held('problem'), held('warning')];
  if (problems + warnings === 0) {
    return (
      <div class="notice good">
        <strong>Sound</strong> Everything that was looked at is as it should be.
      </div>
    );
  }
  const parts = [
    problems > 0 && plural(problems, 'problem'),
    warnings > 0 && plural(warnings, 'warning'),
  ];
  return (
    <div class={`notice ${problems > 0 ? 'bad' : 'attention'}`}>
      <strong>{problems > 0 ? 'Problem' : 'Attention'}</strong>{' '}
      <Text text={`${parts.filter(Boolean).join(' and ')}. What mends each is said with it.`} />
    </div>
  );
}

function Diagnoses({ diagnoses }: { diagnoses: DiagnosisView[] }): JSX.Element {
  return (
    <section aria-labelledby="diagnoses">
      <h2 id="diagnoses">Examination</h2>
      <Verdict diagnoses={diagnoses} />
      <Scroll labelledby="diagnoses">
        <table class="diagnoses">
          <thead>
            <tr>
              <th scope="col">State</th>
              <th scope="col">What</th>
              <th scope="col">Found</th>
            </tr>
          </thead>
          <tbody>
            {diagnoses.map(({ check, state, message }) => (
              <tr>
                <td>
                  <Badge condition={DIAGNOSIS_CONDITIONS[state]} word={capital(state)} />
                </td>
                <th scope="row" safe>
                  {capital(check)}
                </th>
                <td class="prose">
                  <Sentence text={message} />
                </td>
              </tr>
            ))}
          </tbody>
        </table>
      </Scroll>
      <p class="quiet">
        The same in a shell: <code>marketd doctor</code>
      </p>
    </section>
  );
}

const SCHEDULER_CONDITIONS: Record<string, Condition> = {
  running: 'good',
  standby: 'idle',
  stopped: 'attention',
};

function ProgramTiles({ view }: { view: SystemView }): JSX.Element {
  const { process, scheduler, server } = view;
  const leader = server.leader;
  return (
    <>
      <Tile
        label="marketd"
        value={<Text text={process.version} />}
        note={<Text text={`Bun ${process.bun}`} />}
      />
      <Tile
        label="Process"
        value={<Text text={`${process.pid}`} />}
        note={
          <>
            since <Time at={process.startedAt} />
          </>
        }
      />
      <Tile
        label="Memory"
        value={<Text text={bytes(process.memoryBytes)} />}
        note={<Text text="of this process" />}
      />
      <Tile
        label="Longest pause"
        value={<Text text={`${count(process.delayMs)} ms`} />}
        note={<Text text="of the event loop, lately" />}
      />
      <Tile
        label="Scheduler"
        value={
          <Badge
            condition={SCHEDULER_CONDITIONS[scheduler.status] ?? 'idle'}
            word={capital(scheduler.status)}
          />
        }
        note={
          scheduler.nextRun ? (
            <>
              next <Time at={scheduler.nextRun} />
            </>
          ) : (
            <Text text="no run is planned" />
          )
        }
      />
      <Tile
        label="Leader"
        value={<Text text={leaderOf(view)} />}
        note={
          leader?.since ? (
            <>
              since <Time at={leader.since} />
            </>
          ) : (
            <Text text="runs the jobs of all processes" />
          )
        }
      />
    </>
  );
}

function leaderOf({ server, scheduler }: SystemView): string {
  if (server.leader === null) return 'Nobody';
  if (scheduler.status === 'running') return 'This process';
  return server.leader.address === null ? 'A process' : `A process at ${server.leader.address}`;
}

function DatabaseTiles({ view }: { view: SystemView }): JSX.Element {
  const { server, caches } = view;
  const timescale = server.timescale === null ? '' : `, TimescaleDB ${server.timescale}`;
  return (
    <>
      <Tile
        label="Database"
        value={<Text text={view.edition} />}
        note={<Text text={`PostgreSQL ${server.postgres}${timescale}`} />}
      />
      <Tile
        label="Schema"
        value={<Text text={`version ${server.schema}`} />}
        note={
          <>
            since <Time at={server.migratedAt} />
          </>
        }
      />
      <Tile
        label="Database size"
        value={<Text text={bytes(view.databaseBytes)} />}
        note={<Text text={plural(view.tables.length, 'table')} />}
      />
      <Tile
        label="Connections"
        value={<Text text={`${count(server.connections)} of ${count(server.connectionsMax)}`} />}
        note={
          <>
            server up since <Time at={server.startedAt} />
          </>
        }
      />
      {caches.map(({ label, bytes: used, bytesMax, note }) => (
        <Tile
          label={label}
          value={<Text text={bytes(used)} />}
          note={<Text text={`of ${bytes(bytesMax)}, ${note}`} />}
        />
      ))}
    </>
  );
}

function rowsOf({ rows, isCounted }: TableSize): string {
  if (rows === null) return 'not known';
  return isCounted ? count(rows) : `about ${count(rows)}`;
}

/** '3 chunks, 216 MB to 66.0 MB, 3.3 to 1'; nothing where nothing is compressed. */
function compressionOf({ compressed }: TableSize): string {
  if (compressed === null) return '';
  const { chunks, beforeBytes, afterBytes } = compressed;
  const ratio = (beforeBytes / afterBytes).toFixed(1);
  const sizes = `${bytes(beforeBytes)} to ${bytes(afterBytes)}`;
  return `${plural(chunks, 'chunk')}, ${sizes}, ${ratio} to 1`;
}

function TableRow({ table }: { table: TableSize }): JSX.Element {
  const { name, dataBytes, indexBytes, chunks } = table;
  return (
    <tr>
      <th scope="row" safe>
        {name}
      </th>
      <td class="number" safe>
        {rowsOf(table)}
      </td>
      <td class="number" safe>
        {bytes(dataBytes)}
      </td>
      <td class="number" safe>
        {bytes(indexBytes)}
      </td>
      <td class="number" safe>
        {bytes(dataBytes + indexBytes)}
      </td>
      <td class="number" safe>
        {chunks === 0 ? '' : count(chunks)}
      </td>
      <td>
        <Text text={compressionOf(table)} />
      </td>
    </tr>
  );
}

function Tables({ tables }: { tables: TableSize[] }): JSX.Element {
  return (
    <section aria-labelledby="tables">
      <h2 id="tables">Tables</h2>
      <Scroll labelledby="tables">
        <table>
          <thead>
            <tr>
              <th scope="col">Table</th>
              <th scope="col" class="number">
                Rows
              </th>
              <th scope="col" class="number">
                Data
              </th>
              <th scope="col" class="number">
                Indexes
              </th>
              <th scope="col" class="number">
                Together
              </th>
              <th scope="col" class="number">
                Chunks
              </th>
              <th scope="col">Compressed</th>
            </tr>
          </thead>
          <tbody>
            {tables.map((table) => (
              <TableRow table={table} />
            ))}
          </tbody>
        </table>
      </Scroll>
      <p class="quiet">
        Rows of bars and trades are counted as they are written; of other tables PostgreSQL
        estimates them.
      </p>
    </section>
  );
}

export interface SystemFragmentProps {
  view: SystemView;
  pollSeconds: number;
}

export const SYSTEM_PATH = '/dashboard/system';

/** Everything that changes while the page is open. */
export function SystemFragment({ view, pollSeconds }: SystemFragmentProps): JSX.Element {
  return (
    <Live id="system" path={SYSTEM_PATH} pollSeconds={pollSeconds}>
      <Diagnoses diagnoses={view.diagnoses} />
      <section aria-labelledby="process">
        <h2 id="process">Process and database</h2>
        <dl class="tiles eight">
          <ProgramTiles view={view} />
          <DatabaseTiles view={view} />
        </dl>
      </section>
      <Tables tables={view.tables} />
    </Live>
  );
}

function Settings({ settings }: { settings: SettingView[] }): JSX.Element {
  return (
    <section aria-labelledby="settings">
      <h2 id="settings">Settings</h2>
      <p class="quiet">
        Set by environment variables when marketd starts; secrets are masked. In a shell:{' '}
        <code>marketd doctor --config</code>
      </p>
      <Scroll labelledby="settings">
        <table class="settings">
          <thead>
            <tr>
              <th scope="col">Name</th>
              <th scope="col">Value</th>
              <th scope="col">From</th>
              <th scope="col">Default</th>
            </tr>
          </thead>
          <tbody>
            {settings.map(({ name, value, standard, isSet }) => (
              <tr>
                <th scope="row">
                  <code safe>{name}</code>
                </th>
                <td class="prose" safe>
                  {value}
                </td>
                <td>{isSet ? <Badge condition="busy" word="Set" /> : <Text text="default" />}</td>
                <td class="prose">
                  <Text text={isSet ? standard : ''} />
                </td>
              </tr>
            ))}
          </tbody>
        </table>
      </Scroll>
    </section>
  );
}

export interface SystemPageProps {
  page: PageProps;
  view: SystemView;
  /** Those that are set come first. */
  settings: SettingView[];
}

/** How the program, its process and its database are. */
export function SystemPage({ page, view, settings }: SystemPageProps): JSX.Element {
  return (
    <Layout page={page} title="System" section="system">
      <PageTitle title="System" />
      <SystemFragment view={view} pollSeconds={page.pollSeconds} />
      <Settings settings={settings} />
    </Layout>
  );
}

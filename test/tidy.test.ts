import { describe, expect, test } from 'bun:test';
import { execFileSync } from 'node:child_process';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { basename, dirname, extname, join, posix, resolve } from 'node:path';
import ts from 'typescript';

/** The rules of the layout that a machine can check. A rule that matters is a test. */

const ROOT = resolve(import.meta.dir, '..');
const LINE_CHARACTERS_MAX = 100;
const FUNCTION_LINES_MAX = 70;

/** What a request may write, or has to know of the database. The rest of store is ingest's. */
const HTTP_OF_STORE = [
  'store/jobs', // runs of jobs
  'store/activity', // what is under way
  'store/job-requests', // a button asks for a job
  'store/keys', // who asks, and the administration of keys
  'store/symbols', // the administration of symbols
  'store/decisions', // an operator decides about a finding
  'store/calendar', // an operator says otherwise of a day
  'store/database', // the pools, and whether an error means that they are away (503)
];

/** What each stage may import of ours, besides itself and EVERYWHERE. */
const ARROWS: Record<string, string[]> = {
  model: [],
  providers: ['model'],
  store: ['model', 'sql'],
  query: ['model', 'store/database', 'store/bar-columns', 'sql'],
  ingest: ['providers', 'model', 'store', 'query/coverage'],
  views: ['model'],
  http: ['query', 'views', 'model', ...HTTP_OF_STORE],
};

/** Of these only types may be imported, which leaves no arrow in the program. */
const TYPE_ARROWS: Record<string, string[]> = {
  views: ['query', 'store/jobs', 'store/job-requests', 'store/keys', 'store/symbols'],
};

const EVERYWHERE = ['errors', 'config', 'telemetry'];

/** These put the stages together and may import all of them. */
const ENTRIES = ['main', 'serve', 'background', 'doctor', 'backup', 'command', 'warehouse'];

const SQL_STAGES = ['store', 'query'];

const ROOT_ENTRIES = [
  ...['.ci', '.dockerignore', '.gitignore', '.npmrc', 'Dockerfile', 'LICENSE', 'README.md'],
  ...['biome.json', 'bun.lock', 'bunfig.toml', 'package.json', 'tsconfig.json'],
  ...['scripts', 'sql', 'src', 'systemd', 'test', 'views'],
];

const FORBIDDEN_FOLDERS = [
  ...['services', 'repositories', 'managers', 'controllers', 'handlers', 'dto', 'helpers'],
  ...['common', 'lib', 'core', 'shared', 'utils'],
];
const FORBIDDEN_FILES = ['utils', 'util', 'types', 'constants', 'helpers', 'common', 'index'];

/** Hosts of package registries and archives, in halves so that this file does not name them. */
const REGISTRY_HOSTS = [
  ['registry', 'npmjs'],
  ['registry', 'yarnpkg'],
  ['registry-1', 'docker'],
  ['deb', 'debian'],
  ['ftp', 'debian'],
  ['security', 'debian'],
  ['snapshot', 'debian'],
  ['archive', 'ubuntu'],
  ['apt', 'postgresql'],
  ['packagecloud', 'io'],
  ['pypi', 'org'],
].map((halves) => halves.join('.'));

/** Every file of the project: what git has or would add. */
const FILES = listFiles();
const SOURCES = FILES.filter((path) => /^(src|views|scripts|test)\/.*\.tsx?$/.test(path));
const PRODUCT = SOURCES.filter((path) => /^(src|views)\//.test(path));

function listFiles(): string[] {
  try {
    const flags = ['-z', '--cached', '--others', '--exclude-standard'];
    const list = execFileSync('git', ['ls-files', ...flags], { cwd: ROOT, stdio: 'pipe' });
    const paths = String(list).split('\0').filter(Boolean);
    return paths.filter((path) => existsSync(join(ROOT, path))).sort();
  } catch {
    return walk('').sort(); // an unpacked archive
  }
}

function walk(folder: string): string[] {
  const ignored = ['.git', 'node_modules', 'dist', '.cache', 'data', 'screenshots'];
  return readdirSync(join(ROOT, folder), { withFileTypes: true }).flatMap((entry) => {
    if (ignored.includes(entry.name) || entry.name.endsWith('.log')) return [];
    const path = posix.join(folder, entry.name);
    return entry.isDirectory() ? walk(path) : [path];
  });
}

const read = (path: string) => readFileSync(join(ROOT, path), 'utf8');

const trees = new Map<string, ts.SourceFile>();

function parse(path: string): ts.SourceFile {
  const kind = path.endsWith('x') ? ts.ScriptKind.TSX : ts.ScriptKind.TS;
  const tree =
    trees.get(path) ?? ts.createSourceFile(path, read(path), ts.ScriptTarget.Latest, true, kind);
  trees.set(path, tree);
  return tree;
}

function visit(node: ts.Node, see: (node: ts.Node) => void): void {
  see(node);
  ts.forEachChild(node, (child) => visit(child, see));
}

const lineOf = (node: ts.Node) => {
  const tree = node.getSourceFile();
  return `${tree.fileName}:${tree.getLineAndCharacterOfPosition(node.getStart()).line + 1}`;
};

/** 'src/store/upsert.ts' -> 'store/upsert', 'src/main.ts' -> 'main', 'sql/a.sql' -> 'sql/a'. */
const moduleName = (path: string) => path.replace(/^src\//, '').replace(/\.[^/]*$/, '');
const stageOf = (name: string) => name.split('/')[0];

describe('arrows', () => {
  test('each stage imports only what it may', () => {
    expect(PRODUCT.flatMap((path) => forbiddenImports(path))).toEqual([]);
  });

  test('each folder of src is a stage of the table', () => {
    const folders = PRODUCT.map(moduleName).filter((name) => name.includes('/'));
    const isKnown = (stage: string) => stage in ARROWS || ENTRIES.includes(stage);
    const unknown = new Set(folders.map(stageOf).filter((stage) => !isKnown(stage)));
    expect([...unknown]).toEqual([]);
  });

  test('nothing imports an entry', () => {
    const stages = PRODUCT.filter((path) => stageOf(moduleName(path)) in ARROWS);
    const wrong = stages.flatMap((path) =>
      ownImports(path).filter(({ name }) => ENTRIES.includes(stageOf(name))),
    );
    expect(wrong.map(({ place, name }) => `${place} imports ${name}`)).toEqual([]);
  });

  test('errors, config and telemetry stand alone', () => {
    const alone = PRODUCT.filter((path) => EVERYWHERE.includes(moduleName(path)));
    const wrong = alone.flatMap((path) =>
      ownImports(path).filter(({ name }) => !EVERYWHERE.includes(name)),
    );
    expect(wrong.map(({ place, name }) => `${place} imports ${name}`)).toEqual([]);
  });
});

interface OwnImport {
  place: string;
  name: string;
  isTypeOnly: boolean;
}

function forbiddenImports(path: string): string[] {
  const stage = stageOf(moduleName(path));
  const arrows = ARROWS[stage];
  if (!arrows) return [];
  const covers = (allowed: string[], name: string) =>
    allowed.some((entry) => name === entry || name.startsWith(`${entry}/`));
  const always = [stage, ...EVERYWHERE, ...arrows];
  return ownImports(path)
    .filter(({ name, isTypeOnly }) => {
      return !covers(isTypeOnly ? [...always, ...(TYPE_ARROWS[stage] ?? [])] : always, name);
    })
    .map(({ place, name, isTypeOnly }) => `${place} imports ${isTypeOnly ? 'type ' : ''}${name}`);
}

function ownImports(path: string): OwnImport[] {
  const found: OwnImport[] = [];
  visit(parse(path), (node) => {
    let target: ts.Node | undefined;
    let isTypeOnly = false;
    if (ts.isImportDeclaration(node)) {
      target = node.moduleSpecifier;
      isTypeOnly = isTypeImport(node.importClause);
    } else if (ts.isExportDeclaration(node)) {
      target = node.moduleSpecifier;
      isTypeOnly = node.isTypeOnly;
    } else if (ts.isCallExpression(node) && node.expression.kind === ts.SyntaxKind.ImportKeyword) {
      target = node.arguments[0];
    } else if (ts.isImportTypeNode(node)) {
      target = ts.isLiteralTypeNode(node.argument) ? node.argument.literal : undefined;
      isTypeOnly = true;
    }
    if (!target || !ts.isStringLiteral(target) || !target.text.startsWith('.')) return;
    const name = moduleName(posix.join(dirname(path), target.text));
    found.push({ place: lineOf(node), name, isTypeOnly });
  });
  return found;
}

function isTypeImport(clause: ts.ImportClause | undefined): boolean {
  if (!clause) return false;
  if (clause.isTypeOnly) return true;
  const names = clause.namedBindings;
  if (clause.name || !names || !ts.isNamedImports(names)) return false;
  return names.elements.every((element) => element.isTypeOnly);
}

describe('size', () => {
  test(`no function of the product or a script has over ${FUNCTION_LINES_MAX} lines`, () => {
    const long: string[] = [];
    for (const path of SOURCES.filter((path) => !path.startsWith('test/'))) {
      const tree = parse(path);
      visit(tree, (node) => {
        if (!ts.isFunctionLike(node) || !('body' in node) || !node.body) return;
        const line = (position: number) => tree.getLineAndCharacterOfPosition(position).line;
        const lines = line(node.getEnd()) - line(node.getStart()) + 1;
        if (lines > FUNCTION_LINES_MAX) long.push(`${lineOf(node)} has ${lines} lines`);
      });
    }
    expect(long).toEqual([]);
  });

  test(`no line has over ${LINE_CHARACTERS_MAX} characters`, () => {
    const long: string[] = [];
    const isOurs = /^(src|views|sql|scripts|test)\/.*\.(tsx?|sql|css|js|sh)$/;
    for (const path of FILES.filter((path) => isOurs.test(path))) {
      if (path.startsWith('test/fixtures/')) continue;
      for (const [row, line] of read(path).split('\n').entries()) {
        if ([...line].length > LINE_CHARACTERS_MAX) long.push(`${path}:${row + 1}`);
      }
    }
    expect(long).toEqual([]);
  });
});

/** Statements as people write them at the start of a string. */
const STATEMENT = new RegExp(
  [
    String.raw`^\s*(--.*\n\s*)*(`,
    String.raw`select\s[\s\S]+\sfrom\s|insert\s+into\s|update\s+\S+\s+set\s|delete\s+from\s|`,
    String.raw`with\s+\w+\s+as\s*(materialized\s*)?\(|copy\s[\s\S]+\s(from|to)\s|truncate\s+\w|`,
    String.raw`(create|alter|drop)\s+(table|index|view|database|schema|extension|role|function)\s|`,
    String.raw`refresh\s+materialized\s|set\s+(local\s+)?\w+\s*(=|to)\s|begin\s*$|commit\s*$|`,
    String.raw`select\s+(pg_|now\(|1\s*$)|listen\s+\w+\s*$|notify\s+\w+`,
    ')',
  ].join(''),
  'i',
);
const SQL_TAG = /(^|\.)(sql|tx|transaction|connection|admin|read|write)$/;

describe('SQL', () => {
  test('is written in store and query only', () => {
    const places = new Set<string>();
    const others = PRODUCT.filter((path) => !SQL_STAGES.includes(stageOf(moduleName(path))));
    for (const path of others) {
      visit(parse(path), (node) => {
        const isTagged = ts.isTaggedTemplateExpression(node) && SQL_TAG.test(node.tag.getText());
        const text =
          ts.isStringLiteralLike(node) || ts.isTemplateHead(node) ? node.text : undefined;
        if (isTagged || (text !== undefined && STATEMENT.test(text))) places.add(lineOf(node));
      });
    }
    expect([...places]).toEqual([]);
  });

  test('has every file in the list of migrate.ts, and no other', () => {
    const files = FILES.filter((path) => path.startsWith('sql/'));
    const imported = ownImports('src/store/migrate.ts')
      .map(({ name }) => name)
      .filter((name) => name.startsWith('sql/'));
    expect(imported.map((name) => `${name}.sql`).sort()).toEqual(files);
  });
});

describe('environment', () => {
  test('is read in config.ts only', () => {
    const places: string[] = [];
    for (const path of PRODUCT.filter((path) => path !== 'src/config.ts')) {
      visit(parse(path), (node) => {
        if (!ts.isPropertyAccessExpression(node) || node.name.text !== 'env') return;
        const owner = node.expression.getText();
        if (['process', 'Bun', 'import.meta'].includes(owner)) places.push(lineOf(node));
      });
    }
    expect(places).toEqual([]);
  });
});

describe('names', () => {
  test('of files and folders say what is in them', () => {
    const wrong = FILES.filter((path) => {
      const folders = dirname(path).split('/');
      const name = basename(path).split('.')[0];
      return (
        folders.some((folder) => FORBIDDEN_FOLDERS.includes(folder)) ||
        (SOURCES.includes(path) && FORBIDDEN_FILES.includes(name))
      );
    });
    expect(wrong).toEqual([]);
  });

  test('of sources are in kebab case', () => {
    const isKebab = /^[a-z0-9]+(-[a-z0-9]+)*(\.(test|d))?\.tsx?$/;
    expect(SOURCES.filter((path) => !isKebab.test(basename(path)))).toEqual([]);
  });

  test('of the root are those that are agreed', () => {
    const entries = new Set(FILES.map((path) => path.split('/')[0]));
    expect([...entries].filter((entry) => !ROOT_ENTRIES.includes(entry))).toEqual([]);
  });
});

describe('tests', () => {
  test('and all other code read nothing beside the checkout but ../shared/data', () => {
    const places: string[] = [];
    for (const path of SOURCES) {
      visit(parse(path), (node) => {
        if (!ts.isStringLiteralLike(node) || !node.text.startsWith('../')) return;
        const target = posix.join(dirname(path), node.text);
        const isData = /^(test|scripts)\//.test(path) && target.startsWith('../shared/data');
        if (target.startsWith('..') && !isData) places.push(lineOf(node));
      });
    }
    expect(places).toEqual([]);
  });

  test('all run', () => {
    const idle = /\b(?:test|it|describe)\.(?:skip|only|todo|failing|if|skipIf|todoIf)\b/;
    const wrong = SOURCES.filter((path) => path.startsWith('test/')).flatMap((path) =>
      read(path)
        .split('\n')
        .flatMap((line, row) => (idle.test(line) ? [`${path}:${row + 1}`] : [])),
    );
    expect(wrong).toEqual([]);
  });

  test('lie where the code they test lies', () => {
    const tests = FILES.filter((path) => /^test\/\w+\/.*\.test\.tsx?$/.test(path));
    const folders = new Set(tests.map((path) => dirname(path).slice('test/'.length)));
    const known = [...Object.keys(ARROWS), ...ENTRIES, 'scripts', 'systemd'];
    expect([...folders].filter((folder) => !known.includes(stageOf(folder)))).toEqual([]);
  });
});

describe('packages', () => {
  test('are pinned by one lock file, Bun’s', () => {
    const others = ['package-lock.json', 'npm-shrinkwrap.json', 'yarn.lock', 'pnpm-lock.yaml'];
    expect(FILES.filter((path) => others.includes(basename(path)))).toEqual([]);
    expect(FILES).toContain('bun.lock');
  });

  test('come from wherever the machine is set up to get them: no file names a registry', () => {
    const binary = ['.png', '.ico', '.gz', '.zip', '.parquet', '.woff2'];
    const texts = FILES.filter((path) => !binary.includes(extname(path)));
    const wrong = texts.filter((path) => {
      const text = read(path);
      return REGISTRY_HOSTS.some((host) => text.includes(host));
    });
    expect(wrong).toEqual([]);
  });
});

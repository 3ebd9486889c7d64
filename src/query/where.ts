import { InputError } from '../errors.ts';
import { newYorkInstant, toDay } from '../model/session.ts';
import { type ColumnType, type ExportTable, findColumn } from './export-columns.ts';

/** A condition that was understood: SQL made of our own words, and the values it names. */
export interface Condition {
  sql: string;
  /** The values of $n, the first of them with the number that `parseWhere` was given. */
  values: string[];
}

const LENGTH_MAX = 10_000;
const TOKENS_MAX = 2_000;
const DEPTH_MAX = 50;

const ALLOWED =
  "allowed: columns, numbers, 'texts', true, false, = <> < <= > >=, + - * / %, and, or, not, " +
  "in (...), between ... and ..., like 'A%', ilike, is [not] null, parentheses, and the " +
  'functions abs ceil floor length lower round upper';

/**
 * Reads a condition over the exported columns, `close > 100 and flags = ''`. Nothing of the text
 * itself gets into the statement: columns and operators are printed anew, values are parameters.
 * A text beside a date or an instant is read as one ('2024-01-02' is midnight in New York where an
 * instant is wanted). What is divided by zero is null, and no condition holds for null.
 * @param firstParameter the number of the first parameter of the statement that is free.
 * @throws InputError that says where it stops making sense, and what is allowed.
 */
export function parseWhere(text: string, table: ExportTable, firstParameter: number): Condition {
  if (text.length > LENGTH_MAX) {
    throw new InputError(
      `where is ${text.length} characters long; ${LENGTH_MAX} are allowed`,
      'where',
    );
  }
  return new Parser(text, table, firstParameter).parse();
}

type TokenKind = 'word' | 'number' | 'string' | 'symbol' | 'end';

interface Token {
  kind: TokenKind;
  /** Of a string what it says; of a word in lower case. */
  text: string;
  at: number;
}

/** What an expression is. A text in quotes becomes what stands beside it. */
type Kind = 'number' | 'text' | 'date' | 'instant' | 'boolean' | 'json' | 'literal';

interface Expression {
  kind: Kind;
  sql: string;
  at: number;
  /** Of a literal: what stands in the quotes. */
  literal?: string;
}

const KINDS: Record<ColumnType, Kind> = {
  ...{
    name: 'text',
    names: 'text',
    text: 'text',
    number: 'number',
    integer: 'number',
    date: 'date',
  },
  ...{ second: 'instant', micros: 'instant', boolean: 'boolean', json: 'json' },
};

const NAMES: Record<Kind, string> = {
  ...{ number: 'a number', text: 'a text', date: 'a date', instant: 'an instant' },
  ...{ boolean: 'true or false', json: 'JSON', literal: 'a text' },
};

const COMPARISONS = ['<=', '>=', '<>', '!=', '=', '<', '>'];
const SYMBOLS = ['->>', ...COMPARISONS, '+', '-', '*', '/', '%', '(', ')', ','];
const WORDS = ['and', 'or', 'not', 'in', 'between', 'like', 'ilike', 'is', 'null', 'true', 'false'];

interface FunctionRule {
  of: 'number' | 'text';
  gives: 'number' | 'text';
  print: (args: readonly string[]) => string;
  argumentsMax: number;
}

const one = (name: string, of: 'number' | 'text', gives: 'number' | 'text'): FunctionRule => ({
  ...{ of, gives, argumentsMax: 1 },
  print: ([value]) => `${name}(${value})`,
});

const FUNCTIONS: Record<string, FunctionRule> = {
  abs: one('abs', 'number', 'number'),
  ceil: one('ceil', 'number', 'number'),
  floor: one('floor', 'number', 'number'),
  length: one('length', 'text', 'number'),
  lower: one('lower', 'text', 'text'),
  upper: one('upper', 'text', 'text'),
  round: {
    ...{ of: 'number', gives: 'number', argumentsMax: 2 },
    print: ([value, digits = '0']) => `round(${value}::numeric, ${digits}::int)::float8`,
  },
};

class Parser {
  #at = 0;
  #depth = 0;
  readonly #tokens: readonly Token[];
  readonly #values: string[] = [];

  constructor(
    readonly text: string,
    readonly table: ExportTable,
    readonly firstParameter: number,
  ) {
    this.#tokens = this.#tokenize();
  }

  parse(): Condition {
    if (this.#peek().kind === 'end') this.#fail(this.#peek().at, 'there is no condition');
    const whole = this.#boolean(this.#or());
    if (this.#peek().kind !== 'end') this.#unexpected();
    return { sql: whole.sql, values: this.#values };
  }

  // ---------------------------------------------------------------------- tokens

  #tokenize(): Token[] {
    const tokens: Token[] = [];
    let at = 0;
    for (;;) {
      while (/\s/.test(this.text[at] ?? '')) at++;
      if (at >= this.text.length) break;
      if (tokens.length >= TOKENS_MAX) {
        this.#fail(at, `it has more than ${TOKENS_MAX} words and signs`);
      }
      const { token, end } = this.#readToken(at);
      tokens.push(token);
      at = end;
    }
    tokens.push({ kind: 'end', text: 'the end', at: this.text.length });
    return tokens;
  }

  #readToken(at: number): { token: Token; end: number } {
    const rest = this.text.slice(at);
    if (/^(--|\/\*)/.test(rest)) this.#fail(at, 'comments are not allowed');
    if (rest[0] === "'") return this.#readString(at);
    const word = /^[a-z_][a-z0-9_]*/i.exec(rest)?.[0] ?? /^"[a-z_][a-z0-9_]*"/i.exec(rest)?.[0];
    if (word !== undefined) {
      const text = word.replaceAll('"', '').toLowerCase();
      return { token: { kind: 'word', text, at }, end: at + word.length };
    }
    const number = /^(\d+(\.\d*)?|\.\d+)(e[+-]?\d+)?/i.exec(rest);
    if (number) {
      const end = at + number[0].length;
      if (/[\w.]/.test(this.text[end] ?? '')) this.#fail(at, 'the number does not end');
      if (!Number.isFinite(Number(number[0]))) this.#fail(at, 'the number is too large');
      return { token: { kind: 'number', text: number[0], at }, end };
    }
    const symbol = SYMBOLS.find((one) => rest.startsWith(one));
    if (symbol) return { token: { kind: 'symbol', text: symbol, at }, end: at + symbol.length };
    if (/^[‘’‛`´“”„]/u.test(rest)) {
      this.#fail(at, `${rest[0]} is no quote: texts stand between two ' (U+0027)`);
    }
    const shown = String.fromCodePoint(rest.codePointAt(0) ?? 0);
    return this.#fail(at, `${JSON.stringify(shown)} is not allowed`);
  }

  #readString(at: number): { token: Token; end: number } {
    let text = '';
    for (let end = at + 1; end < this.text.length; end++) {
      if (this.text[end] === "'") {
        if (this.text[end + 1] !== "'") {
          return { token: { kind: 'string', text, at }, end: end + 1 };
        }
        end++;
      }
      if (this.text[end] === '\0') this.#fail(end, 'a text has no zero bytes');
      text += this.text[end];
    }
    return this.#fail(at, 'the text does not end: its second quote is missing');
  }

  #peek(ahead = 0): Token {
    return this.#tokens[Math.min(this.#at + ahead, this.#tokens.length - 1)];
  }

  /** Goes on when the next is this sign or word. */
  #take(text: string): boolean {
    const token = this.#peek();
    if (token.text !== text || (token.kind !== 'symbol' && token.kind !== 'word')) return false;
    this.#at++;
    return true;
  }

  #expect(text: string): void {
    if (!this.#take(text)) this.#unexpected(`${text} is expected`);
  }

  // ----------------------------------------------------------------- expressions

  #or(): Expression {
    return this.#chain('or', () => this.#chain('and', () => this.#not()));
  }

  /** Terms joined by `and` or `or`, printed flat. */
  #chain(word: 'and' | 'or', term: () => Expression): Expression {
    const first = term();
    if (this.#peek().text !== word || this.#peek().kind !== 'word') return first;
    const terms = [this.#boolean(first)];
    while (this.#take(word)) terms.push(this.#boolean(term()));
    return {
      kind: 'boolean',
      sql: `(${terms.map(({ sql }) => sql).join(` ${word} `)})`,
      at: first.at,
    };
  }

  #not(): Expression {
    const { at } = this.#peek();
    if (!this.#take('not')) return this.#predicate();
    const term = this.#deeper(at, () => this.#boolean(this.#not()));
    return { kind: 'boolean', sql: `(not ${term.sql})`, at };
  }

  #predicate(): Expression {
    const left = this.#sum();
    const token = this.#peek();
    if (token.kind === 'symbol' && COMPARISONS.includes(token.text)) {
      this.#at++;
      const right = this.#sum();
      const next = this.#peek();
      if (next.kind === 'symbol' && COMPARISONS.includes(next.text)) {
        this.#unexpected('comparisons are joined by and');
      }
      const [a, b] = this.#alike(left, right);
      const operator = token.text === '!=' ? '<>' : token.text;
      return { kind: 'boolean', sql: `(${a.sql} ${operator} ${b.sql})`, at: left.at };
    }
    if (token.kind !== 'word') return left;
    if (this.#take('is')) return this.#is(left);
    const isNegated = this.#take('not');
    if (this.#take('in')) return this.#in(left, isNegated);
    if (this.#take('between')) return this.#between(left, isNegated);
    if (this.#take('like')) return this.#like(left, 'like', isNegated);
    if (this.#take('ilike')) return this.#like(left, 'ilike', isNegated);
    if (isNegated) this.#unexpected('in, between, like or ilike is expected');
    return left;
  }

  #is(left: Expression): Expression {
    const negation = this.#take('not') ? ' not' : '';
    for (const word of ['null', 'true', 'false']) {
      if (!this.#take(word)) continue;
      const value = word === 'null' ? this.#settle(left) : this.#boolean(left);
      return { kind: 'boolean', sql: `(${value.sql} is${negation} ${word})`, at: left.at };
    }
    return this.#unexpected('null, true or false is expected');
  }

  #in(left: Expression, isNegated: boolean): Expression {
    this.#expect('(');
    const items: Expression[] = [];
    do items.push(this.#sum());
    while (this.#take(','));
    this.#expect(')');
    const pairs = items.map((item) => this.#alike(left, item));
    const list = pairs.map(([, item]) => item.sql).join(', ');
    const operator = isNegated ? 'not in' : 'in';
    return { kind: 'boolean', sql: `(${pairs[0][0].sql} ${operator} (${list}))`, at: left.at };
  }

  #between(left: Expression, isNegated: boolean): Expression {
    const [low, first] = this.#alike(left, this.#sum());
    this.#expect('and');
    const [, last] = this.#alike(low, this.#sum());
    const operator = isNegated ? 'not between' : 'between';
    const sql = `(${low.sql} ${operator} ${first.sql} and ${last.sql})`;
    return { kind: 'boolean', sql, at: left.at };
  }

  #like(left: Expression, operator: 'like' | 'ilike', isNegated: boolean): Expression {
    const value = this.#of('text', left);
    const token = this.#peek();
    if (token.kind !== 'string') this.#unexpected("a pattern in quotes is expected, as 'A%'");
    if ((/\\*$/.exec(token.text)?.[0].length ?? 0) % 2 === 1) {
      this.#fail(token.at, 'the pattern ends with a backslash, which is to escape something');
    }
    this.#at++;
    const not = isNegated ? 'not ' : '';
    const pattern = this.#parameter(token.text, 'text');
    return { kind: 'boolean', sql: `(${value.sql} ${not}${operator} ${pattern})`, at: left.at };
  }

  #sum(): Expression {
    return this.#arithmetic(['+', '-'], () => this.#product());
  }

  #product(): Expression {
    return this.#arithmetic(['*', '/', '%'], () => this.#unary());
  }

  /** Operands of one precedence, printed flat, from left to right as they stand. */
  #arithmetic(operators: readonly string[], operand: () => Expression): Expression {
    const first = operand();
    let sql = '';
    for (;;) {
      const token = this.#peek();
      if (token.kind !== 'symbol' || !operators.includes(token.text)) break;
      this.#at++;
      if (sql === '') ({ sql } = this.#of('number', first));
      const { sql: value } = this.#of('number', operand());
      if (token.text === '/') sql += ` / nullif(${value}, 0)`;
      // There is no remainder of doubles.
      else if (token.text === '%')
        sql = `mod((${sql})::numeric, nullif(${value}, 0)::numeric)::float8`;
      else sql += ` ${token.text} ${value}`;
    }
    return sql === '' ? first : { kind: 'number', sql: `(${sql})`, at: first.at };
  }

  #unary(): Expression {
    const { at } = this.#peek();
    if (this.#take('+')) return this.#deeper(at, () => this.#of('number', this.#unary()));
    if (!this.#take('-')) return this.#primary();
    const operand = this.#deeper(at, () => this.#of('number', this.#unary()));
    return { kind: 'number', sql: `(- ${operand.sql})`, at };
  }

  #primary(): Expression {
    const token = this.#peek();
    const { at } = token;
    if (token.kind === 'end') this.#unexpected();
    this.#at++;
    if (token.kind === 'number') {
      return { kind: 'number', sql: this.#parameter(token.text, 'float8'), at };
    }
    if (token.kind === 'string') return { kind: 'literal', sql: '', at, literal: token.text };
    if (token.kind === 'symbol') {
      if (token.text !== '(') this.#unexpected(undefined, -1);
      const inner = this.#deeper(at, () => this.#or());
      this.#expect(')');
      return inner;
    }
    if (token.text === 'true' || token.text === 'false') {
      return { kind: 'boolean', sql: token.text, at };
    }
    if (
      this.#peek().text === '(' &&
      this.#peek().kind === 'symbol' &&
      !WORDS.includes(token.text)
    ) {
      return this.#call(token);
    }
    return this.#column(token);
  }

  #call({ text, at }: Token): Expression {
    const rule = Object.hasOwn(FUNCTIONS, text) ? FUNCTIONS[text] : undefined;
    if (!rule) return this.#fail(at, `there is no function ${text}`);
    this.#expect('(');
    const args: Expression[] = [];
    do args.push(this.#deeper(at, () => this.#of(rule.of, this.#or())));
    while (this.#take(','));
    this.#expect(')');
    if (args.length > rule.argumentsMax) {
      this.#fail(at, `${text} takes ${rule.argumentsMax === 1 ? 'one value' : 'two values'}`);
    }
    return { kind: rule.gives, sql: rule.print(args.map(({ sql }) => sql)), at };
  }

  #column({ text, at }: Token): Expression {
    if (WORDS.includes(text)) this.#unexpected(undefined, -1);
    const found = findColumn(this.table, text);
    if (!found) return this.#fail(at, `there is no column ${text}`);
    const kind = KINDS[found.type];
    if (kind !== 'json') {
      // As doubles, so that a division of two whole numbers is none of whole numbers.
      const sql = found.type === 'integer' ? `${found.sql}::float8` : found.sql;
      return { kind, sql: `(${sql})`, at };
    }
    if (!this.#take('->>')) return { kind, sql: `(${found.sql})`, at };
    const key = this.#peek();
    if (key.kind !== 'string') this.#unexpected("a key in quotes is expected, as meta->>'source'");
    this.#at++;
    return { kind: 'text', sql: `(${found.sql} ->> ${this.#parameter(key.text, 'text')})`, at };
  }

  // ----------------------------------------------------------------------- kinds

  /** Both sides of a comparison, a literal as what the other side is. */
  #alike(left: Expression, right: Expression): [Expression, Expression] {
    if (left.kind === 'literal' && right.kind !== 'literal') {
      return [this.#of(right.kind, left), this.#settle(right)];
    }
    const settled = this.#settle(left);
    if (settled.kind === 'json') this.#fail(left.at, "JSON is not compared; ask for meta->>'key'");
    return [settled, this.#of(settled.kind, right)];
  }

  /** A literal beside nothing is a text. */
  #settle(expression: Expression): Expression {
    return expression.kind === 'literal' ? this.#of('text', expression) : expression;
  }

  #boolean(expression: Expression): Expression {
    return this.#of('boolean', expression);
  }

  /** The expression as this kind. */
  #of(kind: Kind, expression: Expression): Expression {
    if (expression.kind === kind) return expression;
    if (expression.literal === undefined) {
      return this.#fail(expression.at, `this is ${NAMES[expression.kind]}, not ${NAMES[kind]}`);
    }
    return { kind, sql: this.#literal(kind, expression.literal, expression.at), at: expression.at };
  }

  #literal(kind: Kind, text: string, at: number): string {
    if (kind === 'text') return this.#parameter(text, 'text');
    if (kind === 'number' && text.trim() !== '' && Number.isFinite(Number(text))) {
      return this.#parameter(String(Number(text)), 'float8');
    }
    if (kind === 'boolean' && /^(true|false)$/i.test(text)) return text.toLowerCase();
    if (kind === 'date' && !Number.isNaN(toDay(text))) return this.#parameter(text, 'date');
    if (kind === 'instant') {
      const instant = parseInstant(text);
      if (instant !== undefined) return this.#parameter(instant, 'timestamptz');
      return this.#fail(
        at,
        `'${text}' is no instant: those have a zone, as '2024-01-02T14:30:00Z', or are a date`,
      );
    }
    const example = kind === 'date' ? ", as '2024-01-02'" : '';
    return this.#fail(at, `'${text}' is not ${NAMES[kind]}${example}`);
  }

  /** Sent as text: postgres.js would cut an instant to milliseconds. */
  #parameter(value: string, type: string): string {
    this.#values.push(value);
    const parameter = `$${this.firstParameter + this.#values.length - 1}::text`;
    return type === 'text' ? parameter : `${parameter}::${type}`;
  }

  // ---------------------------------------------------------------------- limits

  #deeper<T>(at: number, body: () => T): T {
    if (this.#depth >= DEPTH_MAX) this.#fail(at, `it is nested deeper than ${DEPTH_MAX}`);
    this.#depth++;
    const result = body();
    this.#depth--;
    return result;
  }

  #unexpected(why?: string, ahead = 0): never {
    const token = this.#tokens[this.#at + ahead] ?? this.#peek();
    const shown = token.kind === 'end' ? 'the end' : JSON.stringify(token.text.slice(0, 40));
    return this.#fail(token.at, `${shown} is not expected here${why ? `: ${why}` : ''}`);
  }

  #fail(at: number, why: string): never {
    const before = this.text.slice(Math.max(0, at - 30), at);
    const after = this.text.slice(at, at + 30);
    const isCut = [at > 30, at + 30 < this.text.length].map((is) => (is ? '...' : ''));
    const place = `${isCut[0]}${before} >>> ${after}${isCut[1]}`;
    const columns = this.table.columns.map(({ name }) => name).join(', ');
    throw new InputError(
      `where, at character ${at + 1} (${place.replace(/\s+/g, ' ').trim()}): ${why}; ` +
        `${ALLOWED}; columns: ${columns}`,
      'where',
    );
  }
}

const INSTANT = /^(\d{4}-\d\d-\d\d)[T ]\d\d:\d\d(:\d\d(\.\d{1,6})?)?(Z|[+-]\d\d:\d\d)$/i;

/** An instant as PostgreSQL reads it. A date alone is its midnight in New York. */
function parseInstant(text: string): string | undefined {
  const day = toDay(text);
  if (!Number.isNaN(day)) return new Date(newYorkInstant(day, 0)).toISOString();
  const date = INSTANT.exec(text)?.[1];
  if (date === undefined || Number.isNaN(toDay(date))) return undefined;
  return Number.isNaN(Date.parse(text.replace(' ', 'T'))) ? undefined : text;
}

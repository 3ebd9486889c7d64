// https://www.quantconnect.com/docs/v2/writing-algorithms/key-concepts (LEAN's map_files)
import { basename } from 'node:path';
import { InputError } from '../errors.ts';
import type { Lineage } from '../model/lineage.ts';
import { toDay } from '../model/session.ts';
import type { SymbolRange } from '../model/symbol-range.ts';

/** The date that stands for "still". */
const STILL = '2050-12-31';
/** Where LEAN's data begins: whoever has a symbol then had it before, as far as it is known. */
const FIRST = '1998-01-02';

/**
 * The symbols of one company or fund from a map file of LEAN: lines `yyyymmdd,symbol[,exchange]`.
 * The first says since when there is anything of it, every other one until when, inclusive, it had
 * the symbol. Symbols are written in lower case there; the file's name is that of the last one,
 * with a number when another company had it later (fb.1.csv), and says nothing by itself.
 * @throws InputError that names the file and the line.
 */
export function parseMapFile(path: string, text: string): Lineage {
  const name = basename(path);
  const rows = text.split(/\r?\n/).flatMap((line, i) => {
    if (line.trim() === '') return [];
    return [parseLine(line, `${path}, line ${i + 1}`)];
  });
  if (rows.length < 2) {
    throw new InputError(`${path} has fewer than two lines: it is no map file (yyyymmdd,symbol)`);
  }
  const [first, ...rest] = rows;
  const ranges: SymbolRange[] = [];
  let startDay = first.date === FIRST ? Number.NEGATIVE_INFINITY : toDay(first.date);
  for (const { symbol, date, place } of rest) {
    const endDay = date >= STILL ? Number.POSITIVE_INFINITY : toDay(date) + 1;
    if (endDay <= startDay) throw new InputError(`${place}: ${date} is not after the line before`);
    const last = ranges.at(-1);
    if (last?.symbol === symbol) last.endDay = endDay;
    else ranges.push({ symbol, startDay, endDay, source: 'map' });
    startDay = endDay;
  }
  return { name, ranges };
}

const LINE = /^(\d{4})(\d{2})(\d{2}),([A-Za-z0-9]+(?:[.\-/][A-Za-z0-9]+)*)(?:,\w*)?\s*$/;

function parseLine(line: string, place: string) {
  const match = LINE.exec(line);
  const date = match ? `${match[1]}-${match[2]}-${match[3]}` : '';
  if (!match || Number.isNaN(toDay(date))) {
    const shown = JSON.stringify(line.slice(0, 40));
    throw new InputError(`${place}: ${shown} is not yyyymmdd,symbol or yyyymmdd,symbol,exchange`);
  }
  return { date, symbol: match[4].toUpperCase(), place };
}

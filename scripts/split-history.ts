/** A split, by whoever tells of it. */
export interface SplitEvent {
  symbol: string;
  /** The ex-date, 'YYYY-MM-DD'. */
  date: string;
  /** New shares for one old. */
  ratio: number;
  /** Where it is to be seen only in the files of one folder. */
  folder?: string;
}

/** What halves a price and is no split, and what a file says that never was. */
export interface NoSplit {
  symbol: string;
  date: string;
  /** Shares of another company or much cash; prices of something else; a vendor's mistake. */
  kind: 'distribution' | 'dirt' | 'claim';
  /** The ratio that was claimed. */
  claimed?: number;
  reason: string;
}

/** Splits that are known and lack in the recorded tables. */
export const KNOWN_SPLITS: readonly SplitEvent[] = [
  { symbol: 'AMZN', date: '2022-06-06', ratio: 20 },
  { symbol: 'DRYS', date: '2016-11-01', ratio: 1 / 15 },
  { symbol: 'GOOGL', date: '2022-07-18', ratio: 20 },
  { symbol: 'GPT', date: '2017-01-03', ratio: 1 / 3 },
  { symbol: 'KO', date: '2012-08-13', ratio: 2 },
  { symbol: 'JPM', date: '2000-06-12', ratio: 1.5 },
  { symbol: 'TSLA', date: '2022-08-25', ratio: 3 },
  // The warrants follow their share, AXPW.
  { symbol: 'AXPWW', date: '2015-07-14', ratio: 1 / 35 },
  // A share of a new class for each share: a split for the price.
  { symbol: 'UA', date: '2016-04-08', ratio: 2 },
  { symbol: 'GOOG', date: '2014-04-03', ratio: 2, folder: 'lean_raw' },
  // The same, but here the symbol means the new class from its first day, before the issue, on.
  { symbol: 'GOOG', date: '2014-03-27', ratio: 2, folder: 'yahoo_old_mixed' },
];

const distribution = (symbol: string, date: string, reason: string): NoSplit => ({
  ...{ symbol, date, reason },
  kind: 'distribution',
});
const dirt = (symbol: string, date: string, reason: string): NoSplit => ({
  ...{ symbol, date, reason },
  kind: 'dirt',
});
const claim = (symbol: string, date: string, claimed: number, reason: string): NoSplit => ({
  ...{ symbol, date, claimed, reason },
  kind: 'claim',
});

export const NO_SPLITS: readonly NoSplit[] = [
  distribution('AAA', '2007-05-15', 'Altana paid out the price of its pharma business'),
  distribution('BAX', '2015-07-01', 'Baxalta shares'),
  distribution('BKS', '2015-08-03', 'Barnes & Noble Education shares, worth a third of the price'),
  distribution('CAF', '2015-09-17', 'gains of the fund paid out'),
  distribution('CAF', '2015-12-29', 'gains of the fund paid out'),
  distribution('CCE', '2016-05-31', 'merger: $14.50 in cash'),
  distribution('CCM', '2015-12-23', 'special dividend'),
  distribution('CCO', '2016-02-05', 'special dividend'),
  distribution('CCO', '2017-02-24', 'special dividend'),
  distribution('CGG', '2016-01-29', 'rights to new shares'),
  distribution('DISCA', '2014-08-07', 'a class C share for each: the file left its halving in'),
  distribution('DISCK', '2014-08-07', 'a class C share for each: the file left its halving in'),
  distribution('EBAY', '2015-07-20', 'PayPal shares'),
  distribution('FCAU', '2016-01-04', 'Ferrari shares, worth a third of the price'),
  distribution('GHC', '2015-07-01', 'Cable One shares'),
  distribution(
    'GPT',
    '2015-12-17',
    'merger: 3.1898 shares of another company, which took the symbol',
  ),
  distribution('GOOG', '2015-04-27', 'a coefficient of 1.0027: class C shares for a difference'),
  distribution('HPQ', '2015-11-02', 'Hewlett Packard Enterprise shares'),
  distribution('IR', '2013-12-02', 'Allegion shares'),
  distribution('KLAC', '2014-11-26', 'special dividend of $16.50'),
  distribution('NATH', '2015-03-30', 'special dividend of $25'),
  dirt('MS', '2017-02-14', 'two sessions of prices of something else'),
  dirt('NWL', '2017-09-14', 'one session of prices of something else'),
  dirt('PMV', '2015-11-23', 'two instruments under one symbol, mostly without volume'),
  claim('FRO', '2016-02-02', 1 / 5, 'announced one session too early'),
  claim('HCHC', '2015-11-12', 6.97 / 4.63, 'nothing happened to the price'),
  claim('NFLX', '2015-07-14', 7, 'announced one session too early'),
];

/** Symbols of files in which two instruments alternate: their jumps are no moves. */
export const MIXED_SYMBOLS: readonly string[] = ['CUI', 'PMV'];

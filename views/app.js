// What the pages do beside htmx, which polls and sends forms: they tell how fresh they are, and
// keep what the operator is typing, has selected, opened or filtered.

const connection = document.getElementById('connection');
const checked = document.getElementById('checked');
const notices = document.getElementById('notices');
let awaySince;
/** What the page shows, as its address says it. */
let shown = location.pathname + location.search;
/** Parts whose newest state the operator wants, whatever is half filled in. */
const forced = new Set();

const clock = (date) => `${date.toISOString().slice(11, 19)} UTC`;
const regions = () => document.querySelectorAll('[data-live]');
const regionOf = (element) => element?.closest?.('[data-live]');

// ------------------------------------------------------------------------------ freshness

/** What is shown stays; a line says that it is old, and since when. */
function markAway(reason) {
  awaySince ??= new Date();
  connection.textContent =
    `${reason} since ${clock(awaySince)}. What you see is from before; ` +
    'this page keeps trying and recovers by itself.';
  connection.hidden = false;
  for (const region of regions()) region.classList.add('old');
}

function markPresent(headers) {
  awaySince = undefined;
  connection.hidden = true;
  for (const region of regions()) region.classList.remove('old');
  const date = new Date(headers.get('date') ?? Date.now());
  checked.textContent = `Checked ${date.toISOString().slice(0, 10)} ${clock(date)}`;
}

/** Measured by the server for each request; not part of what is compared for changes. */
function showResponseTime(headers) {
  const milliseconds = /status;dur=([\d.]+)/.exec(headers.get('server-timing') ?? '')?.[1];
  const place = document.getElementById('response-time');
  if (place && milliseconds !== undefined) place.textContent = `${milliseconds} ms`;
}

/** Says in its own place what is wrong with a part of the page; the next good answer hides it. */
function say(region, text) {
  const place = region?.querySelector('[data-failure]');
  if (!place) return;
  place.textContent = text;
  place.hidden = text === '';
}

/** Begins with a capital, unless with a name of something. */
const sentence = (text) =>
  /^(?!marketd )[a-z]+ /.test(text) ? text.charAt(0).toUpperCase() + text.slice(1) : text;

/** What came of something the operator did. */
function tell(text) {
  const notice = document.createElement('div');
  const word = document.createElement('strong');
  notice.className = 'notice bad';
  word.textContent = 'Not done';
  notice.append(word, ` ${text}`);
  notices.replaceChildren(notice);
}

/** The sentence of an error's answer. */
function messageOf(text, code) {
  try {
    return JSON.parse(text).error.message;
  } catch {
    return `marketd has answered error ${code}`;
  }
}

// ------------------------------------------------------------- what the operator has under way

function isDirty(field) {
  if (field.type === 'hidden') return false;
  if (field.type === 'checkbox' || field.type === 'radio') {
    return field.checked !== field.defaultChecked;
  }
  if (field instanceof HTMLSelectElement) {
    const options = [...field.options];
    const hasDefault = options.some((option) => option.defaultSelected);
    return hasDefault
      ? options.some((option) => option.selected !== option.defaultSelected)
      : field.selectedIndex > 0;
  }
  return field.value !== field.defaultValue;
}

/** Whether an answer would take away a field that somebody has begun to fill in. */
function wouldLose(region, fragment) {
  return [...region.querySelectorAll('input, textarea, select')].some(
    (field) => isDirty(field) && !(field.id && fragment?.getElementById(field.id)),
  );
}

const isPoll = (ctx) => ['every', 'refresh'].includes(ctx.sourceEvent?.type);
const isAction = (ctx) => ctx.request.method === 'POST';

htmx.registerExtension('marketd', {
  // What is opened on the page is not closed by an answer that does not know of it.
  htmx_before_morph_attr: (element, { attrName }) =>
    !(attrName === 'open' && element instanceof HTMLDetailsElement),
  // A number that stands at the right begins elsewhere when it has another digit: as a new text it
  // is there at once, changed in place it counts as having moved.
  htmx_before_morph_node: (element, { newNode }) => {
    const [text, other] = [onlyText(element), onlyText(newNode)];
    if (text && other && text.data !== other.data) text.replaceWith(other.cloneNode());
    return true;
  },
});

function onlyText(element) {
  const { firstChild: text } = element;
  return text instanceof Text && text.nextSibling === null ? text : undefined;
}

// --------------------------------------------------------------------------------- requests

/** When something was asked for; when the operator's own doing last changed a part. */
const askedAt = new WeakMap();
const changedAt = new WeakMap();

document.addEventListener('htmx:config:request', (event) => {
  askedAt.set(event.detail.ctx, performance.now());
  // A tab that nobody looks at asks for nothing.
  if (document.hidden && event.detail.ctx.sourceEvent?.type === 'every') event.preventDefault();
});

/** What says where in a list one is: a new filter begins at its beginning. */
const PLACES = new Set(['page', 'after', 'before']);

/** Of each part the number of the latest link or filter: an older answer is not shown any more. */
const latest = new Map();
const numbers = new WeakMap();
/** The query of a link that is not answered yet. */
let headed;

const partOf = (ctx) => ctx.sourceElement.getAttribute('hx-target');
const isOutdated = (ctx) => numbers.has(ctx) && numbers.get(ctx) !== latest.get(partOf(ctx));

document.addEventListener('htmx:config:request', (event) => {
  const { ctx } = event.detail;
  if (!ctx.sourceElement.matches('[data-navigates]')) return;
  const number = (latest.get(partOf(ctx)) ?? 0) + 1;
  latest.set(partOf(ctx), number);
  numbers.set(ctx, number);
  if (ctx.sourceElement.matches('a')) {
    headed = new URL(ctx.request.action, location.href).search;
  }
});

document.addEventListener('htmx:finally:request', (event) => {
  const { ctx } = event.detail;
  if (numbers.has(ctx) && !isOutdated(ctx)) headed = undefined;
});

/** A filter keeps what links have chosen since the page was made: sorting, other filters. */
document.addEventListener('htmx:config:request', (event) => {
  const { ctx } = event.detail;
  const form = ctx.sourceElement;
  if (!form.matches('form[data-navigates]')) return;
  const { body } = ctx.request;
  const hidden = [...form.elements].filter((field) => field.type === 'hidden');
  for (const { name } of hidden) body.delete(name);
  const filled = new Set([...form.elements].map(({ name }) => name));
  for (const { name } of hidden) filled.delete(name);
  for (const [name, value] of new URLSearchParams(headed ?? location.search)) {
    if (!filled.has(name) && !PLACES.has(name)) body.set(name, value);
  }
});

function refresh() {
  for (const region of regions()) region.dispatchEvent(new Event('refresh'));
}

document.addEventListener('visibilitychange', () => {
  if (!document.hidden) refresh();
});

document.getElementById('refresh').addEventListener('click', (event) => {
  if (regions().length === 0 || event.ctrlKey || event.metaKey || event.shiftKey) return;
  event.preventDefault();
  for (const region of regions()) forced.add(region.id);
  refresh();
});

/** What had the focus when an answer came, in case that it goes away. */
let focused;

document.addEventListener('htmx:before:swap', (event) => {
  const { ctx, tasks } = event.detail;
  if (ctx.response.status >= 400) return;
  if (isOutdated(ctx)) {
    event.preventDefault();
    return;
  }
  const region = regionOf(ctx.sourceElement);
  focused = { element: document.activeElement, region, isAction: isAction(ctx) };
  if (!isPoll(ctx) && ctx.target) changedAt.set(ctx.target, performance.now());
  if (!isPoll(ctx) || !region) return;
  // A poll from before the operator went on would bring back what was shown then.
  if (askedAt.get(ctx) < changedAt.get(region)) {
    event.preventDefault();
    return;
  }
  const isForced = forced.delete(region.id);
  const tag = ctx.response.headers.get('etag');
  if (tag !== null && region.dataset.tag === tag) {
    say(region, '');
    event.preventDefault();
    return;
  }
  if (!isForced && wouldLose(region, tasks[0]?.fragment)) {
    say(region, 'This list has changed. Finish what you have begun, or press Refresh to see it.');
    event.preventDefault();
  }
});

document.addEventListener('htmx:after:swap', (event) => {
  const { ctx } = event.detail;
  const tag = ctx?.response?.headers.get('etag');
  const region = document.getElementById(ctx?.target?.id ?? '');
  if (region?.matches('[data-live]')) {
    if (tag) region.dataset.tag = tag;
    else delete region.dataset.tag;
  }
  countSelected();
  if (!focused) return;
  const { element, region: place, isAction: wasAction } = focused;
  focused = undefined;
  if (!element || element === document.body || element.isConnected) return;
  const next = wasAction ? notices : place;
  if (!next) return;
  next.tabIndex = -1;
  next.focus({ preventScroll: true });
});

/** Whether what is typed into a filter is what the address was last changed by. */
let wasTyping = false;

document.addEventListener('htmx:after:request', (event) => {
  const { ctx } = event.detail;
  const { status, headers } = ctx.response;
  if (status >= 400) return;
  markPresent(headers);
  const { sourceElement: source } = ctx;
  if (source.matches('[data-navigates]') && !isOutdated(ctx)) {
    const { pathname, search } = new URL(ctx.request.action, location.href);
    const parameters = new URLSearchParams(search);
    for (const [name, value] of [...parameters]) if (value === '') parameters.delete(name);
    const query = parameters.size > 0 ? `?${parameters}` : '';
    const address = pathname.replace(/\/status$/, '') + query;
    // Typing is one step back, not one for each letter.
    const isTyping = Boolean(ctx.sourceEvent?.target.matches?.('[type=search], [type=text]'));
    const isSameStep = address === shown || (isTyping && wasTyping);
    history[isSameStep ? 'replaceState' : 'pushState'](null, '', address);
    shown = address;
    wasTyping = isTyping;
  }
  // What was sent is not half filled in any more.
  if (isAction(ctx) && headers.get('x-outcome') !== 'bad') source.closest('form')?.reset();
});

window.addEventListener('popstate', () => {
  // Going to a place on the same page is one too.
  if (shown !== location.pathname + location.search) location.reload();
});

document.addEventListener('htmx:finally:request', (event) => {
  const { response } = event.detail.ctx;
  if (response && response.status < 400) showResponseTime(response.headers);
});

document.addEventListener('htmx:response:error', (event) => {
  const { ctx } = event.detail;
  const { status } = ctx.response;
  if (isAction(ctx)) {
    tell(sentence(messageOf(ctx.text, status)));
    return;
  }
  if (status === 503) {
    markAway('The database has not answered');
    return;
  }
  const region = regionOf(ctx.sourceElement) ?? document.getElementById(ctx.target?.id);
  const reason = messageOf(ctx.text, status);
  say(region, `This part could not be shown at ${clock(new Date())}: ${reason}. It tries again.`);
});

document.addEventListener('htmx:error', (event) => {
  const { ctx } = event.detail;
  if (isAction(ctx)) tell('marketd has not answered. Look whether it was done, then try again.');
  markAway('marketd has not answered');
});

// ------------------------------------------------------------------------------- navigation

/** On a narrow screen the navigation is one row: the page's own name in it is in sight. */
const current = document.querySelector('.top [aria-current]');
if (current) {
  const row = current.closest('nav');
  const left = current.offsetLeft - row.offsetLeft;
  row.scrollLeft = left - (row.clientWidth - current.offsetWidth) / 2;
}

// -------------------------------------------------------------------------------- selection

/** A box that checks all others of its form, and the count of those that are checked. */
function countSelected() {
  for (const all of document.querySelectorAll('[data-selects]')) {
    const boxes = boxesOf(all);
    const selected = boxes.filter((box) => box.checked).length;
    all.checked = boxes.length > 0 && selected === boxes.length;
    all.indeterminate = selected > 0 && selected < boxes.length;
    const place = document.getElementById(all.dataset.counts ?? '');
    if (place) place.textContent = `${selected} selected`;
  }
}

function boxesOf(all) {
  const scope = regionOf(all) ?? document;
  return [...scope.querySelectorAll(`input[type=checkbox][name="${all.dataset.selects}"]`)];
}

document.addEventListener('change', (event) => {
  const { target } = event;
  if (target.matches('[data-selects]')) {
    for (const box of boxesOf(target)) box.checked = target.checked;
  }
  if (target.type === 'checkbox') countSelected();
});

countSelected();

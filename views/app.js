// Tells how fresh the dashboard is. The page polls by itself (htmx); this only watches.

const status = document.getElementById('status');
const connection = document.getElementById('connection');
const checked = document.getElementById('checked');
let awaySince;

const clock = (date) => `${date.toISOString().slice(11, 19)} UTC`;

/** What is shown stays; a line says that it is old, and since when. */
function markAway(reason) {
  awaySince ??= new Date();
  connection.textContent =
    `${reason} since ${clock(awaySince)}. What you see is from before; ` +
    'this page keeps trying and recovers by itself.';
  connection.hidden = false;
  status.classList.add('old');
}

function markPresent(headers) {
  awaySince = undefined;
  connection.hidden = true;
  status.classList.remove('old');
  const date = new Date(headers.get('date') ?? Date.now());
  checked.textContent = `Checked ${clock(date)}`;
}

/** Measured by the server for each request; not part of what is compared for changes. */
function showResponseTime(headers) {
  const milliseconds = /status;dur=([\d.]+)/.exec(headers.get('server-timing') ?? '')?.[1];
  const place = document.getElementById('response-time');
  if (place && milliseconds !== undefined) place.textContent = `${milliseconds} ms`;
}

/** Whether somebody is writing something that a new answer would take away. */
const isWriting = () =>
  [...status.querySelectorAll('input')].some((input) => input.value !== input.defaultValue);

document.addEventListener('htmx:config:request', (event) => {
  // A tab that nobody looks at asks for nothing.
  const isIdle = document.hidden || isWriting();
  if (isIdle && event.detail.ctx.sourceEvent?.type === 'every') event.preventDefault();
});

document.addEventListener('visibilitychange', () => {
  if (!document.hidden) status.dispatchEvent(new Event('refresh'));
});

document.addEventListener('htmx:after:request', (event) => {
  const { response } = event.detail.ctx;
  if (response.status < 400) markPresent(response.headers);
});

document.addEventListener('htmx:finally:request', (event) => {
  const { response } = event.detail.ctx;
  if (response && response.status < 400) showResponseTime(response.headers);
});

document.addEventListener('htmx:response:error', (event) => {
  const { status: code } = event.detail.ctx.response;
  markAway(code === 503 ? 'The database has not answered' : `marketd has answered error ${code}`);
});

document.addEventListener('htmx:error', () => markAway('marketd has not answered'));

// The player that recordings are exported for, asciinema-player, in Chromium without a
// window: it plays a cast to its end, and this prints what it then shows, the markers it
// came by, and whatever the browser complained about, as JSON.
// node play.mjs CAST
import { spawn } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { createServer } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

const [cast] = process.argv.slice(2);
const bundle = 'node_modules/asciinema-player/dist/bundle/asciinema-player';
const html = `<!doctype html><meta charset=utf-8><link rel=icon href=data:,><link rel=stylesheet href=/player.css><div id=player></div>
<script src=/player.js></script><script>
window.seen = { markers: [], ended: false, errors: [] };
window.addEventListener('error', (e) => seen.errors.push(e.message));
const player = AsciinemaPlayer.create('/x.cast', document.getElementById('player'), { fit: false, preload: true, speed: 50 });
player.addEventListener('marker', (m) => seen.markers.push(m));
player.addEventListener('error', (e) => seen.errors.push(JSON.stringify(e)));
player.addEventListener('ended', () => { seen.ended = true; });
player.play();
</script>`;
const files = { '/': ['text/html', html], '/player.css': ['text/css', readFileSync(bundle + '.css')], '/player.js': ['text/javascript', readFileSync(bundle + '.min.js')], '/x.cast': ['application/x-asciicast', readFileSync(cast)] };
const server = createServer((ask, answer) => {
  const [type, body] = files[ask.url] ?? ['text/plain', ''];
  answer.writeHead(files[ask.url] ? 200 : 404, { 'Content-Type': type }).end(body);
});
await new Promise((ready) => server.listen(0, '127.0.0.1', ready));

const profile = mkdtempSync(join(tmpdir(), 'twokey-player-'));
const chromium = spawn('chromium', [
  '--headless', '--remote-debugging-pipe', `--user-data-dir=${profile}`, '--no-first-run', '--disable-gpu', '--disable-quic',
  '--disable-background-networking', '--disable-component-update', '--disable-sync', '--window-size=1600,1000',
  '--no-sandbox', // the tests run as root too; it sees nothing but this machine
], { stdio: ['ignore', 'ignore', 'ignore', 'pipe', 'pipe'], detached: true }); // a group of its own, to end with its helpers
const end = (status) => {
  chromium.on('exit', () => {
    try {
      rmSync(profile, { recursive: true, force: true, maxRetries: 10, retryDelay: 20 });
    } catch (e) { // a helper that is not gone yet wrote into it
      console.error(`${profile} is left: ${e.message}`);
    }
    process.exit(status);
  });
  process.kill(-chromium.pid, 'SIGKILL');
};
setTimeout(() => { console.error('the player took too long'); end(1); }, 60_000);

let id = 0, read = '';
const asked = new Map(), complaints = [];
chromium.stdio[4].on('data', (data) => {
  const messages = (read + data).split('\0');
  read = messages.pop();
  for (const m of messages.map((text) => JSON.parse(text))) {
    asked.get(m.id)?.(m.result ?? {});
    if (m.method === 'Runtime.exceptionThrown') complaints.push(m.params.exceptionDetails.exception?.description ?? m.params.exceptionDetails.text);
    if (m.method === 'Runtime.consoleAPICalled' && ['error', 'warning', 'assert'].includes(m.params.type)) complaints.push(m.params.args.map((a) => a.value ?? a.description).join(' '));
    if (m.method === 'Log.entryAdded' && m.params.entry.level === 'error') complaints.push(m.params.entry.text);
  }
});
const send = (method, params = {}, sessionId) => new Promise((answer) => {
  asked.set(++id, answer);
  chromium.stdio[3].write(JSON.stringify({ id, method, params, sessionId }) + '\0');
});

const { targetId } = await send('Target.createTarget', { url: 'about:blank' });
const { sessionId } = await send('Target.attachToTarget', { targetId, flatten: true });
await send('Runtime.enable', {}, sessionId);
await send('Log.enable', {}, sessionId);
const page = async (expression) => (await send('Runtime.evaluate', { expression, returnByValue: true }, sessionId)).result?.value;
await send('Page.navigate', { url: `http://127.0.0.1:${server.address().port}/` }, sessionId);
let last = '', same = 0;
for (;;) {
  const seen = await page(`window.seen && (seen.ended || seen.errors.length) ? {
    ...seen,
    rows: [...document.querySelectorAll('.ap-term-text .ap-line')].map((l) => l.textContent),
    timeline: document.querySelectorAll('.ap-marker-container').length,
  } : null`);
  // It draws a moment after it has ended.
  same = seen && JSON.stringify(seen) === last ? same + 1 : 0;
  last = JSON.stringify(seen);
  if (seen && (same === 10 || seen.errors.length)) {
    console.log(JSON.stringify({ ...seen, complaints }));
    break;
  }
  await new Promise((go) => setTimeout(go, 50));
}
end(0);

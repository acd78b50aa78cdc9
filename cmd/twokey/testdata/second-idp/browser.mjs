// A real browser, Chromium without a window, driven over its own pipe: it opens a
// link, signs in as somebody at the provider's forms, and prints the code that
// twokey's page shows. node browser.mjs LINK USER SCREENSHOT.png
import { spawn } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

const [link, user, picture] = process.argv.slice(2);
const profile = mkdtempSync(join(tmpdir(), 'twokey-browser-'));
const chromium = spawn('chromium', [
  '--headless', '--remote-debugging-pipe', `--user-data-dir=${profile}`, '--no-first-run', '--disable-gpu', '--window-size=900,900',
  '--no-sandbox', // the tests run as root too; it sees nothing but this machine
], { stdio: ['ignore', 'ignore', 'ignore', 'pipe', 'pipe'], detached: true }); // a group of its own, with its helpers
const end = (status) => {
  process.kill(-chromium.pid, 'SIGKILL'); // its helpers too: they write into the profile for as long as they live
  chromium.on('exit', () => {
    try { rmSync(profile, { recursive: true, force: true, maxRetries: 10, retryDelay: 20 }); } catch (e) { console.error(`left behind: ${e.message}`); }
    process.exit(status);
  });
};
setTimeout(() => { console.error('the browser took too long'); end(1); }, 60_000);

let id = 0, read = '';
const asked = new Map();
chromium.stdio[4].on('data', (data) => {
  const messages = (read + data).split('\0');
  read = messages.pop();
  for (const m of messages.map((text) => JSON.parse(text))) asked.get(m.id)?.(m.result ?? {});
});
const send = (method, params = {}, sessionId) => new Promise((answer) => {
  asked.set(++id, answer);
  chromium.stdio[3].write(JSON.stringify({ id, method, params, sessionId }) + '\0');
});

const { targetId } = await send('Target.createTarget', { url: 'about:blank' });
const { sessionId } = await send('Target.attachToTarget', { targetId, flatten: true });
const page = async (expression) => (await send('Runtime.evaluate', { expression, returnByValue: true }, sessionId)).result?.value;
await send('Page.navigate', { url: link }, sessionId);
for (;;) {
  const at = await page(`(() => {
    if (document.readyState !== 'complete') return '';
    const code = document.getElementById('code');
    if (code) return code.textContent;
    const form = document.forms[0];
    if (!form || form.dataset.sent) return document.querySelector('h1') && !form ? 'page: ' + document.body.innerText : '';
    form.dataset.sent = 'yes';
    for (const name of ['login', 'username', 'password']) if (form.elements[name]) form.elements[name].value = ${JSON.stringify(user)};
    form.submit();
    return '';
  })()`);
  if (at && /^[0-9]{6}$/.test(at)) {
    const { data } = await send('Page.captureScreenshot', { format: 'png' }, sessionId);
    writeFileSync(picture, Buffer.from(data, 'base64'));
    console.log(at);
    console.log(await page('document.body.innerText'));
    console.log(`scripts: ${await page('document.scripts.length')}`);
    break;
  }
  if (at?.startsWith('page: ')) {
    const { data } = await send('Page.captureScreenshot', { format: 'png' }, sessionId);
    writeFileSync(picture, Buffer.from(data, 'base64'));
    console.log(at);
    break;
  }
  await new Promise((go) => setTimeout(go, 50));
}
end(0);
